/* Read by library.c and sampler.h: the flow table of datasets. */
/* Open addressing; the table grows by doubling and never forgets a live flow. The kernel's table is flow_table.h. */
#ifndef IDS_TABLE_H
#define IDS_TABLE_H

#include <stdlib.h>
#include <string.h>

#include "../flow.h"
#include "link_layer.h"

struct ids_slot {
	struct ids_key key;
	struct ids_flow flow; /* flow.num == 0: the slot is free */
	__u64 id;
	__u32 note;	    /* for the caller's own use */
	__u32 stepped_back; /* a packet was older than the one before it; the same */
};

struct ids_table {
	struct ids_slot *slots;
	__u64 size; /* a power of two */
	__u64 used;
	__u64 next_id;
};

static inline __u64 ids_hash(const struct ids_key *k)
{
	__u64 word[3];

	memcpy(word, k, sizeof(word));
	word[0] = (word[0] ^ (word[1] * 0x9e3779b97f4a7c15ULL) ^ (word[2] * 0xc2b2ae3d27d4eb4fULL)) *
		  0xff51afd7ed558ccdULL;
	return word[0] ^ word[0] >> 32;
}

static inline int ids_table_init(struct ids_table *t, __u64 size)
{
	memset(t, 0, sizeof(*t));
	t->slots = calloc(size, sizeof(*t->slots));
	t->size = t->slots ? size : 0;
	return t->slots ? 0 : -1;
}

static inline struct ids_slot *ids_table_probe(const struct ids_table *t, const struct ids_key *k)
{
	__u64 i = ids_hash(k) & (t->size - 1);

	while (t->slots[i].flow.num && memcmp(&t->slots[i].key, k, sizeof(*k)))
		i = (i + 1) & (t->size - 1);
	return &t->slots[i];
}

static inline int ids_table_grow(struct ids_table *t)
{
	struct ids_table bigger;
	__u64 i;

	if (ids_table_init(&bigger, 2 * t->size))
		return -1;
	for (i = 0; i < t->size; i++)
		if (t->slots[i].flow.num)
			*ids_table_probe(&bigger, &t->slots[i].key) = t->slots[i];
	bigger.used = t->used;
	bigger.next_id = t->next_id;
	free(t->slots);
	*t = bigger;
	return 0;
}

/*
 * The key of a packet's flow. The type and the code of ICMP, where they stand in dport (ids_as_go_flows), are no end's port:
 * both directions have the same, so they are in the key beside the ends.
 */
static inline __u8 ids_table_key(const struct ids_packet *p, struct ids_key *k)
{
	__u8 side = ids_make_key(p, k);

	if (p->proto != IDS_ICMP && p->proto != IDS_ICMP6)
		return side;
	k->port[0] = k->port[1] = 0;
	k->pad[0] = p->dport >> 8;
	k->pad[1] = p->dport;
	return p->saddr > p->daddr;
}

/* Pass one packet through the table and write its features to x. Return the flow's number, or -1 if memory ran out. */
static inline __s64 ids_table_update(struct ids_table *t, const struct ids_packet *p, __u64 now_ns, __s64 *x)
{
	struct ids_key key;
	struct ids_slot *slot;
	__u8 side = ids_table_key(p, &key);

	if (t->used * 2 >= t->size && ids_table_grow(t))
		return -1;
	slot = ids_table_probe(t, &key);
	if (!slot->flow.num) {
		slot->key = key;
		t->used++;
	}
	if (ids_flow_update(&slot->flow, p, side, now_ns, x))
		slot->id = t->next_id++;
	return slot->id;
}

#endif
