/* Read by ids.bpf.c: test runs, in which a packet brings the clock along and takes the results home. */
/* The twin of the layouts is PROBE in ids_repro/native/layouts.py. */
#ifndef IDS_PROBE_H
#define IDS_PROBE_H

#include "frame_clock.h"
#include "hook.h"
#include "ids.h"

#define IDS_FLOOD_SOURCE 0x0b000000 /* 11.0.0.0, the first address of a flood's flows */
#define IDS_FLOOD_TARGET 0xc0a80001 /* 192.168.0.1 */
#define IDS_FLOOD_PORTS 50000

/*
 * What a packet is before it is parsed. A test run may go on with one that could not be parsed, and the compiler then reads
 * fields that were never written: a verifier before Linux 6.3 refuses that.
 */
#ifdef IDS_PROBE
#define IDS_UNSET = {}
#else
#define IDS_UNSET
#endif

/* A flood of new flows. With `repeat`, one test run makes `left` packets of it before the frame's own packet. */
struct ids_flood {
	__u64 left;
	__u64 number; /* of the next packet */
	__u64 now_ns, gap_ns;
	__u32 packets;	/* of each flow, one after another */
	__u32 answered; /* every other packet of a flow goes the other way, as if its target had answered */
};

struct ids_probe { /* in native byte order; BPF_PROG_TEST_RUN returns it in the packet */
	__u8 eth[16];
	__u64 now_ns;
	__u64 use_x; /* classify the given x and ignore the frame */
	struct ids_flood flood;
	__s64 x[IDS_N_FEATURES];
	__s64 logits[IDS_MAX_CLASSES];
	__u64 reason;
	__u64 verdict;
	__u64 first;	  /* the packet started a flow */
	__u64 generation; /* of the model that classified the packet */
};

/* Make *p the next packet of the flood: of TCP, 60 bytes. */
static __always_inline void ids_flood_next(struct ids_flood *f, struct ids_packet *p)
{
	__u32 packets = f->packets ? f->packets : 1;
	__u64 flow = f->number / packets, nth = f->number % packets;
	__u64 client = IDS_FLOOD_SOURCE + flow / IDS_FLOOD_PORTS, back = f->answered & nth;
	__u16 port = 1024 + flow % IDS_FLOOD_PORTS;

	p->saddr = back & 1 ? IDS_FLOOD_TARGET : client;
	p->daddr = back & 1 ? client : IDS_FLOOD_TARGET;
	p->sport = back & 1 ? 80 : port;
	p->dport = back & 1 ? port : 80;
	p->proto = IDS_TCP;
	p->len = 60;
	p->tcp_flags = IDS_ACK;
	f->left--;
	f->number++;
	f->now_ns += f->gap_ns;
}

static __always_inline void ids_probe_keep(struct ids_probe *probe, const struct ids_work *w)
{
	__builtin_memcpy(probe->x, w->x, sizeof(probe->x));
	__builtin_memcpy(probe->logits, w->logits, sizeof(probe->logits));
	probe->reason = w->reason;
	probe->verdict = w->verdict;
	probe->first = w->first;
	probe->generation = w->generation;
}

/* Set when the packet arrived, and *frame to its first byte. Return 0 if it brings no struct ids_probe or no clock. */
static __always_inline int ids_begin(ids_ctx *ctx, struct ids_work *w, void **frame)
{
	w->first = w->raised = 0;
	w->class = w->verdict = -1;
#ifdef IDS_PROBE
	struct ids_probe *probe = *frame;

	if (*frame + sizeof(*probe) > (void *)(long)ctx->data_end)
		return 0;
	*frame += sizeof(*probe);
	w->now_ns = probe->flood.left ? probe->flood.now_ns : probe->now_ns;
#elif defined(IDS_FRAME_CLOCK)
	if (*frame + ETH_HLEN > (void *)(long)ctx->data_end)
		return 0;
	w->now_ns = ids_clock_of(*frame) * 1000;
#else
	w->now_ns = bpf_ktime_get_ns();
#endif
	return 1;
}

/* Leave the results in the struct ids_probe of a test run. */
static __always_inline void ids_end(ids_ctx *ctx, const struct ids_work *w)
{
#ifdef IDS_PROBE
	struct ids_probe *probe = (void *)(long)ctx->data;

	if ((void *)(probe + 1) <= (void *)(long)ctx->data_end)
		ids_probe_keep(probe, w);
#endif
}

#endif
