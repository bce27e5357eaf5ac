/* Read by capture.h, library.c, order.h and sampler.h: captured frame -> packet, for each link layer of captures. */
/* Only user space needs this: the kernel programs see Ethernet only. */
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

/* What became of a captured frame; continues enum ids_reason. The twin is OUTCOMES in ids_repro/native/layouts.py. */
enum ids_outcome {
	IDS_IPV6 = IDS_N_REASONS, /* an IPv6 packet, but the caller wants IPv4 only */
	IDS_LINK_TYPE,		  /* the link layer is not in enum ids_link */
	IDS_NO_TIME,		  /* a simple packet block of pcapng has no time stamp */
	IDS_DUPLICATE,
	IDS_N_OUTCOMES,
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
		*type = **ip >> 4 == 4 ? ETH_P_IP : **ip >> 4 == 6 ? ETH_P_IPV6 : 0;
		return IDS_OK;
	}
	if (end - frame < size)
		return IDS_TRUNCATED;
	*ip = frame + size;
	*type = ids_get16(frame + type_at);
	return ids_skip_tags(ip, end, type, 0);
}

/* Fill row->packet and row->ip_at. `ipv6` says whether to take IPv6 packets too. Return an outcome. */
static inline int ids_parse_frame(__u32 link, const __u8 *frame, int ipv6, struct ids_row *row)
{
	const __u8 *ip, *end = frame + row->caplen;
	__u32 type;
	int outcome = ids_find_ip(link, frame, end, &ip, &type);

	if (outcome != IDS_OK)
		return outcome;
	if (type == ETH_P_IPV6 && !ipv6)
		return IDS_IPV6;
	row->ip_at = ip - frame;
	return ids_parse_ip(type, ip, end, &row->packet);
}

#endif
