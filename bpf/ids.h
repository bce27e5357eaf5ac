/*
 * What the kernel program shares with Python: names of its -D flags, and the layouts of its maps, of probes and samples
 * (their twins: ids_repro/variants.py).
 */
#ifndef IDS_IDS_H
#define IDS_IDS_H

#include "flow.h"
#include "int_mlp.h"
#include "int_mlp_fused.h"

#define IDS_NONE 0
#define IDS_NN 1
#define IDS_DT 2
#define IDS_EMPTY 3

#define IDS_COUNT 0    /* pass everything */
#define IDS_FILTER 1   /* drop what is not normal */
#define IDS_SINK 2     /* drop everything: what is measured */
#define IDS_REDIRECT 3 /* what is not normal goes to user space instead of the stack */

/* Binary: m* = 0 is normal (Sec. IV-C). Seven classes: Normal is the fifth name of Table III. */
#define IDS_NORMAL (IDS_CLASSES == 2 ? 0 : 4)

#define IDS_BUSY IDS_N_REASONS /* after the parser's reasons: another CPU held the flow for too long */
#define IDS_REASONS_SIZE 8
#define IDS_WEIGHTS_AT __builtin_offsetof(struct ids_mlp_q16, w)
#define IDS_PARAMETERS (IDS_WEIGHTS_AT / 8 + sizeof(struct ids_mlp_q16) - IDS_WEIGHTS_AT)
#define IDS_SLOTS 2	      /* of parameters: generation g stands in slot g % 2 */
#define IDS_GENERATIONS 16    /* of verdicts that are kept apart */
#define IDS_TRIES 64	      /* to lock a flow, before the packet passes unclassified */
#define IDS_SUSPECT_BYTES 128 /* bytes of a frame in the ring buffer */

_Static_assert(IDS_BUSY < IDS_REASONS_SIZE, "a reason has no counter");

struct ids_counts { /* one for each CPU */
	__u64 packets;
	__u64 reason[IDS_REASONS_SIZE];
	__u64 lost; /* packets for the ring buffer that found it full: they are dropped */
};

struct ids_verdicts { /* one for each CPU and generation */
	__u64 n[IDS_MAX_CLASSES];
};

struct ids_work { /* what does not fit the stack of 512 bytes */
	__s64 x[IDS_X_SIZE];
	__s64 logits[IDS_MAX_CLASSES];
	struct ids_mlp_scratch mlp;
	struct ids_fused_scratch fused;
	__u64 now_ns;
	__s32 reason;
	__u32 first;
	__u32 churn;
};

struct ids_probe { /* native byte order; all of it stays in the packet, where a test run returns it */
	__u8 eth[16];
	__u64 now_ns;
	__u64 use_x; /* classify x as it stands instead of the frame */
	__s64 x[IDS_N_FEATURES];
	__s64 logits[IDS_MAX_CLASSES];
	__u64 reason;
	__u64 verdict;
	__u64 first;	  /* the packet started a flow */
	__u64 generation; /* of the model that decided */
};

struct ids_suspect { /* a suspicious packet in the ring buffer */
	__u64 now_ns, generation;
	__s64 x[IDS_N_FEATURES];
	__u32 verdict;
	__u32 len, caplen; /* of the frame; of data */
	__u32 pad;
	__u8 data[IDS_SUSPECT_BYTES];
};

#endif
