/* Read by sampler.c: packets -> flows -> the feature vectors that models are trained with. */
/* The flow table drops flows that are over. */
#ifndef IDS_SAMPLER_H
#define IDS_SAMPLER_H

#include "link_layer.h"
#include "table.h"

#define IDS_FIRST_PACKETS 100	      /* of a flow: the paper takes the vector of the last of them */
#define IDS_LATE_US (60ULL * 1000000) /* a packet that is this late still finds its flow */

struct ids_vector { /* one feature vector with its packet and flow */
	__u64 flow, packet;
	__u64 time_us, first_us; /* of the packet; of its flow's first packet */
	__u64 saddr, daddr;	 /* these and the ports are of the flow's first packet */
	__u16 sport, dport;
	__u32 index; /* of the packet in its flow, from 0 */
	__u64 proto;
	__s64 x[IDS_N_FEATURES];
};

struct ids_vectors {
	struct ids_vector *list;
	__u64 n, room;
};

struct ids_sampler {
	int every;    /* 1: one vector per packet; 0: one per flow, at the last of its first packets */
	int go_flows; /* leave out flows in which a packet is older than the one before it, as go-flows' users do */
	struct ids_table table;
	struct ids_vectors out, held; /* held: the newest vector of each live flow */
	__u64 taken, ended;	      /* vectors of out that were taken; slots of the table that were ended */
	__u64 unused; /* index + 1 of the first free element of held; its .flow is that of the next one */
	__u64 packets, flows, stepped_back; /* stepped_back: flows in which a packet is older than the one before it */
	struct ids_slot given;		    /* the current flow, if the caller names the flows */
};

/* Append an element. Return it, or NULL if memory ran out. */
static inline struct ids_vector *ids_vectors_add(struct ids_vectors *s)
{
	if (s->n == s->room) {
		__u64 room = s->room ? 2 * s->room : 1 << 12;
		struct ids_vector *more = realloc(s->list, room * sizeof(*more));

		if (!more)
			return NULL;
		s->list = more;
		s->room = room;
	}
	return &s->list[s->n++];
}

/*
 * Move a flow's final vector from held to out, or forget it if the flow is left out. slot->note is its index + 1.
 * Return 0, or -1 if memory ran out.
 */
static inline int ids_sampler_release(struct ids_sampler *s, struct ids_slot *slot)
{
	struct ids_vector *to;

	if (!slot->note)
		return 0;
	if (!s->go_flows || !slot->stepped_back) {
		to = ids_vectors_add(&s->out);
		if (!to)
			return -1;
		*to = s->held.list[slot->note - 1];
	}
	s->held.list[slot->note - 1].flow = s->unused;
	s->unused = slot->note;
	slot->note = 0;
	return 0;
}

static inline struct ids_vector *ids_sampler_hold(struct ids_sampler *s, struct ids_slot *slot)
{
	if (!slot->note && s->unused) {
		slot->note = s->unused;
		s->unused = s->held.list[slot->note - 1].flow;
	} else if (!slot->note) {
		if (!ids_vectors_add(&s->held))
			return NULL;
		slot->note = s->held.n;
	}
	return &s->held.list[slot->note - 1];
}

/*
 * Make room in the table: drop flows that are over, and double the table only if the others need it.
 * Return 0, or -1 if memory ran out.
 */
static inline int ids_sampler_sweep(struct ids_sampler *s, __u64 now_us)
{
	struct ids_table next, *t = &s->table;
	__u64 i, stay = 0, then_us = now_us > IDS_LATE_US ? now_us - IDS_LATE_US : 0;

	for (i = 0; i < t->size; i++)
		stay += !ids_flow_over(&t->slots[i].flow, then_us);
	if (ids_table_init(&next, stay * 4 > t->size ? 2 * t->size : t->size))
		return -1;
	for (i = 0; i < t->size; i++) {
		struct ids_slot *slot = &t->slots[i];

		if (!ids_flow_over(&slot->flow, then_us))
			*ids_table_probe(&next, &slot->key) = *slot;
		else if (ids_sampler_release(s, slot)) {
			free(next.slots);
			return -1;
		}
	}
	next.used = stay;
	free(t->slots);
	*t = next;
	return 0;
}

static inline struct ids_slot *ids_sampler_find(struct ids_sampler *s, const struct ids_key *key, __u64 now_us)
{
	struct ids_slot *slot;

	if (s->table.used * 2 >= s->table.size && ids_sampler_sweep(s, now_us))
		return NULL;
	slot = ids_table_probe(&s->table, key);
	if (!slot->flow.num) {
		slot->key = *key;
		s->table.used++;
	}
	return slot;
}

#endif
