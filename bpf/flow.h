/* Read by bucket.h, net_shape.h, trafficgen.bpf.c, user/library.c, user/receiver.h and user/table.h: flows. */
/*
 * Packet -> key of its flow; state of the flow -> the twelve features.
 * The NumPy twin is ids_repro/data/flow.py.
 * This header uses no maps, helpers, contexts or clocks: the caller owns the flow table and passes the time.
 */
#ifndef IDS_FLOW_H
#define IDS_FLOW_H

#include "fixed.h"
#include "parse.h"

/* x1..x12 in the paper's order (Sec. IV-B, IV-C). A test checks that FEATURES in the NumPy twin is equal. */
enum ids_feature {
	IDS_SPORT,
	IDS_DPORT,
	IDS_PROTO,
	IDS_LEN, /* bytes of the IP packet, including its header */
	IDS_DIR, /* 1 if the packet goes in the same direction as the flow's first packet */
	IDS_IAT, /* time since the flow's previous packet, us; 0 for the first packet */
	IDS_LEN_MEAN,
	IDS_DIR_MEAN,
	IDS_IAT_MEAN,
	IDS_LEN_DEV, /* |x4 - x7|; the next two are |x5 - x8| and |x6 - x9| */
	IDS_DIR_DEV,
	IDS_IAT_DEV,
	IDS_N_FEATURES,
};

#define IDS_X_SIZE 16 /* a power of two, so that the verifier knows a masked index to be in bounds */

#define IDS_FIN 0x01
#define IDS_RST 0x04
#define IDS_ACK 0x10

/*
 * Defined as 1 where the packets of flagged flows are kept back: then no packet of a flagged flow ends it, because the
 * packet that seems to end the connection does not reach its receiver as it is, or may be a forged reset.
 */
#ifndef IDS_FLAGS_STAY
#define IDS_FLAGS_STAY 0
#endif

/* Flows expire as in the paper's dataset, which was made with go-flows (Sec. III-C via [7]). */
#define IDS_IDLE_US (300ULL * 1000000)
#define IDS_ACTIVE_US (1800ULL * 1000000)

struct ids_key { /* the same for both directions: the lower endpoint comes first */
	__u64 addr[2];
	__u16 port[2];
	__u8 proto;
	__u8 pad[3];
};

/*
 * v_k of Sec. IV-C, and what decides when the flow ends.
 * Differs: the state also has the first packet's time, which the timeouts need, and its sender, which x5 needs.
 */
struct ids_flow {
	__u64 first_us, last_us;
	__u64 iat_sum;
	union {
		__u64 len_sum_and_flags;
		struct {
			__u64 len_sum : 48; /* enough for 2^32 packets of 65,535 bytes */
			__u64 side : 1;	    /* which endpoint sent the first packet: 0 the lower, 1 the higher */
			__u64 ended : 1;    /* the next packet starts a new flow */
			__u64 flagged : 1;  /* by a detector, which the caller runs */
			__u64 fin : 13; /* bits 0, 1: the initiator, the responder sent FIN; bits 2, 3: it was acknowledged */
		};
	};
	__u32 dir_sum, num;
};

/* Fill the flow's key. Return which endpoint sent the packet: 0 the lower, 1 the higher. */
static __always_inline __u8 ids_make_key(const struct ids_packet *p, struct ids_key *k)
{
	__u8 side = p->saddr > p->daddr || (p->saddr == p->daddr && p->sport > p->dport);

	k->addr[0] = side ? p->daddr : p->saddr;
	k->addr[1] = side ? p->saddr : p->daddr;
	k->port[0] = side ? p->dport : p->sport;
	k->port[1] = side ? p->sport : p->dport;
	k->proto = p->proto;
	k->pad[0] = k->pad[1] = k->pad[2] = 0;
	return side;
}

/* A TCP flow ends at any RST, or when both FINs are acknowledged (go-flows). */
static __always_inline void ids_follow_tcp(struct ids_flow *f, __u8 flags, int forward)
{
	if (flags & IDS_RST)
		f->ended = 1;
	if (flags & IDS_FIN)
		f->fin |= forward ? 1 : 2;
	if (flags & IDS_ACK)
		f->fin |= forward ? (f->fin & 2) << 2 : (f->fin & 1) << 2;
	if (f->fin == 15)
		f->ended = 1;
}

/*
 * Return 1 if a packet at this time starts a new flow: the state is zeroed, its flow has ended or timed out, or its number
 * of packets is the largest that 32 bits hold.
 */
static __always_inline int ids_flow_over(const struct ids_flow *f, __u64 now_us)
{
	return (__u32)(f->num + 1) <= 1 || f->ended || (now_us > f->last_us && now_us - f->last_us > IDS_IDLE_US) ||
	       (now_us > f->first_us && now_us - f->first_us > IDS_ACTIVE_US);
}

/*
 * Add one packet to its flow's state and compute x1..x12. `first` says that the flow starts with this packet.
 * If the packet is older than the previous one, the time between them counts as 0.
 */
static __always_inline void ids_flow_add(struct ids_flow *f, const struct ids_packet *p, __u8 side, __u64 now_us,
					 int first, __s64 *x)
{
	__u64 iat;
	int dir, i;

	if (first) {
		f->first_us = f->last_us = now_us;
		f->len_sum = f->iat_sum = 0;
		f->dir_sum = f->num = 0;
		f->side = side;
		f->fin = f->ended = f->flagged = 0;
	}
	iat = now_us > f->last_us ? now_us - f->last_us : 0;
	dir = side == f->side;
	f->num += 1;
	f->len_sum += p->len;
	f->dir_sum += dir;
	f->iat_sum += iat;
	f->last_us = now_us;
	if (p->proto == IDS_TCP && !(IDS_FLAGS_STAY && f->flagged))
		ids_follow_tcp(f, p->tcp_flags, dir);

	x[IDS_SPORT] = ids_to_q16(p->sport);
	x[IDS_DPORT] = ids_to_q16(p->dport);
	x[IDS_PROTO] = ids_to_q16(p->proto);
	x[IDS_LEN] = ids_to_q16(p->len);
	x[IDS_DIR] = ids_to_q16(dir);
	x[IDS_IAT] = ids_to_q16(iat);
	/* unsigned, because BPF before version 4 has no signed division */
	x[IDS_LEN_MEAN] = (f->len_sum << IDS_Q) / f->num;
	x[IDS_DIR_MEAN] = ((__u64)f->dir_sum << IDS_Q) / f->num;
	x[IDS_IAT_MEAN] = (f->iat_sum << IDS_Q) / f->num;
#pragma clang loop unroll(full)
	for (i = 0; i < 3; i++) {
		__s64 d = x[IDS_LEN + i] - x[IDS_LEN_MEAN + i], sign = d >> 63;

		x[IDS_LEN_DEV + i] = (d ^ sign) - sign; /* |d| */
	}
}

/*
 * Steps k2 and k3 (Sec. IV-C): update the flow and compute x1..x12 as Q16 numbers. Times are in us, as in captures.
 * Return 1 if the packet started a new flow.
 */
static __always_inline int ids_flow_update(struct ids_flow *f, const struct ids_packet *p, __u8 side, __u64 now_ns,
					   __s64 *x)
{
	__u64 now_us = now_ns / 1000;
	int first = ids_flow_over(f, now_us);

	ids_flow_add(f, p, side, now_us, first, x);
	return first;
}

#endif
