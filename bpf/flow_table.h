/* Read by ids.bpf.c, ids.h and user/fixed_table.h: the flow table of the kernel and of user space. */
/*
 * This header uses no maps, helpers or clocks: the caller passes the bucket and the time, and holds the bucket's lock. The
 * same packets in the same order, with the same secret, give the same states and the same evictions everywhere.
 */
#ifndef IDS_FLOW_TABLE_H
#define IDS_FLOW_TABLE_H

#include "replacement.h"

static __always_inline int ids_same_key(const struct ids_key *a, const struct ids_key *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;

	return !((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]));
}

/*
 * The state after one packet in 64 bits: its time, of which 45 bits of microseconds are kept (a flow that comes back within
 * half a year has timed out), its length, whether it had FIN, and whether a detector flagged it. A first packet has no other
 * state. One of more than 65,535 bytes does not fit.
 */
#define IDS_ONCE_FLAGGED 1 /* the bit of `once` that is ids_flow.flagged */

static __always_inline __u64 ids_pack(const struct ids_flow *f)
{
	return f->first_us << IDS_ONCE_BITS | f->len_sum << 3 | (f->fin & 1) << 2 | f->flagged << IDS_ONCE_FLAGGED |
	       f->side;
}

static __always_inline void ids_unpack(__u64 once, __u64 now_us, struct ids_flow *f)
{
	f->first_us = f->last_us = now_us - ids_since(once, now_us);
	f->iat_sum = 0;
	f->len_sum = once >> 3 & 0xffff;
	f->side = once & 1;
	f->flagged = once >> IDS_ONCE_FLAGGED & 1;
	f->fin = once >> 2 & 1;
	f->ended = 0;
	f->dir_sum = f->num = 1;
}

/* Start a flow in a bucket with its first packet, and compute x1..x12: see ids_table_pass. */
static __always_inline int ids_table_start(struct ids_bucket *b, struct ids_entries *entries, __u64 hash,
					   const struct ids_key *key, const struct ids_packet *p, __u8 side, __u64 tick,
					   __u64 now_us, __s64 *x, __u32 *at)
{
	struct ids_flow fresh;
	struct ids_entry *e;
	__u32 found, way;

	fresh.len_sum_and_flags = 0;
	ids_flow_add(&fresh, p, side, now_us, 1, x);
	if (fresh.ended)
		return IDS_STARTED;
	*at = way = ids_choose(b, tick, now_us, &found) & (IDS_WAYS - 1);
	b->tag[way] = ids_tag(hash);
	b->more[way] = ids_more(hash);
	b->seen[way] = tick << 2;
	if (p->len <= 0xffff) {
		b->seen[way] |= IDS_IS_ONCE;
		b->once[way] = ids_pack(&fresh);
	} else {
		e = &entries->way[way];
		e->key = *key;
		e->flow = fresh;
		b->once[way] = now_us << IDS_ONCE_BITS;
	}
	return found;
}

/*
 * Steps k2 and k3 (Sec. IV-C): find or start the flow of a packet in its locked bucket, update it and compute x1..x12.
 * *first says whether the packet starts a flow, *at in which way the flow is, IDS_WAYS if its only packet ended it.
 * Return enum ids_found.
 */
static __always_inline int ids_table_pass(struct ids_bucket *b, struct ids_entries *entries, __u64 hash,
					  const struct ids_key *key, const struct ids_packet *p, __u8 side,
					  __u64 now_ns, __s64 *x, __u32 *first, __u32 *at)
{
	__u64 now_us = now_ns / 1000;
	__u32 tick = now_ns >> IDS_TICK & IDS_TICKS, way = ids_way_of(b, hash), proven;
	struct ids_entry *e = &entries->way[way & (IDS_WAYS - 1)];
	int known = 0;

	if (way < IDS_WAYS) {
		way &= IDS_WAYS - 1;
		if (!(b->seen[way] & IDS_IS_ONCE))
			known = ids_same_key(&e->key, key);
		else if (b->more[way] == ids_more(hash)) {
			known = 1;
			ids_unpack(b->once[way], now_us, &e->flow);
			e->key = *key;
		}
	}
	*at = way;
	if (!known) {
		*first = 1;
		*at = IDS_WAYS;
		return ids_table_start(b, entries, hash, key, p, side, tick, now_us, x, at);
	}
	*first = ids_flow_over(&e->flow, now_us);
	ids_flow_add(&e->flow, p, side, now_us, *first, x);
	proven = *first ? 0 : ids_prove(b, way, &e->flow, tick);
	b->seen[way] = tick << 2 | proven;
	if (!proven) /* a proven flow's packet does not touch this line */
		b->once[way] = now_us << IDS_ONCE_BITS;
	if (e->flow.ended)
		b->tag[way] = 0;
	return *first ? IDS_STARTED : IDS_KNOWN;
}

/*
 * Set a flow's flag if its packet raised an alarm (`alarm` is 0 or 1). `at` is the way that ids_table_pass returned.
 * Return whether the flag was set before.
 */
static __always_inline int ids_table_flag(struct ids_bucket *b, struct ids_entries *entries, __u32 at, __u64 alarm)
{
	__u32 way = at & (IDS_WAYS - 1);
	struct ids_flow *f = &entries->way[way].flow;
	int before;

	if (at >= IDS_WAYS)
		return 0;
	if (b->seen[way] & IDS_IS_ONCE) {
		before = b->once[way] >> IDS_ONCE_FLAGGED & 1;
		b->once[way] |= alarm << IDS_ONCE_FLAGGED;
	} else {
		before = f->flagged;
		f->flagged |= alarm;
	}
	return before;
}

#endif
