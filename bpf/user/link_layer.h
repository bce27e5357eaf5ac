/* Read by capture.h, library.c, order.h, sampler.h and table.h: captured frame -> packet, for each link layer of captures. */
/* Only user space needs this: the kernel programs see Ethernet, or IP packets alone. */
#ifndef IDS_LINK_LAYER_H
#define IDS_LINK_LAYER_H

#include "../parse.h"

/* Link types of pcap and pcapng: https://www.tcpdump.org/linktypes.html */
enum ids_link {
	IDS_LINK_NULL = 0,
	IDS_LINK_ETHERNET = 1,
	IDS_LINK_RAW_BSD = 12,
	IDS_LINK_RAW_OPENBSD = 14,
	IDS_LINK_RAW = 101,
	IDS_LINK_LOOP = 108,
	IDS_LINK_COOKED = 113,
	IDS_LINK_IPV4 = 228,
	IDS_LINK_IPV6 = 229,
	IDS_LINK_COOKED2 = 276,
};

/* Protocols that only datasets tell from others; continues enum ids_protocol. */
enum ids_more_protocols {
	IDS_ICMP = 1,
	IDS_ICMP6 = 58,
	IDS_NO_NEXT = 59,
};

/* What became of a captured frame; continues enum ids_reason. The twin is OUTCOMES in ids_repro/native/layouts.py. */
enum ids_outcome {
	IDS_IPV6 = IDS_N_REASONS, /* an IPv6 packet, but the caller wants IPv4 only */
	IDS_LINK_TYPE,		  /* the link layer is not in enum ids_link */
	IDS_NO_TIME,		  /* a simple packet block of pcapng has no time stamp */
	IDS_DUPLICATE,
	IDS_NO_PORTS,  /* neither TCP nor UDP nor ICMP, and the caller wants what go-flows reads */
	IDS_IN_PIECES, /* a fragment; the same */
	IDS_N_OUTCOMES,
};

enum ids_rules {	       /* which packets the caller wants */
		 IDS_IPV4,     /* IPv4, for lack of labels for others */
		 IDS_BOTH,     /* IPv4 and IPv6, as the kernel programs do */
		 IDS_GO_FLOWS, /* what go-flows reads, which made the paper's dataset */
		 IDS_N_RULES,
};

struct ids_row { /* one packet of a capture */
	__u64 ts_ns;
	__u64 offset; /* of the frame in the decompressed file */
	__u32 caplen;
	__u32 ip_at; /* offset of the IP header in the frame */
	struct ids_packet packet;
};

static inline int ids_link_known(__u32 link)
{
	switch (link) {
	case IDS_LINK_NULL:
	case IDS_LINK_ETHERNET:
	case IDS_LINK_RAW_BSD:
	case IDS_LINK_RAW_OPENBSD:
	case IDS_LINK_RAW:
	case IDS_LINK_LOOP:
	case IDS_LINK_COOKED:
	case IDS_LINK_IPV4:
	case IDS_LINK_IPV6:
	case IDS_LINK_COOKED2:
		return 1;
	}
	return 0;
}

/* Set *ip to the IP header and *type to its EtherType. Return an outcome. */
static inline int ids_find_ip(__u32 link, const __u8 *frame, const __u8 *end, const __u8 **ip, __u32 *type)
{
	__u32 type_at = 0, size = 0;

	switch (link) {
	case IDS_LINK_ETHERNET:
		size = ETH_HLEN;
		type_at = ETH_HLEN - 2;
		break;
	case IDS_LINK_COOKED:
		size = 16;
		type_at = 14;
		break;
	case IDS_LINK_COOKED2:
		size = 20;
		break;
	default: /* these have no EtherType, and NULL's address families differ between systems: use the IP version */
		if (!ids_link_known(link))
			return IDS_LINK_TYPE;
		size = link == IDS_LINK_NULL || link == IDS_LINK_LOOP ? 4 : 0;
		if (end - frame <= size)
			return IDS_TRUNCATED;
		*ip = frame + size;
		*type = ids_type_of(*ip);
		return IDS_OK;
	}
	if (end - frame < size)
		return IDS_TRUNCATED;
	*ip = frame + size;
	*type = ids_get16(frame + type_at);
	return ids_skip_tags(ip, end, type, 0);
}

/*
 * Leave out what go-flows does: fragments, and what has neither ports nor an ICMP type. Return an outcome.
 * The type and the code of ICMP become dport, as there; ids_table_key knows.
 * Differs: go-flows also leaves out frames with VLAN tags. It reads the first bytes of an IPv6 packet's later fragments as
 * ports, and its length of an IPv6 packet has no header.
 */
static inline int ids_as_go_flows(__u32 type, const __u8 *ip, const __u8 *end, struct ids_packet *p)
{
	struct ids_packet again;
	__u32 at;
	int six = type == ETH_P_IPV6;

	if (p->proto != IDS_TCP && p->proto != IDS_UDP && p->proto != IDS_ICMP && p->proto != IDS_ICMP6)
		return IDS_NO_PORTS;
	if (!six && ids_get16(ip + 6) & 0x3fff) /* more fragments follow, or others stand before */
		return IDS_IN_PIECES;
	if (!six && p->proto != IDS_ICMP && p->proto != IDS_ICMP6)
		return IDS_OK;
	if (six)
		ids_parse_ipv6(ip, end, &at, &again);
	else
		ids_parse_ipv4(ip, end, &at, &again);
	if (!at)
		return IDS_IN_PIECES;
	if (p->proto == IDS_TCP || p->proto == IDS_UDP)
		return IDS_OK;
	if (ip + at + (p->proto == IDS_ICMP ? 8 : 4) > end)
		return IDS_TRUNCATED;
	p->dport = ids_get16(ip + at);
	return IDS_OK;
}

/*
 * A packet that its sender's NIC was to cut into segments may have the length 0. Then it is that of the frame on the wire,
 * `size`, less the link header. Return 1 if it was so.
 */
static inline int ids_mend_length(__u32 type, __u32 size, struct ids_row *row)
{
	struct ids_packet *p = &row->packet;
	__u32 none = type == ETH_P_IPV6 ? IDS_IPV6_BYTES : 0;

	if (p->len != none || p->proto == IDS_NO_NEXT || size <= row->ip_at + none)
		return 0;
	p->len = size - row->ip_at;
	return 1;
}

/*
 * Fill row->packet and row->ip_at of a frame of `size` bytes on the wire. Return an outcome. *no_length becomes 1 if the
 * packet's length is not in its header.
 */
static inline int ids_parse_frame(__u32 link, const __u8 *frame, __u32 size, int rules, struct ids_row *row,
				  int *no_length)
{
	const __u8 *ip, *end = frame + row->caplen;
	__u32 type;
	int outcome = ids_find_ip(link, frame, end, &ip, &type);

	if (outcome != IDS_OK)
		return outcome;
	if (type == ETH_P_IPV6 && rules == IDS_IPV4)
		return IDS_IPV6;
	row->ip_at = ip - frame;
	outcome = ids_parse_ip(type, ip, end, &row->packet);
	if (outcome == IDS_OK && rules == IDS_GO_FLOWS)
		outcome = ids_as_go_flows(type, ip, end, &row->packet);
	if (outcome == IDS_OK)
		*no_length = ids_mend_length(type, size, row);
	return outcome;
}

#endif
