/* Read by library.c and receiver.h: the flow table of a fixed size, as the kernel has it, in user space. */
#ifndef IDS_FIXED_TABLE_H
#define IDS_FIXED_TABLE_H

#include <stdlib.h>
#include <string.h>

#include "../flow_table.h"

struct ids_fixed_table {
	struct ids_bucket *buckets;
	struct ids_entries *entries;
	__u32 n_buckets;
	struct ids_hash_keys keys;
	__u64 found[IDS_N_FOUND]; /* packets by what became of their flow */
	__u32 bucket, way;	  /* where the flow of the last packet is */
};

/* Take memory for so many flows, a power of two and at least IDS_WAYS. Return 0, or -1 if there is none. */
static inline int ids_fixed_init(struct ids_fixed_table *t, __u64 flows, __u64 secret)
{
	memset(t, 0, sizeof(*t));
	t->n_buckets = flows / IDS_WAYS;
	t->keys = ids_keys_of(secret);
	t->buckets = aligned_alloc(128, t->n_buckets * sizeof(*t->buckets));
	t->entries = aligned_alloc(128, t->n_buckets * sizeof(*t->entries));
	if (!t->buckets || !t->entries)
		return -1;
	memset(t->buckets, 0, t->n_buckets * sizeof(*t->buckets));
	memset(t->entries, 0, t->n_buckets * sizeof(*t->entries));
	return 0;
}

static inline void ids_fixed_free(struct ids_fixed_table *t)
{
	free(t->buckets);
	free(t->entries);
}

/* Pass one packet through the table, and write its features to x. Return 1 if it started a flow. */
static inline __u32 ids_fixed_update(struct ids_fixed_table *t, const struct ids_packet *p, __u64 now_ns, __s64 *x)
{
	struct ids_key key;
	__u8 side = ids_make_key(p, &key);
	__u64 hash = ids_flow_hash(&key, &t->keys);
	__u32 first;

	t->bucket = ids_bucket_of(hash, t->n_buckets);
	t->found[ids_table_pass(&t->buckets[t->bucket], &t->entries[t->bucket], hash, &key, p, side, now_ns, x, &first,
				&t->way)]++;
	return first;
}

/* Keep whether the last packet raised an alarm. Return whether its flow is flagged, by this packet or one before it. */
static inline int ids_fixed_flag(struct ids_fixed_table *t, int alarm)
{
	return ids_table_flag(&t->buckets[t->bucket], &t->entries[t->bucket], t->way, alarm) | alarm;
}

#endif
