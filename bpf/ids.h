/* Read by ids.bpf.c and probe.h: the values of its -D flags, and the layouts that it shares with Python. */
/* The twins of the layouts are in ids_repro/native/layouts.py, those of the flags in ids_repro/kernel/variants.py. */
#ifndef IDS_IDS_H
#define IDS_IDS_H

#include "flow_table.h"
#include "classifiers.h"

#define IDS_COUNT 0    /* pass every packet */
#define IDS_FILTER 1   /* drop packets that are classified as attacks */
#define IDS_SINK 2     /* drop every packet; the throughput measurements use this */
#define IDS_REDIRECT 3 /* give attacks to user space instead of the network stack */

/* With two classes m* = 0 is normal (Sec. IV-C). With seven, Normal is the fifth name in Table III. */
#define IDS_NORMAL (IDS_CLASSES == 2 ? 0 : 4)

#define IDS_BUSY IDS_N_REASONS /* comes after the parser's reasons: another CPU held the flow's lock for too long */
#define IDS_REASONS_SIZE 8
#define IDS_FOUND_SIZE 8
#define IDS_WEIGHTS_AT __builtin_offsetof(struct ids_nn_q16, w)
#define IDS_PARAMETERS (IDS_WEIGHTS_AT / 8 + sizeof(struct ids_nn_q16) - IDS_WEIGHTS_AT)
#define IDS_SLOTS 2	      /* for model parameters: generation g uses slot g % 2 */
#define IDS_GENERATIONS 16    /* verdicts are counted separately for this many generations */
#define IDS_SUSPECT_BYTES 128 /* copied to the ring buffer from the start of a frame */

_Static_assert(IDS_BUSY < IDS_REASONS_SIZE, "every reason needs a counter");

struct ids_counts { /* one per CPU */
	__u64 packets;
	__u64 reason[IDS_REASONS_SIZE];
	__u64 found[IDS_FOUND_SIZE]; /* enum ids_found: what became of the packets' flows */
	__u64 lost;		     /* suspects that were dropped without a copy, because the ring buffer was full */
};

#ifdef IDS_LRU
struct ids_locked_flow {
	struct ids_flow flow;
	__u64 lock;
};
#endif

struct ids_verdicts { /* one per CPU and generation */
	__u64 n[IDS_MAX_CLASSES];
};

struct ids_work { /* of one packet; it would not fit on BPF's stack of 512 bytes */
	__s64 x[IDS_X_SIZE];
	__s64 logits[IDS_MAX_CLASSES];
#ifdef IDS_CLASSIFIER
	struct IDS_OF(IDS_CLASSIFIER, _scratch) scratch;
#endif
	__u64 now_ns;
	__s32 reason;
	__u32 first;
	__u32 churn;
};

struct ids_suspect { /* in the ring buffer: a packet that was classified as an attack */
	__u64 now_ns, generation;
	__s64 x[IDS_N_FEATURES];
	__u32 verdict;
	__u32 len, caplen; /* bytes of the frame; bytes of it in data */
	__u32 pad;
	__u8 data[IDS_SUSPECT_BYTES];
};

/* Fill a suspect from its packet: frame from data to end. */
static __always_inline void ids_fill_suspect(struct ids_suspect *s, const struct ids_work *w, const void *data,
					     const void *end, int verdict, __u64 g)
{
	__u32 i;

	s->now_ns = w->now_ns;
	s->generation = g;
	__builtin_memcpy(s->x, w->x, sizeof(s->x));
	s->verdict = verdict;
	s->len = end - data;
	s->caplen = 0;
	s->pad = 0;
	for (i = 0; i < IDS_SUSPECT_BYTES && data + i + 1 <= end; i++) {
		s->data[i] = *(__u8 *)(data + i);
		s->caplen = i + 1;
	}
}

#endif
