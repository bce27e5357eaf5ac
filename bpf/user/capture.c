/* A capture file's bytes -> its packets. Python calls these functions through ctypes (ids_repro/native/stream.py). */
#include "capture.h"
#include "pcapng.h"

void *ids_capture_new(__u64 dedup_ns, __u64 reorder_ns, int rules)
{
	struct ids_capture *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->rules = rules;
	c->order.window_ns = reorder_ns;
	if (!dedup_ns)
		return c;
	c->dedup.size = 1 << 12;
	c->dedup.window_ns = dedup_ns;
	c->dedup.slots = calloc(c->dedup.size, sizeof(*c->dedup.slots));
	if (!c->dedup.slots) {
		free(c);
		return NULL;
	}
	return c;
}

void ids_capture_free(struct ids_capture *c)
{
	free(c->interfaces);
	free(c->dedup.slots);
	free(c->order.heap);
	free(c);
}

/*
 * Write to out: bytes used, frames, packets out of order, the largest step back, packets that came too late, packets
 * without a length, the number of frames with each outcome, then the link types that are not read, each with its frames.
 */
void ids_capture_counts(const struct ids_capture *c, __u64 *out)
{
	__u32 i;

	*out++ = c->at;
	*out++ = c->frames;
	*out++ = c->out_of_order;
	*out++ = c->most_back_ns;
	*out++ = c->late;
	*out++ = c->no_length;
	memcpy(out, c->outcomes, sizeof(c->outcomes));
	for (out += IDS_N_OUTCOMES, i = 0; i < IDS_STRANGE; i++) {
		*out++ = c->strange[i].link;
		*out++ = c->strange[i].frames;
	}
}

/* Count a frame whose link type is not read. */
static void note_link(struct ids_capture *c, __u32 link)
{
	__u32 i = 0;

	while (i < IDS_STRANGE && c->strange[i].frames && c->strange[i].link != link)
		i++;
	if (i == IDS_STRANGE)
		return;
	c->strange[i].link = link;
	c->strange[i].frames++;
}

/* Note how far a packet steps back in time. */
static void note_order(struct ids_capture *c, __u64 ts_ns)
{
	if (ts_ns >= c->newest_ns) {
		c->newest_ns = ts_ns;
		return;
	}
	c->out_of_order++;
	if (c->newest_ns - ts_ns > c->most_back_ns)
		c->most_back_ns = c->newest_ns - ts_ns;
}

/* Count a frame whose turn it is. Return 1 if its packet is kept and now in *row, 0 if not, or IDS_NO_MEMORY. */
static int keep(struct ids_capture *c, const struct ids_waiting *frame, struct ids_row *row)
{
	int copy = frame->hash ? ids_dedup_frame(&c->dedup, frame->hash, frame->row.ts_ns) : 0;
	int outcome = copy ? IDS_DUPLICATE : frame->outcome;

	if (copy < 0)
		return IDS_NO_MEMORY;
	c->outcomes[outcome]++;
	if (outcome != IDS_OK)
		return 0;
	if (c->order.window_ns)
		c->late += frame->row.ts_ns < c->order.released_ns;
	else
		note_order(c, frame->row.ts_ns);
	*row = frame->row;
	return 1;
}

/* Take the next frame of the file. Return as `keep` does; a frame that waits for older ones is not kept yet. */
static int take(struct ids_capture *c, const struct ids_frame *f, __u64 offset, struct ids_row *row)
{
	struct ids_waiting frame = { .row = { .ts_ns = f->ts_ns, .offset = offset, .caplen = f->caplen },
				     .outcome = f->outcome };
	int no_length = 0;

	c->frames++;
	if (f->outcome == IDS_OK) {
		if (c->dedup.size)
			frame.hash = ids_hash_frame(f->bytes, f->caplen);
		frame.outcome = ids_parse_frame(f->link, f->bytes, f->size, c->rules, &frame.row, &no_length);
	}
	c->no_length += no_length;
	if (frame.outcome == IDS_LINK_TYPE)
		note_link(c, f->link);
	if (!c->order.window_ns || (frame.outcome != IDS_OK && !frame.hash))
		return keep(c, &frame, row);
	if (frame.outcome == IDS_OK)
		note_order(c, f->ts_ns);
	return ids_order_put(&c->order, &frame) ? IDS_NO_MEMORY : 0;
}

/*
 * Write to rows, at most `max`, the packets of the frames that have waited long enough; `all` writes those of all frames.
 * Add their number to *n. Return 0, or IDS_NO_MEMORY.
 */
static int release(struct ids_capture *c, int all, struct ids_row *rows, __u64 max, __u64 *n)
{
	while (*n < max && (all ? c->order.n > 0 : ids_order_due(&c->order))) {
		struct ids_waiting frame = ids_order_get(&c->order);
		int kept = keep(c, &frame, &rows[*n]);

		if (kept < 0)
			return kept;
		*n += kept;
	}
	return 0;
}

/* Read one record. Return its length, 0 if more bytes are needed, or what went wrong. */
static __s64 next(struct ids_capture *c, const __u8 *data, __u64 size, __u64 used, struct ids_row *rows, __u64 *n)
{
	struct ids_frame f = { .outcome = IDS_OK };
	const __u8 *p = data + used;
	__s64 step = c->pcapng ? ids_pcapng_next(c, p, size - used, &f) : ids_pcap_next(c, p, size - used, &f);
	int kept;

	if (step <= 0 || !f.bytes)
		return step;
	kept = take(c, &f, c->at + (__u64)(f.bytes - data), &rows[*n]);
	if (kept < 0)
		return kept;
	*n += kept;
	return step;
}

/*
 * Read the next `size` bytes of the file, which follow the bytes used so far. Write at most `max` packets to rows and
 * their number to *n. Return the bytes used. *status becomes 0, or IDS_DAMAGED or IDS_NO_MEMORY if reading must end.
 */
__u64 ids_capture_read(struct ids_capture *c, const __u8 *data, __u64 size, struct ids_row *rows, __u64 max, __u64 *n,
		       int *status)
{
	__u64 used = 0;
	__s64 step = 1;

	*status = 0;
	*n = 0;
	if (!c->known) {
		step = ids_pcap_header(c, data, size);
		used = step > 0 ? step : 0;
		if (step < 0 || !c->known)
			max = 0;
	}
	while (*n < max) {
		step = release(c, 0, rows, max, n);
		if (step < 0 || *n == max)
			break;
		step = next(c, data, size, used, rows, n);
		if (step <= 0)
			break;
		used += step;
	}
	if (step < 0)
		*status = step;
	c->at += used;
	return used;
}

/* At the end of the file: write at most `max` packets that still wait to rows. Return how many, or IDS_NO_MEMORY. */
__s64 ids_capture_end(struct ids_capture *c, struct ids_row *rows, __u64 max)
{
	__u64 n = 0;
	int failed = release(c, 1, rows, max, &n);

	return failed ? failed : (__s64)n;
}

int ids_link_is_known(__u32 link)
{
	return ids_link_known(link);
}
