/*
 * The one kernel program. BCC compiles it in variants chosen by -D flags (VARIANTS in ids_repro/kernel.py):
 *   IDS_TC          attach to the ingress of TC instead of XDP
 *   IDS_CLASSIFIER  IDS_NONE (flow extraction only), IDS_NN (arithmetic q16), IDS_NN_FUSED or IDS_DT
 *   IDS_CLASSES     2 or 7
 *   IDS_ACTION      IDS_COUNT (pass everything), IDS_FILTER (drop what is not normal) or IDS_SINK (drop everything)
 *   IDS_FLOWS       entries of the flow table
 *   IDS_PROBE       for tests and replays: the frame follows a struct ids_probe, which carries clock and results
 */
#include <uapi/linux/bpf.h>
#include <linux/types.h>

#include "hook.h"
#include "flow.h"
#include "int_mlp.h"
#include "int_mlp_fused.h"
#include "int_tree.h"

#define IDS_NONE 0
#define IDS_NN 1
#define IDS_DT 2
#define IDS_NN_FUSED 3

#define IDS_COUNT 0
#define IDS_FILTER 1
#define IDS_SINK 2

/* Binary: m* = 0 is normal (Sec. IV-C). Seven classes: Normal is the fifth name of Table III. */
#define IDS_NORMAL (IDS_CLASSES == 2 ? 0 : 4)

struct ids_counts { /* one for each CPU */
	__u64 packets;
	__u64 reason[IDS_N_REASONS];
	__u64 verdict[IDS_MAX_CLASSES];
};

struct ids_work { /* what does not fit the stack of 512 bytes */
	__s64 x[IDS_X_SIZE];
	__s64 logits[IDS_MAX_CLASSES];
	struct ids_mlp_scratch mlp;
	struct ids_fused_scratch fused;
};

struct ids_probe { /* native byte order; all of it stays in the packet, where a test run returns it */
	__u8 eth[16];
	__u64 now_ns;
	__u64 use_x; /* classify x as it stands instead of the frame */
	__s64 x[IDS_N_FEATURES];
	__s64 logits[IDS_MAX_CLASSES];
	__u64 reason;
	__u64 verdict;
	__u64 first; /* the packet started a flow */
};

BPF_TABLE("lru_hash", struct ids_key, struct ids_flow, flows, IDS_FLOWS);
BPF_PERCPU_ARRAY(counts, struct ids_counts, 1);
BPF_PERCPU_ARRAY(work, struct ids_work, 1);
#if IDS_CLASSIFIER == IDS_NN
BPF_ARRAY(params, struct ids_mlp_q16, 1);
#elif IDS_CLASSIFIER == IDS_NN_FUSED
BPF_ARRAY(params, struct ids_mlp_fused, 1);
#elif IDS_CLASSIFIER == IDS_DT
BPF_ARRAY(params, struct ids_tree, 1);
#endif

/* Steps k2 and k3: the packet's flow, made if it is new, and its features. Returns 1 if the packet started a flow. */
static __always_inline int ids_track(const struct ids_packet *p, __u64 now_ns, __s64 *x)
{
	struct ids_key key;
	struct ids_flow fresh = {}, *flow;
	__u8 side = ids_make_key(p, &key);
	int first;

	flow = flows.lookup(&key);
	if (flow)
		return ids_flow_update(flow, p, side, now_ns, x);
	first = ids_flow_update(&fresh, p, side, now_ns, x);
	flows.update(&key, &fresh);
	return first;
}

/* Steps k4 to k6. Returns the class, or -1 where nothing classifies. */
static __always_inline int ids_classify(struct ids_work *w)
{
	int zero = 0;

#if IDS_CLASSIFIER == IDS_NN
	struct ids_mlp_q16 *m = params.lookup(&zero);

	return m ? ids_mlp_q16(m, IDS_CLASSES, w->x, &w->mlp, w->logits) : -1;
#elif IDS_CLASSIFIER == IDS_NN_FUSED
	struct ids_mlp_fused *m = params.lookup(&zero);

	return m ? ids_mlp_fused(m, IDS_CLASSES, w->x, &w->fused, w->logits) : -1;
#elif IDS_CLASSIFIER == IDS_DT
	struct ids_tree *t = params.lookup(&zero);

	return t ? ids_tree_walk(t, w->x) : -1;
#else
	return -1;
#endif
}

int ids_main(ids_ctx *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ids_packet packet;
	struct ids_counts *c;
	struct ids_work *w;
	__u64 now_ns;
	int zero = 0, reason, verdict, first = 0;

	c = counts.lookup(&zero);
	w = work.lookup(&zero);
	if (!c || !w)
		return IDS_PASS;
#ifdef IDS_PROBE
	struct ids_probe *probe = data;

	if (data + sizeof(*probe) > end)
		return IDS_PASS;
	data += sizeof(*probe);
	now_ns = probe->now_ns;
#else
	now_ns = bpf_ktime_get_ns();
#endif
	c->packets++;
	reason = ids_parse(data, end, &packet);
#ifdef IDS_PROBE
	if (probe->use_x) {
		reason = IDS_OK;
		__builtin_memcpy(w->x, probe->x, sizeof(probe->x));
	} else if (reason == IDS_OK) {
		first = ids_track(&packet, now_ns, w->x);
		__builtin_memcpy(probe->x, w->x, sizeof(probe->x));
	}
#else
	if (reason == IDS_OK)
		ids_track(&packet, now_ns, w->x);
#endif
	c->reason[reason & (IDS_N_REASONS - 1)]++;
	verdict = reason == IDS_OK ? ids_classify(w) : -1;
	if (verdict >= 0)
		c->verdict[verdict & (IDS_MAX_CLASSES - 1)]++;
#ifdef IDS_PROBE
	__builtin_memcpy(probe->logits, w->logits, sizeof(probe->logits));
	probe->reason = reason;
	probe->verdict = verdict;
	probe->first = first;
#endif
#if IDS_ACTION == IDS_SINK
	return IDS_DROP;
#elif IDS_ACTION == IDS_FILTER
	return verdict >= 0 && verdict != IDS_NORMAL ? IDS_DROP : IDS_PASS;
#else
	return IDS_PASS;
#endif
}
