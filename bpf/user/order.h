/* Read by capture.h: sorts frames by time. Each frame waits a short time for older ones. */
#ifndef IDS_ORDER_H
#define IDS_ORDER_H

#include <stdlib.h>

#include "link_layer.h"

#define IDS_ORDER_MAX (1ULL << 22) /* most frames that wait; this bounds memory even if all time stamps are the same */

struct ids_waiting { /* a frame that was read: its packet, if it holds one, and what tells its copies */
	struct ids_row row;
	__u64 hash; /* of its bytes, 0 if no copies are looked for */
	int outcome;
};

struct ids_order { /* a heap of frames, by time and then by place in the file */
	struct ids_waiting *heap;
	__u64 n, room;
	__u64 window_ns, newest_ns, released_ns; /* window_ns: 0 keeps the order of the file */
};

static inline int ids_row_before(const struct ids_row *a, const struct ids_row *b)
{
	return a->ts_ns != b->ts_ns ? a->ts_ns < b->ts_ns : a->offset < b->offset;
}

/* Add a frame to the heap. Return 0, or -1 if memory ran out. */
static inline int ids_order_put(struct ids_order *o, const struct ids_waiting *frame)
{
	__u64 i, up;

	if (o->n == o->room) {
		struct ids_waiting *more = realloc(o->heap, (o->room ? 2 * o->room : 1024) * sizeof(*more));

		if (!more)
			return -1;
		o->heap = more;
		o->room = o->room ? 2 * o->room : 1024;
	}
	for (i = o->n++; i; i = up) {
		up = (i - 1) / 2;
		if (!ids_row_before(&frame->row, &o->heap[up].row))
			break;
		o->heap[i] = o->heap[up];
	}
	o->heap[i] = *frame;
	if (frame->row.ts_ns > o->newest_ns)
		o->newest_ns = frame->row.ts_ns;
	return 0;
}

/* Return 1 if the oldest frame has waited long enough. */
static inline int ids_order_due(const struct ids_order *o)
{
	return o->n && (o->newest_ns - o->heap[0].row.ts_ns >= o->window_ns || o->n >= IDS_ORDER_MAX);
}

/* Remove and return the oldest frame. The heap must not be empty. */
static inline struct ids_waiting ids_order_get(struct ids_order *o)
{
	struct ids_waiting oldest = o->heap[0], last = o->heap[--o->n];
	__u64 i = 0, child;

	while ((child = 2 * i + 1) < o->n) {
		child += child + 1 < o->n && ids_row_before(&o->heap[child + 1].row, &o->heap[child].row);
		if (!ids_row_before(&o->heap[child].row, &last.row))
			break;
		o->heap[i] = o->heap[child];
		i = child;
	}
	o->heap[i] = last;
	if (oldest.row.ts_ns > o->released_ns)
		o->released_ns = oldest.row.ts_ns;
	return oldest;
}

#endif
