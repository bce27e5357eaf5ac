/* Read by ids.bpf.c and probe.h: the values of its -D flags, and the layouts that it shares with Python. */
/*
 * The twins of the layouts are in ids_repro/native/layouts.py, those of the flags in ids_repro/kernel/variants.py:
 *   IDS_TC          attach to TC instead of XDP
 *   IDS_BOTH        attach to both sides of TC, ingress and egress; only packets that arrive are kept back
 *   IDS_BARE        for a device without a link layer: frames are IP packets
 *   IDS_CLASSIFIER  a name of classifiers.h; without it the program only extracts flows
 *   IDS_EMPTY       pass every packet unread, to measure what running any program costs
 *   IDS_PAPER       use the paper's layout of nn_q16: one map element per parameter and activation, one program per layer
 *   IDS_CLASSES     2 or 7
 *   IDS_ACTION      IDS_COUNT, IDS_FILTER, IDS_SINK or IDS_REDIRECT
 *   IDS_EVIDENCE    the model is a detector: it flags a flow at a packet whose score reaches its threshold
 *   IDS_FLOWS       number of entries of the flow table
 *   IDS_LRU         for comparison: the kernel's LRU map instead of the table of flow_table.h
 *   IDS_TSO         stores become visible in their order, as on x86, so a plain one releases a lock
 *   IDS_CHURN       for benchmarks: 1 gives every packet a new source port, as hping3 does; 2 also gives a new address
 *                   after every 65,536 packets, so every packet starts a flow
 *   IDS_FRAME_CLOCK for replays: a packet arrives at the time that its frame brings (frame_clock.h)
 *   IDS_PROBE       for tests and replays: a struct ids_probe before the frame carries the clock in and the results out
 */
#ifndef IDS_IDS_H
#define IDS_IDS_H

#include "flow_table.h"
#include "classifiers.h"

#define IDS_COUNT 0    /* pass every packet */
#define IDS_FILTER 1   /* drop packets that arrive and are attacks; a detector cuts off flagged flows: reset.h */
#define IDS_SINK 2     /* drop every packet; the throughput measurements use this */
#define IDS_REDIRECT 3 /* give attacks to user space instead of the network stack */

/* With two classes m* = 0 is normal (Sec. IV-C). With seven, Normal is the fifth name in Table III. */
#define IDS_NORMAL (IDS_CLASSES == 2 ? 0 : 4)

#ifdef IDS_BARE
#define IDS_PARSE(ctx, frame, end, packet) ids_parse_bare(frame, end, packet)
#else
#define IDS_PARSE(ctx, frame, end, packet) ids_parse(frame, end, IDS_STRIPPED(ctx), packet)
#endif

#define IDS_BUSY IDS_N_REASONS /* comes after the parser's reasons: another CPU held the flow's lock for too long */
#define IDS_REASONS_SIZE 8
#define IDS_FOUND_SIZE 8
#define IDS_WEIGHTS_AT __builtin_offsetof(struct ids_nn_q16, w)
#define IDS_PARAMETERS (IDS_WEIGHTS_AT / 8 + sizeof(struct ids_nn_q16) - IDS_WEIGHTS_AT)
#define IDS_SLOTS 2	   /* for model parameters: generation g uses slot g % 2 */
#define IDS_GENERATIONS 16 /* verdicts are counted separately for this many generations */
#if IDS_ACTION == IDS_REDIRECT || defined(IDS_EVIDENCE)
#define IDS_SUSPECTS
#endif
#define IDS_SUSPECT_BYTES 128 /* copied to the ring buffer from the start of a frame */

_Static_assert(IDS_BUSY < IDS_REASONS_SIZE, "every reason needs a counter");

struct ids_counts { /* one per CPU */
	__u64 packets;
	__u64 reason[IDS_REASONS_SIZE];
	__u64 found[IDS_FOUND_SIZE]; /* enum ids_found: what became of the packets' flows */
	__u64 lost;		     /* suspects of which no copy was made, because the ring buffer was full */
	__u64 bytes;		     /* length of the IP packets that were parsed: x4, summed */
};

#ifdef IDS_LRU
struct ids_locked_flow {
	struct ids_flow flow;
	__u64 lock;
};
#endif

struct ids_verdicts { /* one per CPU and generation */
	__u64 n[IDS_MAX_CLASSES];
	__u64 flagged[IDS_MAX_CLASSES]; /* flows that a detector flagged, by the class that the model gave the packet */
};

struct ids_work { /* of one packet; it would not fit on BPF's stack of 512 bytes */
	__s64 x[IDS_X_SIZE];
	__s64 logits[IDS_MAX_CLASSES];
#ifdef IDS_CLASSIFIER
	struct IDS_OF(IDS_CLASSIFIER, _scratch) scratch;
#endif
	__u64 now_ns;
	__u64 generation; /* of the model that classified the packet */
	__s32 reason;
	__s32 class;   /* what the model says of the packet, -1 without a model */
	__s32 verdict; /* the same; with a detector whether the flow is flagged */
	__u32 raised;  /* this packet made the detector flag its flow */
	__u32 first;
	__u32 churn;
};

struct ids_suspect { /* in the ring buffer: a packet that was classified as an attack, or that made a detector flag its flow */
	__u64 now_ns, generation;
	__s64 x[IDS_N_FEATURES];
	__s64 score; /* of a model with two classes: logit 1 - logit 0 */
	__u32 class;
	__u32 len, caplen; /* bytes of the frame; bytes of it in data */
	__u32 pad;
	__u8 data[IDS_SUSPECT_BYTES];
};

/* Fill a suspect from its packet: a frame of len bytes, those from data to end at hand. */
static __always_inline void ids_fill_suspect(struct ids_suspect *s, const struct ids_work *w, __u32 len,
					     const void *data, const void *end)
{
	__u32 i;

	s->now_ns = w->now_ns;
	s->generation = w->generation;
	__builtin_memcpy(s->x, w->x, sizeof(s->x));
	s->score = w->logits[1] - w->logits[0];
	s->class = w->class;
	s->len = len;
	s->caplen = 0;
	s->pad = 0;
	for (i = 0; i < IDS_SUSPECT_BYTES && data + i + 1 <= end; i++) {
		s->data[i] = *(__u8 *)(data + i);
		s->caplen = i + 1;
	}
}

#endif
