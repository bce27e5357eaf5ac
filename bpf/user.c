/* The user-space twin: what ids_repro/native.py calls through ctypes. The arithmetic is all in the shared headers. */
#include "float_mlp.h"
#include "flow.h"
#include "int_mlp.h"
#include "int_mlp_fused.h"
#include "int_tree.h"
#include "table.h"

struct ids_row { /* one IPv4 packet of a capture */
	__u64 ts_ns;
	__u64 offset; /* of the frame in the file */
	__u32 caplen;
	__u32 pad;
	struct ids_packet packet;
};

/* For the tests that hold the Python layouts to these. */
__u64 ids_sizeof_row(void)
{
	return sizeof(struct ids_row);
}

__u64 ids_sizeof_mlp_q16(void)
{
	return sizeof(struct ids_mlp_q16);
}

__u64 ids_sizeof_mlp_fused(void)
{
	return sizeof(struct ids_mlp_fused);
}

__u64 ids_sizeof_mlp_float(void)
{
	return sizeof(struct ids_mlp_float);
}

__u64 ids_sizeof_tree(void)
{
	return sizeof(struct ids_tree);
}

static __u32 load32(const __u8 *p, int swapped)
{
	__u32 v;

	memcpy(&v, p, sizeof(v));
	return swapped ? __builtin_bswap32(v) : v;
}

/*
 * Walk a classic pcap file of Ethernet frames. With rows == NULL only count. reasons[IDS_N_REASONS] counts every
 * frame; *end is where reading stopped, which is before size if the last record is cut off.
 * Returns the number of IPv4 packets.
 */
__u64 ids_read_pcap(const __u8 *file, __u64 size, struct ids_row *rows, __u64 *reasons, __u64 *end)
{
	__u32 magic = load32(file, 0);
	int swapped = magic == 0xd4c3b2a1 || magic == 0x4d3cb2a1;
	int ns = magic == 0xa1b23c4d || magic == 0x4d3cb2a1;
	__u64 at = 24, n = 0;

	while (size - at >= 16) {
		__u32 caplen = load32(file + at + 8, swapped);
		struct ids_row row = { .offset = at + 16, .caplen = caplen };
		int reason;

		if (caplen > size - at - 16)
			break;
		row.ts_ns = load32(file + at, swapped) * 1000000000ULL +
			    load32(file + at + 4, swapped) * (ns ? 1ULL : 1000ULL);
		reason = ids_parse(file + at + 16, file + at + 16 + caplen, &row.packet);
		reasons[reason]++;
		if (reason == IDS_OK) {
			if (rows)
				rows[n] = row;
			n++;
		}
		at += 16 + caplen;
	}
	*end = at;
	return n;
}

/* Packets in the order of arrival -> features (n, 12) in Q16 and each packet's flow number. Returns 0, or -1. */
int ids_extract(const struct ids_row *rows, __u64 n, __s64 *x, __u64 *flow)
{
	struct ids_table table;
	__u64 i;
	int failed = ids_table_init(&table, 1 << 16);

	for (i = 0; i < n && !failed; i++) {
		__s64 id = ids_table_update(&table, &rows[i].packet, rows[i].ts_ns, x + i * IDS_N_FEATURES);

		failed = id < 0;
		flow[i] = id;
	}
	free(table.slots);
	return failed ? -1 : 0;
}

/* Features (n, 12) in Q16 -> logits (n, n_classes) in Q16 and classes (n). n_classes is 2 or 7. */
void ids_predict_mlp_q16(const struct ids_mlp_q16 *m, int n_classes, const __s64 *x, __u64 n, __s64 *logits,
			 __u8 *verdict)
{
	struct ids_mlp_scratch scratch;
	__u64 i;

	for (i = 0; i < n; i++) {
		const __s64 *xi = x + i * IDS_N_FEATURES;
		__s64 *li = logits + i * n_classes;

		/* constants, so that the compiler unrolls as it does in the kernel */
		verdict[i] = n_classes == 2 ? ids_mlp_q16(m, 2, xi, &scratch, li) : ids_mlp_q16(m, 7, xi, &scratch, li);
	}
}

/* The same with logits of 32 fractional bits. */
void ids_predict_mlp_fused(const struct ids_mlp_fused *m, int n_classes, const __s64 *x, __u64 n, __s64 *logits,
			   __u8 *verdict)
{
	struct ids_fused_scratch scratch;
	__u64 i;

	for (i = 0; i < n; i++) {
		const __s64 *xi = x + i * IDS_N_FEATURES;
		__s64 *li = logits + i * n_classes;

		verdict[i] =
			n_classes == 2 ? ids_mlp_fused(m, 2, xi, &scratch, li) : ids_mlp_fused(m, 7, xi, &scratch, li);
	}
}

/* The same in float32, without the logits. */
void ids_predict_mlp_float(const struct ids_mlp_float *m, int n_classes, const __s64 *x, __u64 n, __u8 *verdict)
{
	float logits[IDS_HIDDEN];
	__u64 i;

	for (i = 0; i < n; i++)
		verdict[i] = n_classes == 2 ? ids_mlp_float(m, 2, x + i * IDS_N_FEATURES, logits) :
					      ids_mlp_float(m, 7, x + i * IDS_N_FEATURES, logits);
}

/* Features (n, 12) in Q16 -> classes (n). */
void ids_predict_tree(const struct ids_tree *t, const __s64 *x, __u64 n, __u8 *verdict)
{
	__u64 i;

	for (i = 0; i < n; i++) {
		__s64 padded[IDS_X_SIZE] = { 0 };

		memcpy(padded, x + i * IDS_N_FEATURES, IDS_N_FEATURES * sizeof(*x));
		verdict[i] = ids_tree_walk(t, padded);
	}
}
