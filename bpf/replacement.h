/* Read by flow_table.h: which flow loses its place when a bucket is full. */
/*
 * A flow has earned its place once both of its ends have sent, or once it has had IDS_PROOF_PACKETS packets over at least
 * IDS_PROOF_US. It is proven from the first packet after that at which fewer than IDS_MOST_PROVEN flows of its bucket are
 * proven and have not been idle for more than IDS_PROTECT ticks. A new flow takes a free way. If there is none, it takes
 * the way of the flow that has been idle for the longest time, among the flows that are not proven or have been idle for
 * more than IDS_PROTECT ticks.
 */
#ifndef IDS_REPLACEMENT_H
#define IDS_REPLACEMENT_H

#include "bucket.h"

#define IDS_TICK 28		  /* a tick is 2^28 ns, 0.268 s */
#define IDS_QUARTER_US 67109	  /* a quarter of a tick, us */
#define IDS_TICKS 0x3fff	  /* a time in ticks has 14 bits and wraps after 73 minutes */
#define IDS_LATE 256		  /* ticks: a packet may come so much later than one with a younger time, 69 s */
#define IDS_PROTECT 112		  /* ticks, 30 s */
#define IDS_AGE_ZERO (1ULL << 46) /* us; added to ages, so that those of flows seen later than now are above 0 */
#define IDS_MOST_PROVEN 6	  /* of the flows of a bucket; the other ways are for new flows */
#define IDS_PROOF_PACKETS 4
#define IDS_PROOF_US 1000000

/*
 * What became of a packet's flow in the table:
 *   IDS_KNOWN             it was there
 *   IDS_STARTED           it started in a free way or that of a flow that has timed out, or again after its end
 *   IDS_EVICTED_UNPROVEN  it started in the way of a flow that was not proven, which is lost
 *   IDS_EVICTED_PROVEN    it started in the way of a proven flow that had been idle for long, which is lost
 */
enum ids_found {
	IDS_KNOWN,
	IDS_STARTED,
	IDS_EVICTED_UNPROVEN,
	IDS_EVICTED_PROVEN,
	IDS_N_FOUND,
};

/* All bits set if a way is free, none if not: only the tag of a free way is even. */
static __always_inline __u64 ids_is_free(__u32 tag)
{
	return (__u64)(tag & 1) - 1;
}

/*
 * How long a flow has been idle, counted from IDS_LATE ticks before its last packet, in quarters of a tick. So a flow that
 * was seen at most IDS_LATE ticks after the time of this packet has a small age, not one of nearly 73 minutes.
 */
static __always_inline __u64 ids_age(__u64 tick, __u64 seen)
{
	return (((tick + IDS_LATE) << 2 | 3) - seen) & IDS_TICKS << 2;
}

/* All bits set if a flow of this age has lost the protection of a proven flow, none if not. */
static __always_inline __u64 ids_is_idle(__u64 age)
{
	return ids_if_negative(((IDS_PROTECT + IDS_LATE) << 2) - (__s64)age);
}

/* The time since the last packet of a flow that is not proven, us; below zero if it is later than now. */
static __always_inline __s64 ids_since(__u64 once, __u64 now_us)
{
	return (__s64)((now_us << IDS_ONCE_BITS) - (once >> IDS_ONCE_BITS << IDS_ONCE_BITS)) >> IDS_ONCE_BITS;
}

/*
 * How long the flow in a way has been idle, us, plus IDS_AGE_ZERO. A flow that is not proven says it to the microsecond, so
 * that a flood's newest flows do not outlive those of others; of a proven one ticks are known.
 */
static __always_inline __u64 ids_idle_us(const struct ids_bucket *b, __u32 way, __u64 age, __u64 now_us)
{
	__s64 coarse = ((__s64)age - (IDS_LATE << 2)) * IDS_QUARTER_US, fine = ids_since(b->once[way], now_us);
	__s64 unproven = (__s64)(b->seen[way] & IDS_IS_PROVEN) - 1; /* all bits set, or none */

	return (coarse ^ ((coarse ^ fine) & unproven)) + IDS_AGE_ZERO;
}

/* The way that a new flow takes, by the rule above; *found says what was there. */
static __always_inline __u32 ids_choose(const struct ids_bucket *b, __u64 tick, __u64 now_us, __u32 *found)
{
	__u64 best = 0, any_free = 0, way = 0, i;

#pragma clang loop unroll(full)
	for (i = 0; i < IDS_WAYS; i++)
		any_free |= ids_is_free(b->tag[i]);
	if (any_free) {
#pragma clang loop unroll(full)
		for (i = 0; i < IDS_WAYS; i++)
			way ^= (way ^ i) & ids_is_free(b->tag[i]);
		*found = IDS_STARTED;
		return way;
	}
#pragma clang loop unroll(full)
	for (i = 0; i < IDS_WAYS; i++) {
		__u64 age = ids_age(tick, b->seen[i]), may = ((b->seen[i] & IDS_IS_PROVEN) - 1ULL) | ids_is_idle(age);
		__u64 rank = (ids_idle_us(b, i, age, now_us) << 3 | i) & may;

		best ^= (best ^ rank) & ids_if_negative((__s64)best - (__s64)rank);
	}
	way = best & (IDS_WAYS - 1); /* 0 if no flow may go, which only packets that come late can bring about */
	*found = IDS_EVICTED_UNPROVEN + (b->seen[way] & IDS_IS_PROVEN);
	if (best >> 3 > IDS_AGE_ZERO + IDS_IDLE_US) /* it has timed out: nothing is lost */
		*found = IDS_STARTED;
	return way;
}

static __always_inline int ids_has_earned(const struct ids_flow *f)
{
	__s64 answered = (__s64)f->dir_sum - f->num, packets = IDS_PROOF_PACKETS - 1 - (__s64)f->num;
	__s64 span = f->first_us + IDS_PROOF_US - 1 - f->last_us;

	return (ids_if_negative(answered) | (ids_if_negative(packets) & ids_if_negative(span))) & 1;
}

/* Whether the flow in a way is proven after a packet, by the rule above: IDS_IS_PROVEN or 0. */
static __always_inline __u32 ids_prove(const struct ids_bucket *b, __u32 way, const struct ids_flow *f, __u64 tick)
{
	__u64 proven = 0, i;

	if (b->seen[way] & ~ids_is_idle(ids_age(tick, b->seen[way])) & IDS_IS_PROVEN)
		return IDS_IS_PROVEN;
	if (!ids_has_earned(f))
		return 0;
#pragma clang loop unroll(full)
	for (i = 0; i < IDS_WAYS; i++)
		proven += b->seen[i] & b->tag[i] & ~ids_is_idle(ids_age(tick, b->seen[i])) & 1;
	return proven < IDS_MOST_PROVEN ? IDS_IS_PROVEN : 0;
}

#endif
