/* Read by ids.bpf.c: what a detector that filters makes of a TCP packet. */
#ifndef IDS_RESET_H
#define IDS_RESET_H

#include "parse.h"

#define IDS_SYN 0x02

#ifdef IDS_RESETS
#define IDS_TCP_OF(packet) ((packet).tcp)
#else
#define IDS_TCP_OF(packet) NULL
#endif

/*
 * Turn a TCP packet that belongs to a connection into a reset, and let a reset be. Without it, the receiver would keep a
 * connection whose packets are dropped, and a server with many of those would serve nobody else. The receiver accepts the
 * reset because its sequence number is the next one, unless packets got lost before. The window, which means nothing in a
 * reset, takes up what the flags change in the sum. So the checksum holds as it is, also where the sender left it to a
 * device further on, which XDP can't know. Return 0 if it is no such packet: SYN has no connection yet, and without ACK
 * neither.
 */
static __always_inline int ids_reset(__u8 *tcp, const void *end)
{
	__u32 old, new, window;

	if (!tcp || (const void *)(tcp + 16) > end)
		return 0;
	if (tcp[13] & IDS_RST)
		return 1;
	if ((tcp[13] & IDS_SYN) || !(tcp[13] & IDS_ACK))
		return 0;
	old = ids_get16(tcp + 12);
	new = (old & 0xff00) | IDS_RST | IDS_ACK;
	window = ids_get16(tcp + 14) + old + (~new & 0xffff); /* in one's complement, as the checksum adds */
	window = (window & 0xffff) + (window >> 16);
	window += window >> 16;
	tcp[13] = new;
	tcp[14] = window >> 8;
	tcp[15] = window;
	return 1;
}

#endif
