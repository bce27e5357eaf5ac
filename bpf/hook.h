/* Read by ids.bpf.c and probe.h: what differs between XDP and TC. */
#ifndef IDS_HOOK_H
#define IDS_HOOK_H

#ifdef IDS_TC
#include <linux/pkt_cls.h>
typedef struct __sk_buff ids_ctx;
#define IDS_PASS TC_ACT_OK
#define IDS_DROP TC_ACT_SHOT
#define IDS_STRIPPED(ctx) ((ctx)->vlan_present != 0) /* the outermost VLAN tag is in the context, not in the frame */
#else
typedef struct xdp_md ids_ctx;
#define IDS_PASS XDP_PASS
#define IDS_DROP XDP_DROP
#define IDS_STRIPPED(ctx) 0
#endif

#endif
