/* A captured frame -> its IPv4 packet: the link layers that captures have. User space only; the kernel sees Ethernet. */
#ifndef IDS_LINK_H
#define IDS_LINK_H

#include <string.h>

#include "flow.h"

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

/* What became of a frame: enum ids_reason goes on here; OUTCOMES in ids_repro/stream.py. */
enum ids_outcome {
	IDS_IPV6 = IDS_N_REASONS,
	IDS_LINK_TYPE, /* a link layer that is not in enum ids_link */
	IDS_NO_TIME,   /* pcapng's simple packets carry no time stamp */
	IDS_DUPLICATE,
	IDS_N_OUTCOMES,
};

struct ids_row { /* one IPv4 packet of a capture */
	__u64 ts_ns;
	__u64 offset; /* of the frame in the file, decompressed */
	__u32 caplen;
	__u32 ip_at; /* of the IPv4 header in the frame */
	struct ids_packet packet;
};

#define IDS_HEADERS 80 /* more than IPv4 with all its options and TCP's fixed part: 60 + 20 - 6 are read */

static inline __u32 ids_be16(const __u8 *p)
{
	return (__u32)p[0] << 8 | p[1];
}

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

/* Put the IPv4 header's place in the frame into *at; returns an outcome. */
static inline int ids_find_ipv4(__u32 link, const __u8 *frame, __u32 size, __u32 *at)
{
	__u32 type_at, type, tags;

	switch (link) {
	case IDS_LINK_ETHERNET:
		*at = 14;
		type_at = 12;
		break;
	case IDS_LINK_COOKED:
		*at = 16;
		type_at = 14;
		break;
	case IDS_LINK_COOKED2:
		*at = 20;
		type_at = 0;
		break;
	default: /* no EtherType: the IP version tells, since the families of NULL differ between systems */
		if (!ids_link_known(link))
			return IDS_LINK_TYPE;
		*at = link == IDS_LINK_NULL || link == IDS_LINK_LOOP ? 4 : 0;
		if (size <= *at)
			return IDS_TRUNCATED;
		type = frame[*at] >> 4;
		return type == 4 ? IDS_OK : type == 6 ? IDS_IPV6 : IDS_NOT_IPV4;
	}
	if (size < *at)
		return IDS_TRUNCATED;
	type = ids_be16(frame + type_at);
	for (tags = 0; tags < 2 && (type == ETH_P_8021Q || type == ETH_P_8021AD || type == ETH_P_QINQ1); tags++) {
		if (size - *at < 4)
			return IDS_TRUNCATED;
		type = ids_be16(frame + *at + 2);
		*at += 4;
	}
	return type == ETH_P_IP ? IDS_OK : type == ETH_P_IPV6 ? IDS_IPV6 : IDS_NOT_IPV4;
}

/* Fill row->packet and row->ip_at; returns an outcome. */
static inline int ids_parse_frame(__u32 link, const __u8 *frame, struct ids_row *row)
{
	_Alignas(8) __u8 headers[IDS_HEADERS]; /* a frame in a file stands at any address; struct iphdr must not */
	int outcome = ids_find_ipv4(link, frame, row->caplen, &row->ip_at);
	__u32 size;

	if (outcome != IDS_OK)
		return outcome;
	size = row->caplen - row->ip_at;
	if (size > sizeof(headers))
		size = sizeof(headers);
	memcpy(headers, frame + row->ip_at, size);
	return ids_parse_ipv4(headers, headers + size, &row->packet);
}

#endif
