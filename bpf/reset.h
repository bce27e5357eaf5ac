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
 * Turn a TCP packet that belongs to a connection into a reset, with a correct checksum. Without it, the receiver would keep
 * a connection whose packets are dropped, and a server with many of those would serve nobody else. The receiver accepts the
 * reset because its sequence number is the next one, unless packets got lost before. Return 0 if it is no such packet: SYN
 * has no connection yet, and without ACK neither.
 */
static __always_inline int ids_reset(__u8 *tcp, const void *end)
{
	__u32 old, new, sum;

	if (!tcp || (const void *)(tcp + 18) > end || (tcp[13] & IDS_SYN) || !(tcp[13] & IDS_ACK))
		return 0;
	old = ids_get16(tcp + 12);
	new = (old & 0xff00) | IDS_RST | IDS_ACK;
	sum = (~ids_get16(tcp + 16) & 0xffff) + (~old & 0xffff) + new; /* RFC 1624 */
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~(sum + (sum >> 16));
	tcp[13] = new;
	tcp[16] = sum >> 8;
	tcp[17] = sum;
	return 1;
}

#endif
