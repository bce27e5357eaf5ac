/* Read by replacement.h: the buckets of the flow table, and where a flow is in them. */
/*
 * A set-associative table: the keyed hash of a flow's key chooses a bucket, which has room for IDS_WAYS flows.
 *
 * The cost of a new flow is cache misses, so its first packet touches only two cache lines: the tags of its bucket, and
 * the states of flows of one packet, which fit into 64 bits each. An entry, one line, is written from the second packet on.
 */
#ifndef IDS_BUCKET_H
#define IDS_BUCKET_H

#include "flow.h"
#include "keyed_hash.h"

#define IDS_WAYS 8
#define IDS_LEAST_FLOWS (1 << 10) /* sizes of the table, powers of two */
#define IDS_MOST_FLOWS (1 << 22)
#define IDS_IS_PROVEN 1	 /* in the lowest bits of `seen` */
#define IDS_IS_ONCE 2	 /* the state is in `once`, not in the entry */
#define IDS_ONCE_BITS 19 /* of `once`, below the time */

struct ids_bucket {	      /* two cache lines */
	__u64 lock;	      /* used only in the kernel: one CPU at a time */
	__u32 tag[IDS_WAYS];  /* 32 bits of the hash; 0: the way is free */
	__u16 seen[IDS_WAYS]; /* the time of the last packet in ticks, and two flags below it */
	__u8 more[IDS_WAYS];  /* 8 more bits of the hash, which stand for the key in `once` */
	__u64 once[IDS_WAYS]; /* the state of a flow of one packet, or the time of one that is not proven yet */
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
_Static_assert(sizeof(struct ids_key) == 8 * IDS_WORDS_HASHED, "the hash covers the whole key");

static __always_inline __u64 ids_flow_hash(const struct ids_key *key, const struct ids_hash_keys *keys)
{
	return ids_keyed_hash((const __u64 *)key, keys);
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

/* All bits set if value < 0, else none. The empty asm keeps the compiler from turning this into a branch. */
static __always_inline __s64 ids_if_negative(__s64 value)
{
	value >>= 63;
	asm volatile("" : "+r"(value));
	return value;
}

/*
 * The way that has this tag, or IDS_WAYS. The bucket is locked, so lock is 1 and lock >> 1 adds 0. The verifier cannot know
 * that, so it treats the way as unknown and walks the rest of the program once instead of once per way.
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

#endif
