/* Read by capture.c: sorts packets by time. Each packet waits a short time for older ones. */
#ifndef IDS_ORDER_H
#define IDS_ORDER_H

#include <stdlib.h>

#include "link_layer.h"

#define IDS_ORDER_MAX (1ULL << 22) /* most packets that wait; this bounds memory even if all time stamps are the same */

struct ids_order { /* a heap of packets, by time and then by place in the file */
	struct ids_row *heap;
	__u64 n, room;
	__u64 window_ns, newest_ns, released_ns;
	__u64 late; /* packets that arrived after a newer one had been released */
};

static inline int ids_row_before(const struct ids_row *a, const struct ids_row *b)
{
	return a->ts_ns != b->ts_ns ? a->ts_ns < b->ts_ns : a->offset < b->offset;
}

/* Add a packet to the heap. Return 0, or -1 if memory ran out. */
static inline int ids_order_put(struct ids_order *o, const struct ids_row *row)
{
	__u64 i, up;

	if (o->n == o->room) {
		struct ids_row *more = realloc(o->heap, (o->room ? 2 * o->room : 1024) * sizeof(*more));

		if (!more)
			return -1;
		o->heap = more;
		o->room = o->room ? 2 * o->room : 1024;
	}
	for (i = o->n++; i; i = up) {
		up = (i - 1) / 2;
		if (!ids_row_before(row, &o->heap[up]))
			break;
		o->heap[i] = o->heap[up];
	}
	o->heap[i] = *row;
	o->late += row->ts_ns < o->released_ns;
	if (row->ts_ns > o->newest_ns)
		o->newest_ns = row->ts_ns;
	return 0;
}

/* Return 1 if the oldest packet has waited long enough. */
static inline int ids_order_due(const struct ids_order *o)
{
	return o->n && (o->newest_ns - o->heap[0].ts_ns >= o->window_ns || o->n >= IDS_ORDER_MAX);
}

/* Remove and return the oldest packet. The heap must not be empty. */
static inline struct ids_row ids_order_get(struct ids_order *o)
{
	struct ids_row oldest = o->heap[0], last = o->heap[--o->n];
	__u64 i = 0, child;

	while ((child = 2 * i + 1) < o->n) {
		child += child + 1 < o->n && ids_row_before(&o->heap[child + 1], &o->heap[child]);
		if (!ids_row_before(&o->heap[child], &last))
			break;
		o->heap[i] = o->heap[child];
		i = child;
	}
	o->heap[i] = last;
	if (oldest.ts_ns > o->released_ns)
		o->released_ns = oldest.ts_ns;
	return oldest;
}

#endif
