/*
 * libFuzzer's target. It cuts any bytes into frames of all link layers and runs these through the parser, the flow
 * table and the classifiers. Each frame is copied to memory of exactly its length, so that the sanitizers see a read
 * beyond its end. test_fuzz.py builds and runs this.
 */
#include <assert.h>
#include <stdio.h>

#include "user/library.c"

/* For each classifier: its parameters, how to read them, and a call on the vector x. */
#define PARAMETERS(name) static struct ids_##name name;
#define LOAD(name) load(#name, &name, sizeof(name));
#define CLASSIFY(name)                                                                                                 \
	ids_predict_##name(&name, 7, x, 1, logits, &class);                                                            \
	assert(class < 7);

IDS_CLASSIFIERS(PARAMETERS)

static void load(const char *name, void *to, size_t size)
{
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", getenv("IDS_MODELS"), name);
	file = fopen(path, "rb");
	if (!file || fread(to, size, 1, file) != 1 || fclose(file)) {
		perror(path);
		exit(1);
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	IDS_CLASSIFIERS(LOAD)
	return 0;
}

static int same(const struct ids_packet *a, const struct ids_packet *b)
{
	return a->saddr == b->saddr && a->daddr == b->daddr && a->len == b->len && a->sport == b->sport &&
	       a->dport == b->dport && a->proto == b->proto && a->tcp_flags == b->tcp_flags;
}

/* Check that all ways to parse a frame agree. Return the outcome; the packet is in *row. */
static int parse(__u32 link, const __u8 *frame, struct ids_row *row)
{
	struct ids_row other = *row, large = *row, go_flows = *row;
	int no_length = 0, mended = 0, outcome = ids_parse_frame(link, frame, 0, IDS_BOTH, row, &no_length);
	int without = ids_parse_frame(link, frame, 0, IDS_IPV4, &other, &no_length);
	int less = ids_parse_frame(link, frame, 0, IDS_GO_FLOWS, &go_flows, &no_length);

	assert(outcome >= 0 && outcome < IDS_N_OUTCOMES && !no_length);
	assert(without == outcome || without == IDS_IPV6);
	assert(less == outcome ||
	       (outcome == IDS_OK && (less == IDS_NO_PORTS || less == IDS_IN_PIECES || less == IDS_TRUNCATED)));
	assert(ids_parse_frame(link, frame, 1 << 20, IDS_BOTH, &large, &mended) == outcome);
	assert(outcome != IDS_OK || (mended ? large.packet.len == (1 << 20) - row->ip_at && row->packet.len <= 40 :
					      large.packet.len == row->packet.len));
	assert(outcome != IDS_OK || row->ip_at < row->caplen);
	if (link == IDS_LINK_ETHERNET) {
		assert(ids_parse(frame, frame + row->caplen, 0, &other.packet) == outcome);
		assert(outcome != IDS_OK || same(&row->packet, &other.packet));
	}
	return outcome;
}

static void classify(const __s64 *x)
{
	__s64 logits[IDS_MAX_CLASSES];
	__u8 class;

	IDS_CLASSIFIERS(CLASSIFY)
}

int LLVMFuzzerTestOneInput(const __u8 *data, size_t size)
{
	static const __u32 links[] = { 1, 1, 1, 1, 0, 12, 14, 101, 108, 113, 228, 229, 276, 105 };
	struct ids_table table;
	__u64 now_ns = 1000000000;

	if (ids_table_init(&table, 4))
		return 0;
	while (size >= 4) { /* one byte for the link layer, one for the time step, two for the length, then the frame */
		__u32 link = links[data[0] % (sizeof(links) / sizeof(*links))], n = (data[2] | data[3] << 8) & 0xfff;
		struct ids_row row = { 0 };
		__s64 x[IDS_N_FEATURES];
		__u8 *frame;

		now_ns += 1ULL << (data[1] % 44);
		row.caplen = n < size - 4 ? n : size - 4;
		frame = malloc(row.caplen);
		memcpy(frame, data + 4, row.caplen);
		if (parse(link, frame, &row) == IDS_OK) {
			assert(ids_table_update(&table, &row.packet, now_ns, x) >= 0);
			classify(x);
		}
		free(frame);
		data += 4 + row.caplen;
		size -= 4 + row.caplen;
	}
	free(table.slots);
	return 0;
}
