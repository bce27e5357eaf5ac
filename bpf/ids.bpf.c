/*
 * The classifier's kernel program. BCC compiles it in variants chosen by -D flags, which ids.h lists.
 * Every function that accesses a map is in this file, because BCC does not translate map accesses in headers.
 */
#include <uapi/linux/bpf.h>
#include <linux/types.h>

#include "hook.h"
#include "flow_table.h"
#include "lock.h"

#include "paper_layout.h"
#include "classifiers.h"
#include "ids.h"
#include "probe.h"
#include "reset.h"

#ifdef IDS_LRU
BPF_TABLE("lru_hash", struct ids_key, struct ids_locked_flow, flows, IDS_FLOWS);
#else
BPF_F_TABLE("array", __u32, struct ids_bucket, buckets, IDS_FLOWS / IDS_WAYS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", __u32, struct ids_entries, entries, IDS_FLOWS / IDS_WAYS, BPF_F_MMAPABLE);
#endif
BPF_PERCPU_ARRAY(counts, struct ids_counts, 1);
BPF_PERCPU_ARRAY(work, struct ids_work, 1);
BPF_PERCPU_ARRAY(verdicts, struct ids_verdicts, IDS_GENERATIONS);
BPF_ARRAY(retired, struct ids_verdicts, 2); /* written by user space: verdicts of older generations */
BPF_ARRAY(generation, __u64, 2);	    /* the one that decides now; how many older ones are in "retired" */
#ifdef IDS_SUSPECTS
BPF_RINGBUF_OUTPUT(suspects, 64);
#endif
#ifdef IDS_PAPER
BPF_ARRAY(parameters, __s64, IDS_PARAMETERS);
BPF_PERCPU_ARRAY(activations, __s64, IDS_HIDDEN);
BPF_PROG_ARRAY(layers, IDS_LAYERS - 1);
#elif defined(IDS_CLASSIFIER)
BPF_ARRAY(params, struct IDS_OF(IDS_CLASSIFIER, ), IDS_SLOTS);
#endif

#ifdef IDS_PAPER
/*
 * Read a member of struct ids_nn_q16 by its offset. Each member is one map element: first the int64 members, then the
 * weights (Sec. IV-B).
 */
static __always_inline __s64 ids_parameter(__u32 at)
{
	__u32 key = at < IDS_WEIGHTS_AT ? at / 8 : IDS_WEIGHTS_AT / 8 + at - IDS_WEIGHTS_AT;
	__s64 *value = parameters.lookup(&key);

	return value ? *value : 0;
}

static __always_inline __s64 ids_activation(__u32 k)
{
	__s64 *value = activations.lookup(&k);

	return value ? *value : 0;
}

static __always_inline void ids_keep(__u32 k, __s64 value)
{
	activations.update(&k, &value);
}
#endif

static __always_inline __u64 ids_generation(void)
{
	int zero = 0;
	__u64 *g = generation.lookup(&zero);

	return g ? *(volatile __u64 *)g : 0;
}

/* Steps k4 to k6 with the model that decides now. The verdict of a detector is whether the packet raises an alarm. */
static __always_inline void ids_classify(struct ids_work *w)
{
#if defined(IDS_CLASSIFIER) && !defined(IDS_PAPER)
	struct IDS_OF(IDS_CLASSIFIER, ) * m;
	int slot;

	w->generation = ids_generation();
	slot = w->generation & (IDS_SLOTS - 1);
	m = params.lookup(&slot);
	if (!m)
		return;
	w->class = IDS_OF(IDS_CLASSIFIER, _classify)(m, IDS_CLASSES, w->x, &w->scratch, w->logits);
#ifdef IDS_EVIDENCE
	w->verdict = w->logits[1] - w->logits[0] >= m->flag_at;
#else
	w->verdict = w->class;
#endif
#endif
}

/*
 * Steps k2 and k3: find or start the packet's flow and compute the features. Return IDS_OK or IDS_BUSY. A detector decides
 * under the flow's lock, so of two packets at once the later one knows of the earlier one's alarm.
 */
#ifdef IDS_LRU
static __always_inline int ids_track(const struct ids_packet *p, struct ids_work *w, struct ids_counts *c)
{
	struct ids_key key;
	struct ids_locked_flow fresh = {}, *f;
	__u8 side = ids_make_key(p, &key);

	f = flows.lookup(&key);
	if (!f) { /* a second look-up would mark the flow as used, and the map would keep it */
		w->first = ids_flow_update(&fresh.flow, p, side, w->now_ns, w->x);
		flows.insert(&key, &fresh);
		return IDS_OK;
	}
	if (!ids_lock(&f->lock))
		return IDS_BUSY;
	w->first = ids_flow_update(&f->flow, p, side, w->now_ns, w->x);
	ids_unlock(&f->lock);
	return IDS_OK;
}
#else
static __always_inline int ids_track(const struct ids_packet *p, struct ids_work *w, struct ids_counts *c)
{
	struct ids_key key;
	__u8 side = ids_make_key(p, &key);
	const struct ids_hash_keys keys = ids_keys_of(IDS_SECRET);
	__u64 hash = ids_flow_hash(&key, &keys);
	__u32 at = ids_bucket_of(hash, IDS_FLOWS / IDS_WAYS);
	struct ids_bucket *b = buckets.lookup(&at);
	struct ids_entries *e = entries.lookup(&at);
	__u32 found, way;

	if (!b || !e || !ids_lock(&b->lock))
		return IDS_BUSY;
	found = ids_table_pass(b, e, hash, &key, p, side, w->now_ns, w->x, &w->first, &way);
#ifdef IDS_EVIDENCE
	ids_classify(w);
	int before = ids_table_flag(b, e, way, w->verdict);

	w->raised = w->verdict & !before;
	w->verdict |= before;
#endif
	ids_unlock(&b->lock);
	c->found[found & (IDS_FOUND_SIZE - 1)]++;
	return IDS_OK;
}
#endif

#ifdef IDS_SUSPECTS
/* Copy a packet to the ring buffer. */
static __always_inline void ids_put_suspect(ids_ctx *ctx, const struct ids_work *w, struct ids_counts *c)
{
	struct ids_suspect *s = suspects.ringbuf_reserve(sizeof(struct ids_suspect));

	if (!s) {
		c->lost++;
		return;
	}
	ids_fill_suspect(s, w, IDS_LENGTH(ctx), (void *)(long)ctx->data, (void *)(long)ctx->data_end);
	suspects.ringbuf_submit(s, 0);
}
#endif

static __always_inline void ids_count(const struct ids_work *w, struct ids_counts *c)
{
	int at = w->generation & (IDS_GENERATIONS - 1);
	struct ids_verdicts *v;

	c->reason[w->reason & (IDS_REASONS_SIZE - 1)]++;
	if (w->verdict < 0)
		return;
	v = verdicts.lookup(&at);
	if (!v)
		return;
	v->n[w->verdict & (IDS_MAX_CLASSES - 1)]++;
#ifdef IDS_EVIDENCE
	v->flagged[w->class & (IDS_MAX_CLASSES - 1)] += w->raised;
#endif
}

/* Count a packet's outcome and return what the hook does with the packet. `tcp` is its TCP header, or NULL. */
static __always_inline int ids_finish(ids_ctx *ctx, struct ids_work *w, struct ids_counts *c, const __u8 *tcp)
{
	int attack = w->verdict >= 0 && w->verdict != IDS_NORMAL;

	ids_count(w, c);
	ids_end(ctx, w);
#ifdef IDS_SUSPECTS
	if (w->raised || (IDS_ACTION == IDS_REDIRECT && attack && IDS_ARRIVES(ctx)))
		ids_put_suspect(ctx, w, c);
#endif
	if (IDS_ACTION != IDS_SINK && (IDS_ACTION == IDS_COUNT || !attack || !IDS_ARRIVES(ctx)))
		return IDS_PASS;
	return ids_reset((__u8 *)tcp, (void *)(long)ctx->data_end) ? IDS_PASS : IDS_DROP;
}

#ifdef IDS_PAPER
/* One program per layer; ids_main computes the first. Each tail-calls the next, and the last one ends the packet. */
#if IDS_HIDDEN_LAYERS > 1
int ids_layer2(ids_ctx *ctx)
{
	int zero = 0;
	struct ids_work *w = work.lookup(&zero);

	if (!w)
		return IDS_PASS;
	ids_layer_q16(NULL, 1, IDS_WIDTH_1, IDS_WIDTH_2, &w->scratch, NULL);
	layers.call(ctx, 1);
	return IDS_PASS;
}
#endif

#if IDS_HIDDEN_LAYERS > 2
int ids_layer3(ids_ctx *ctx)
{
	int zero = 0;
	struct ids_work *w = work.lookup(&zero);

	if (!w)
		return IDS_PASS;
	ids_layer_q16(NULL, 2, IDS_WIDTH_2, IDS_WIDTH_3, &w->scratch, NULL);
	layers.call(ctx, 2);
	return IDS_PASS;
}
#endif

int ids_output(ids_ctx *ctx)
{
	int zero = 0;
	struct ids_work *w = work.lookup(&zero);
	struct ids_counts *c = counts.lookup(&zero);

	if (!w || !c)
		return IDS_PASS;
	ids_layer_q16(NULL, IDS_LAYERS - 1, IDS_LAST_WIDTH, IDS_CLASSES, &w->scratch, w->logits);
	w->verdict = ids_argmax(IDS_CLASSES, w->logits);
	return ids_finish(ctx, w, c, NULL);
}
#endif

/* Steps k1 to k3: from the frame to the features. `begin` is where a probe stands. Return the reason. */
static __always_inline int ids_extract(ids_ctx *ctx, void *begin, void *frame, struct ids_work *w, struct ids_counts *c,
				       const __u8 **tcp)
{
	struct ids_packet packet IDS_UNSET;
	int reason = IDS_PARSE(ctx, frame, (void *)(long)ctx->data_end, &packet);

#ifdef IDS_PROBE
	struct ids_probe *probe = begin;

	if (probe->flood.left) {
		reason = IDS_OK;
		ids_flood_next(&probe->flood, &packet);
	}
	if (probe->use_x) {
		__builtin_memcpy(w->x, probe->x, sizeof(probe->x));
#ifdef IDS_EVIDENCE
		ids_classify(w);
#endif
		return IDS_OK;
	}
#endif
	if (reason != IDS_OK)
		return reason;
	c->bytes += packet.len;
	*tcp = IDS_TCP_OF(packet);
#ifdef IDS_CHURN
	packet.sport += w->churn;
	if (IDS_CHURN == 2) /* each CPU counts its own packets, so it needs its own addresses */
		packet.saddr += (w->churn >> 16) + (bpf_get_smp_processor_id() << 16);
	w->churn++;
#endif
	return ids_track(&packet, w, c);
}

int ids_main(ids_ctx *ctx)
{
#ifdef IDS_EMPTY
	return IDS_PASS;
#else
	void *begin = (void *)(long)ctx->data, *frame = begin;
	const __u8 *tcp = NULL;
	int zero = 0;
	struct ids_counts *c = counts.lookup(&zero);
	struct ids_work *w = work.lookup(&zero);

	if (!c || !w || !ids_begin(ctx, w, &frame))
		return IDS_PASS;
	c->packets++;
	w->reason = ids_extract(ctx, begin, frame, w, c, &tcp);
	if (w->reason != IDS_OK)
		return ids_finish(ctx, w, c, NULL);
#ifdef IDS_PAPER
	ids_normalise_q16(NULL, w->x, w->scratch.a);
	ids_layer_q16(NULL, 0, IDS_N_FEATURES, IDS_WIDTH_1, &w->scratch, NULL);
	layers.call(ctx, 0);
#endif
#ifndef IDS_EVIDENCE
	ids_classify(w);
#endif
	return ids_finish(ctx, w, c, tcp);
#endif
}
