/* Packets -> feature vectors. Python calls these functions through ctypes (ids_repro/native/stream.py). */
#include "sampler.h"

/* Record the vector of a packet that was just added to the slot's flow. Return 0, or -1 if memory ran out. */
static int ids_sampler_note(struct ids_sampler *s, struct ids_slot *slot, const struct ids_row *row, const __s64 *x)
{
	const struct ids_key *key = &slot->key;
	__u32 index = slot->flow.num - 1, side = slot->flow.side;
	struct ids_vector *to;

	s->packets++;
	if (!s->every && index >= IDS_FIRST_PACKETS)
		return 0;
	to = s->every ? ids_vectors_add(&s->out) : ids_sampler_hold(s, slot);
	if (!to)
		return -1;
	*to = (struct ids_vector){
		.flow = slot->id,
		.packet = s->packets - 1,
		.time_us = row->ts_ns / 1000,
		.first_us = slot->flow.first_us,
		.saddr = key->addr[side],
		.daddr = key->addr[!side],
		.sport = key->port[side],
		.dport = key->port[!side] | key->pad[0] << 8 | key->pad[1], /* pad: see ids_table_key */
		.index = index,
		.proto = key->proto,
	};
	memcpy(to->x, x, sizeof(to->x));
	if (s->every || s->go_flows || index != IDS_FIRST_PACKETS - 1) /* go_flows: a later packet may step back */
		return 0;
	return ids_sampler_release(s, slot);
}

/* Process one packet; the rules of flow.h decide its flow. Return 0, or -1 if memory ran out. */
static int ids_sampler_packet(struct ids_sampler *s, const struct ids_row *row)
{
	__s64 x[IDS_N_FEATURES];
	struct ids_key key;
	__u8 side = ids_table_key(&row->packet, &key);
	struct ids_slot *slot = ids_sampler_find(s, &key, row->ts_ns / 1000);
	int back;

	if (!slot)
		return -1;
	back = row->ts_ns / 1000 < slot->flow.last_us;
	if (ids_flow_update(&slot->flow, &row->packet, side, row->ts_ns, x)) {
		if (ids_sampler_release(s, slot))
			return -1;
		slot->id = s->flows++;
		slot->stepped_back = 0;
	} else if (back && !slot->stepped_back) {
		slot->stepped_back = 1;
		s->stepped_back++;
	}
	return ids_sampler_note(s, slot, row, x);
}

/* Process one packet of a flow that the caller names, whatever its time. A flow's packets come one after another. */
static int ids_sampler_given(struct ids_sampler *s, const struct ids_row *row, __u64 flow)
{
	__s64 x[IDS_N_FEATURES];
	struct ids_key key;
	__u8 side = ids_make_key(&row->packet, &key);
	int first = !s->given.flow.num || s->given.id != flow;

	if (first) {
		if (ids_sampler_release(s, &s->given))
			return -1;
		s->given.key = key;
		s->given.id = flow;
		s->flows++;
	}
	ids_flow_add(&s->given.flow, &row->packet, side, row->ts_ns / 1000, first, x);
	return ids_sampler_note(s, &s->given, row, x);
}

void *ids_sampler_new(int every, int go_flows)
{
	struct ids_sampler *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->every = every;
	s->go_flows = go_flows;
	if (ids_table_init(&s->table, 1 << 16)) {
		free(s);
		return NULL;
	}
	return s;
}

void ids_sampler_free(struct ids_sampler *s)
{
	free(s->table.slots);
	free(s->out.list);
	free(s->held.list);
	free(s);
}

/*
 * Process packets in order of arrival. `flow` has the numbers of their flows; if it is NULL, the rules of flow.h
 * decide. Return 0, or -1 if memory ran out.
 */
int ids_sampler_push(struct ids_sampler *s, const struct ids_row *rows, const __u64 *flow, __u64 n)
{
	__u64 i;
	int failed = 0;

	for (i = 0; i < n && !failed; i++)
		failed = flow ? ids_sampler_given(s, &rows[i], flow[i]) : ids_sampler_packet(s, &rows[i]);
	return failed;
}

/* End every flow. Return 1 if `most` vectors or more wait and others follow, 0 at the end, or -1 if memory ran out. */
int ids_sampler_end(struct ids_sampler *s, __u64 most)
{
	for (; s->ended < s->table.size; s->ended++) {
		if (s->out.n - s->taken >= most)
			return 1;
		if (ids_sampler_release(s, &s->table.slots[s->ended]))
			return -1;
	}
	return ids_sampler_release(s, &s->given);
}

/* Write to out: vectors that wait to be taken, packets, flows, flows in which a packet steps back in time. */
void ids_sampler_counts(const struct ids_sampler *s, __u64 *out)
{
	out[0] = s->out.n - s->taken;
	out[1] = s->packets;
	out[2] = s->flows;
	out[3] = s->stepped_back;
}

/* Copy the next n waiting vectors to out. */
void ids_sampler_take(struct ids_sampler *s, struct ids_vector *out, __u64 n)
{
	if (n)
		memcpy(out, s->out.list + s->taken, n * sizeof(*out));
	s->taken += n;
	if (s->taken >= s->out.n - s->taken) { /* the rest is the smaller part, so move it to the front */
		s->out.n -= s->taken;
		if (s->out.n)
			memcpy(s->out.list, s->out.list + s->taken, s->out.n * sizeof(*out));
		s->taken = 0;
	}
}
