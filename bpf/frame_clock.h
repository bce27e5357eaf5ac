/* Read by probe.h and trafficgen.bpf.c: packets of a capture that are sent again, and bring their time along. */
/*
 * Some features are times between packets, and at another rate these differ from the capture's. So the time of a replayed
 * packet is its frame's source address, which the classifier does not read: 46 bits of microseconds. The two other bits say
 * that the address is nobody's (locally administered), and of one host. The twin of the layout is REPLAYED in
 * ids_repro/native/layouts.py.
 */
#ifndef IDS_FRAME_CLOCK_H
#define IDS_FRAME_CLOCK_H

#include "parse.h"

#define IDS_REPLAYED_HEAD 96 /* Ethernet with two VLAN tags 22, IPv4 with options 60, TCP up to its flags 14 */
#define IDS_SOURCE_AT 6	     /* where the source address is in a frame */

struct ids_replayed {
	__u8 head[IDS_REPLAYED_HEAD]; /* the beginning of the frame; zeros follow a shorter one, and up to its length */
	__u64 at_us;		      /* since the first packet of the capture */
	__u64 len;		      /* of the frame */
};

/* Make a time the source address of a frame, which starts at an even address. */
static __always_inline void ids_put_clock(__u8 *frame, __u64 us)
{
	*(__u16 *)(frame + IDS_SOURCE_AT) = ids_ntoh16((us >> 40 & 63) << 10 | 0x0200 | (us >> 32 & 255));
	*(__u32 *)(frame + IDS_SOURCE_AT + 2) = ids_ntoh32((__u32)us);
}

/* Return the time that a frame brings, in us. It has at least its two addresses. */
static __always_inline __u64 ids_clock_of(const __u8 *frame)
{
	__u64 high = ids_get16(frame + IDS_SOURCE_AT), low = ids_get32(frame + IDS_SOURCE_AT + 2);

	return (high >> 10) << 40 | (high & 255) << 32 | low;
}

#endif
