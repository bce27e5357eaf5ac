/* Read by ids.bpf.c, user/library.c and the receivers: the flow table of the kernel and of user space. */
/*
 * A set-associative table. The keyed hash of a flow's key chooses a bucket, which has room for IDS_WAYS flows. This header
 * uses no maps, helpers or clocks: the caller passes the bucket and the time, and holds the bucket's lock. The same packets
 * in the same order, with the same secret, give the same states and the same evictions everywhere.
 *
 * What a packet of a new flow costs is cache misses, so such a packet touches two lines: the tags of its bucket, and the
 * states of flows of one packet, which fit into 64 bits each. An entry, one line, is written from the second packet on.
 *
 * The rule of replacement. A flow has earned its place once both of its ends have sent, or once it has had
 * IDS_PROOF_PACKETS packets over at least IDS_PROOF_US. It is proven from the first packet after that at which fewer than
 * IDS_MOST_PROVEN flows of its bucket are proven and have not been idle for more than IDS_PROTECT ticks. A new flow takes
 * a free way. If there is none, it takes the way of the flow that has been idle for the longest time, among the flows
 * that are not proven or have been idle for more than IDS_PROTECT ticks. A flow that ends gives its way back.
 */
#ifndef IDS_FLOW_TABLE_H
#define IDS_FLOW_TABLE_H

#include "flow.h"

#define IDS_WAYS 8
#define IDS_LEAST_FLOWS (1 << 10) /* sizes of the table, powers of two */
#define IDS_MOST_FLOWS (1 << 22)
#define IDS_TICK 28	  /* a tick is 2^28 ns, 0.268 s */
#define IDS_TICKS 0x3fff  /* a time in ticks has 14 bits: it wraps after 73 minutes, long after a flow has timed out */
#define IDS_LATE 256	  /* ticks: a packet may come so much later than one with a younger time, 69 s */
#define IDS_PROTECT 112	  /* ticks, 30 s */
#define IDS_IS_PROVEN 1	  /* in the lowest bits of `seen` */
#define IDS_IS_ONCE 2	  /* the state is in `once`, not in the entry */
#define IDS_MOST_PROVEN 6 /* of the flows of a bucket; the other ways are for new flows */
#define IDS_PROOF_PACKETS 4
#define IDS_PROOF_US 1000000

/*
 * What became of a packet's flow in the table:
 *   IDS_KNOWN             it was there
 *   IDS_STARTED           it started in a free way, or again after its end
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

struct ids_bucket {	      /* two cache lines */
	__u64 lock;	      /* used only in the kernel: one CPU at a time */
	__u32 tag[IDS_WAYS];  /* 32 bits of the hash; 0: the way is free */
	__u16 seen[IDS_WAYS]; /* the time of the last packet in ticks, and two flags below it */
	__u8 more[IDS_WAYS];  /* 8 more bits of the hash, which stand for the key in `once` */
	__u64 once[IDS_WAYS]; /* the state of a flow of one packet: ids_pack */
} __attribute__((aligned(128)));

struct ids_entry { /* one cache line */
	struct ids_key key;
	struct ids_flow flow;
};

struct ids_entries { /* of one bucket */
	struct ids_entry way[IDS_WAYS];
} __attribute__((aligned(64)));

_Static_assert(sizeof(struct ids_bucket) == 128, "a bucket is two cache lines");
_Static_assert(sizeof(struct ids_entry) == 64, "an entry is one cache line");

/*
 * A keyed hash: the key's words times odd numbers that the secret makes (multilinear hashing, which is universal), and a
 * mix. Whoever does not know the secret cannot choose flows that share a bucket.
 */
static __always_inline __u64 ids_flow_hash(const struct ids_key *key, __u64 secret)
{
	const __u64 *word = (const __u64 *)key;
	__u64 h = word[0] * (secret | 1) + word[1] * (secret * 0x9e3779b97f4a7c15ULL | 1) +
		  word[2] * (secret * 0xc2b2ae3d27d4eb4fULL | 1);

	h = (h ^ h >> 32) * 0xff51afd7ed558ccdULL;
	return h ^ h >> 32;
}

/* The bucket of a flow in a table of that many buckets, a power of two. The tag uses other bits of the hash. */
static __always_inline __u32 ids_bucket_of(__u64 hash, __u32 buckets)
{
	return hash & (buckets - 1);
}

static __always_inline __u32 ids_tag(__u64 hash)
{
	return hash >> 32 | 1;
}

static __always_inline __u8 ids_more(__u64 hash)
{
	return hash >> 24;
}

/* All bits set if value is below zero, none if not. Hidden from the compiler, which would make a branch of it. */
static __always_inline __s64 ids_if_negative(__s64 value)
{
	value >>= 63;
	asm volatile("" : "+r"(value));
	return value;
}

/*
 * The way that has this tag, or IDS_WAYS. The lock is 1 now, so that (lock >> 1) is 0; the verifier does not know that, and
 * so does not follow the rest of the program once for each way.
 */
static __always_inline __u32 ids_way_of(const struct ids_bucket *b, __u64 hash)
{
	__u32 tag = ids_tag(hash), way = IDS_WAYS;

	if (b->tag[0] == tag)
		way = 0;
	else if (b->tag[1] == tag)
		way = 1;
	else if (b->tag[2] == tag)
		way = 2;
	else if (b->tag[3] == tag)
		way = 3;
	else if (b->tag[4] == tag)
		way = 4;
	else if (b->tag[5] == tag)
		way = 5;
	else if (b->tag[6] == tag)
		way = 6;
	else if (b->tag[7] == tag)
		way = 7;
	return (way + (__u32)(*(volatile __u64 *)&b->lock >> 1)) & 15;
}

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

/* The way that a new flow takes, by the rule above; *found says what was there. */
static __always_inline __u32 ids_choose(const struct ids_bucket *b, __u64 tick, __u32 *found)
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
		__u64 rank = (age << 1 | i) & may;

		best ^= (best ^ rank) & ids_if_negative((__s64)best - (__s64)rank);
	}
	way = best & (IDS_WAYS - 1); /* 0 if no flow may go, which only packets that come late can bring about */
	*found = IDS_EVICTED_UNPROVEN + (b->seen[way] & IDS_IS_PROVEN);
	return way;
}

static __always_inline int ids_same_key(const struct ids_key *a, const struct ids_key *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;

	return !((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]));
}

/*
 * The state after one packet in 64 bits: its time, of which 40 bits of microseconds are kept (they wrap after 12 days), its
 * length, and the flags of TCP. A first packet has no other state. One of more than 65,535 bytes does not fit.
 */
static __always_inline __u64 ids_pack(const struct ids_flow *f)
{
	return f->first_us << 24 | f->len_sum << 8 | f->fin << 1 | f->side;
}

static __always_inline void ids_unpack(__u64 once, __u64 now_us, struct ids_flow *f)
{
	__s64 ago = (__s64)((now_us << 24) - (once >> 24 << 24)) >> 24;

	f->first_us = f->last_us = now_us - ago;
	f->iat_sum = 0;
	f->len_sum = once >> 8 & 0xffff;
	f->side = once & 1;
	f->fin = once >> 1 & 15;
	f->ended = 0;
	f->dir_sum = f->num = 1;
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

/*
 * Steps k2 and k3 (Sec. IV-C): find or start the flow of a packet in its locked bucket, update it and compute x1..x12.
 * *first says whether the packet starts a flow. Return enum ids_found.
 */
static __always_inline int ids_table_pass(struct ids_bucket *b, struct ids_entries *entries, __u64 hash,
					  const struct ids_key *key, const struct ids_packet *p, __u8 side,
					  __u64 now_ns, __s64 *x, __u32 *first)
{
	__u64 now_us = now_ns / 1000;
	__u32 tick = now_ns >> IDS_TICK & IDS_TICKS, way = ids_way_of(b, hash);
	struct ids_entry *e = &entries->way[way & (IDS_WAYS - 1)];
	struct ids_flow fresh;
	__u32 found;
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
	if (known) {
		*first = ids_flow_over(&e->flow, now_us);
		ids_flow_add(&e->flow, p, side, now_us, *first, x);
		b->seen[way] = tick << 2 | (*first ? 0 : ids_prove(b, way, &e->flow, tick));
		if (e->flow.ended)
			b->tag[way] = 0;
		return *first ? IDS_STARTED : IDS_KNOWN;
	}
	*first = 1;
	fresh.len_sum_and_flags = 0;
	ids_flow_add(&fresh, p, side, now_us, 1, x);
	way = ids_choose(b, tick, &found);
	if (fresh.ended)
		return IDS_STARTED;
	way &= IDS_WAYS - 1;
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
	}
	return found;
}

#endif
