/* Read by ids.bpf.c and probe.h: what differs between XDP and TC, and what a detector needs that keeps packets back. */
#ifndef IDS_HOOK_H
#define IDS_HOOK_H

#if defined(IDS_EVIDENCE) && IDS_ACTION % 2 /* filter or redirect */
#define IDS_FLAGS_STAY 1
#endif
#if defined(IDS_EVIDENCE) && IDS_ACTION == 1 && !defined(IDS_PROBE) /* filter */
#define IDS_RESETS
#endif

#ifdef IDS_TC
#include <linux/pkt_cls.h>
typedef struct __sk_buff ids_ctx;
#define IDS_PASS TC_ACT_UNSPEC /* on to the next filter, and to the stack after the last one */
#define IDS_DROP TC_ACT_SHOT
#define IDS_LENGTH(ctx) ((ctx)->len) /* of the frame: more than data_end - data if a part of it is not linear */
#define IDS_STRIPPED(ctx) ((ctx)->vlan_present != 0) /* the outermost VLAN tag is in the context, not in the frame */
#else
typedef struct xdp_md ids_ctx;
#define IDS_PASS XDP_PASS
#define IDS_DROP XDP_DROP
#define IDS_LENGTH(ctx) ((ctx)->data_end - (ctx)->data)
#define IDS_STRIPPED(ctx) 0
#endif

#ifdef IDS_BOTH
/* At egress it is another interface or none, unless a router sends a packet back to where it came from. */
#define IDS_ARRIVES(ctx) ((ctx)->ingress_ifindex == (ctx)->ifindex)
#else
#define IDS_ARRIVES(ctx) 1
#endif

#endif
