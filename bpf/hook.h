/* The lines that differ between XDP and TC. */
#ifndef IDS_HOOK_H
#define IDS_HOOK_H

#ifdef IDS_TC
#include <linux/pkt_cls.h>
typedef struct __sk_buff ids_ctx;
#define IDS_PASS TC_ACT_OK
#define IDS_DROP TC_ACT_SHOT
#else
typedef struct xdp_md ids_ctx;
#define IDS_PASS XDP_PASS
#define IDS_DROP XDP_DROP
#endif

#endif
