/* A capture file's bytes -> its packets. Python calls these functions through ctypes (ids_repro/native/stream.py). */
#include "capture.h"
#include "order.h"
#include "pcapng.h"

void *ids_capture_new(__u64 dedup_ns, int ipv6)
{
	struct ids_capture *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->ipv6 = ipv6;
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
	free(c);
}

/* Write to out: bytes used, frames, packets out of order, then the number of frames with each outcome. */
void ids_capture_counts(const struct ids_capture *c, __u64 *out)
{
	out[0] = c->at;
	out[1] = c->frames;
	out[2] = c->out_of_order;
	memcpy(out + 3, c->outcomes, sizeof(c->outcomes));
}

/* Count one frame. Return 1 if its packet is kept and now in *row, 0 if it is not kept, or IDS_NO_MEMORY. */
static int take(struct ids_capture *c, const struct ids_frame *f, __u64 offset, struct ids_row *row)
{
	int outcome = f->outcome, copy = 0;

	c->frames++;
	if (outcome == IDS_OK && c->dedup.size)
		copy = ids_dedup_frame(&c->dedup, f->bytes, f->caplen, f->ts_ns);
	if (copy < 0)
		return IDS_NO_MEMORY;
	*row = (struct ids_row){ .ts_ns = f->ts_ns, .offset = offset, .caplen = f->caplen };
	if (copy)
		outcome = IDS_DUPLICATE;
	else if (outcome == IDS_OK)
		outcome = ids_parse_frame(f->link, f->bytes, c->ipv6, row);
	c->outcomes[outcome]++;
	if (outcome != IDS_OK)
		return 0;
	c->out_of_order += row->ts_ns < c->newest_ns;
	if (row->ts_ns > c->newest_ns)
		c->newest_ns = row->ts_ns;
	return 1;
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
		struct ids_frame f = { .outcome = IDS_OK };

		step = c->pcapng ? ids_pcapng_next(c, data + used, size - used, &f) :
				   ids_pcap_next(c, data + used, size - used, &f);
		if (step <= 0)
			break;
		if (f.bytes) {
			int kept = take(c, &f, c->at + (__u64)(f.bytes - data), &rows[*n]);

			if (kept < 0) {
				step = kept;
				break;
			}
			*n += kept;
		}
		used += step;
	}
	if (step < 0)
		*status = step;
	c->at += used;
	return used;
}

int ids_link_is_known(__u32 link)
{
	return ids_link_known(link);
}

void *ids_order_new(__u64 window_ns)
{
	struct ids_order *o = calloc(1, sizeof(*o));

	if (o)
		o->window_ns = window_ns;
	return o;
}

void ids_order_free(struct ids_order *o)
{
	free(o->heap);
	free(o);
}

__u64 ids_order_waiting(const struct ids_order *o)
{
	return o->n;
}

__u64 ids_order_late(const struct ids_order *o)
{
	return o->late;
}

/*
 * Take n packets in the order of the file, and write to out, in the order of time, those that have waited long enough;
 * `all` writes every packet. out needs room for n and the waiting packets. Return how many, or -1 if memory ran out.
 */
__s64 ids_order_pass(struct ids_order *o, const struct ids_row *rows, __u64 n, int all, struct ids_row *out)
{
	__u64 i, m = 0;

	for (i = 0; i < n; i++) {
		if (ids_order_put(o, &rows[i]))
			return -1;
		while (ids_order_due(o))
			out[m++] = ids_order_get(o);
	}
	while (all && o->n)
		out[m++] = ids_order_get(o);
	return m;
}
