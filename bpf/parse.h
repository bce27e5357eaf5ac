/* Read by flow.h, frame_clock.h, reset.h and user/link_layer.h: frame -> packet, or the reason why the frame has none. */
/*
 * The kernel and user space use this same parser. It uses no maps, helpers, contexts or clocks.
 * README.md in this directory lists every case, and tests/native/test_library.py tests each of them.
 */
#ifndef IDS_PARSE_H
#define IDS_PARSE_H

#ifdef __KERNEL__ /* BCC: without uapi/ these would be the kernel's internal headers, which include sk_buff */
#include <uapi/linux/if_ether.h>
#include <uapi/linux/ip.h>
#else
#include <linux/if_ether.h>
#include <linux/ip.h>
#endif
#include <linux/types.h>

#include "keyed_hash.h"

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ids_ntoh16(v) __builtin_bswap16(v)
#define ids_ntoh32(v) __builtin_bswap32(v)
#else
#define ids_ntoh16(v) (v)
#define ids_ntoh32(v) (v)
#endif

/* In user space a header can be at any address. For BPF this attribute would make the compiler load byte by byte. */
#ifdef __KERNEL__
#define IDS_ANYWHERE
#else
#define IDS_ANYWHERE __attribute__((aligned(1), may_alias))
#endif
typedef __u16 IDS_ANYWHERE ids_wire16;
typedef __u32 IDS_ANYWHERE ids_wire32;

#define IDS_TAGS 2	 /* VLAN tags that the parser skips */
#define IDS_EXTENSIONS 6 /* IPv6 extension headers that it skips: each of RFC 8200 once, destination options twice */
#define IDS_REACH 256	 /* bytes from the start of the IPv6 header: the transport header must not start further on */
#define IDS_IPV6_BYTES 40

#ifndef IDS_SECRET
#define IDS_SECRET 0x9e3779b97f4a7c15ULL
#endif

/* What became of a packet before it could be classified. */
enum ids_reason {
	IDS_OK,
	IDS_TRUNCATED, /* the frame ends before its headers do */
	IDS_NOT_IP,
	IDS_MALFORMED, /* the IP header contradicts the EtherType or itself */
	IDS_TOO_DEEP,  /* the IPv6 extension headers are too many or too long */
	IDS_N_REASONS,
};

/* Defined here, because with BCC linux/in.h includes the kernel's sockets. */
enum ids_protocol {
	IDS_HOP_BY_HOP = 0,
	IDS_TCP = 6,
	IDS_UDP = 17,
	IDS_ROUTING = 43,
	IDS_FRAGMENT = 44,
	IDS_AH = 51,
	IDS_DESTINATION = 60,
};

struct ids_packet {	    /* in host byte order */
	__u64 saddr, daddr; /* an IPv4 address, or an IPv6 address after ids_fold */
	__u32 len;	    /* of the IP packet, including its header; above 65,535 for some IPv6 packets */
	__u16 sport, dport;
	__u32 proto, tcp_flags;
#ifdef IDS_RESETS
	const __u8 *tcp; /* its TCP header, or NULL */
#endif
};

static __always_inline __u32 ids_get16(const void *p)
{
	return ids_ntoh16(*(const ids_wire16 *)p);
}

static __always_inline __u32 ids_get32(const void *p)
{
	return ids_ntoh32(*(const ids_wire32 *)p);
}

/*
 * Fold an IPv6 address into 64 bits. The highest bit is set, so the result never equals an IPv4 address.
 * Why not keep all 128 bits: flow extraction takes 65 ns if the key's addresses have 32 bits, 65 ns with 64 bits, and
 * 75 ns with 128 bits, for IPv4 packets too (medians of 300 interleaved rounds). A second map for IPv6 costs no time
 * either, but it doubles every look-up and insertion in the program's code.
 * Two addresses in one /64 stay different, unless they differ only in the highest bit of the lower half. Two other
 * addresses that somebody chooses collide with a probability of 2^-32, because each load of the kernel program has its own
 * secret (IDS_SECRET, set in ids_repro/kernel/program.py).
 */
static __always_inline __u64 ids_fold(const __u8 *address)
{
	__u64 high = (__u64)ids_get32(address) << 32 | ids_get32(address + 4);
	__u64 low = (__u64)ids_get32(address + 8) << 32 | ids_get32(address + 12);

	return (low + ids_product(high, ids_stretch(IDS_SECRET, 4))) | 1ULL << 63;
}

/* Parse the IPv4 header at ip. Set *at to the transport header's offset from ip, or to 0 in a later fragment. */
static __always_inline int ids_parse_ipv4(const __u8 *ip, const void *end, __u32 *at, struct ids_packet *p)
{
	if ((const void *)(ip + sizeof(struct iphdr)) > end)
		return IDS_TRUNCATED;
	*at = (ip[0] & 15) * 4;
	if (ip[0] >> 4 != 4 || *at < sizeof(struct iphdr))
		return IDS_MALFORMED;
	p->saddr = ids_get32(ip + __builtin_offsetof(struct iphdr, saddr));
	p->daddr = ids_get32(ip + __builtin_offsetof(struct iphdr, daddr));
	p->len = ids_get16(ip + __builtin_offsetof(struct iphdr, tot_len));
	p->proto = ip[__builtin_offsetof(struct iphdr, protocol)];
	if (ids_get16(ip + __builtin_offsetof(struct iphdr, frag_off)) & 0x1fff)
		*at = 0;
	return IDS_OK;
}

static __always_inline int ids_is_extension(__u32 next)
{
	const __u64 known = 1ULL << IDS_HOP_BY_HOP | 1ULL << IDS_ROUTING | 1ULL << IDS_FRAGMENT | 1ULL << IDS_AH |
			    1ULL << IDS_DESTINATION;

	return next < 64 && known >> next & 1;
}

/* Return 1 if the 8-bit a and b are equal. A branch in a loop would double the paths that the verifier follows. */
static __always_inline __u32 ids_same(__u32 a, __u32 b)
{
	__u32 v = (a ^ b) - 1;

	asm volatile("" : "+r"(v)); /* without this barrier the compiler makes it a branch again */
	return v >> 31;
}

/* Parse the IPv6 header at ip and its extension headers. *at is as in ids_parse_ipv4. */
static __always_inline int ids_parse_ipv6(const __u8 *ip, const void *end, __u32 *at, struct ids_packet *p)
{
	__u32 next, i;

	*at = IDS_IPV6_BYTES;
	if ((const void *)(ip + IDS_IPV6_BYTES) > end)
		return IDS_TRUNCATED;
	if (ip[0] >> 4 != 6)
		return IDS_MALFORMED;
	p->saddr = ids_fold(ip + 8);
	p->daddr = ids_fold(ip + 24);
	p->len = ids_get16(ip + 4) + IDS_IPV6_BYTES;
	next = ip[6];
#pragma clang loop unroll(disable)
	for (i = 0; i < IDS_EXTENSIONS && ids_is_extension(next); i++) {
		const __u8 *extension = ip + *at;
		__u32 fragment = ids_same(next, IDS_FRAGMENT), units;

		if ((const void *)(extension + 8) > end)
			return IDS_TRUNCATED;
		/* bytes after the first eight: AH counts them in fours, others in eights; a fragment header has none */
		units = extension[1] * (8 - 4 * ids_same(next, IDS_AH) - 8 * fragment) & 2047;
		next = extension[0];
		if (ids_get16(extension + 2) & 0xfff8 & -fragment) {
			*at = 0;
			break;
		}
		*at += 8 + units;
		if (*at > IDS_REACH)
			return IDS_TOO_DEEP;
	}
	p->proto = next;
	return *at && ids_is_extension(next) ? IDS_TOO_DEEP : IDS_OK;
}

static __always_inline int ids_parse_ports(const __u8 *l4, const void *end, struct ids_packet *p)
{
	/* without this barrier the compiler recomputes l4 later, and the verifier loses the result of the check */
	asm volatile("" : "+r"(l4));
	if ((const void *)(l4 + 4) > end)
		return IDS_TRUNCATED;
	p->sport = ids_get16(l4);
	p->dport = ids_get16(l4 + 2);
	if (p->proto == IDS_TCP) {
		if ((const void *)(l4 + 14) > end)
			return IDS_TRUNCATED;
		p->tcp_flags = l4[13];
#ifdef IDS_RESETS
		p->tcp = l4;
#endif
	}
	return IDS_OK;
}

/* Parse the IP packet at ip; its EtherType is `type`. */
static __always_inline int ids_parse_ip(__u32 type, const __u8 *ip, const void *end, struct ids_packet *p)
{
	__u32 at;
	int reason;

	p->sport = p->dport = 0;
	p->tcp_flags = 0;
#ifdef IDS_RESETS
	p->tcp = 0;
#endif
	if (type == ETH_P_IP)
		reason = ids_parse_ipv4(ip, end, &at, p);
	else if (type == ETH_P_IPV6)
		reason = ids_parse_ipv6(ip, end, &at, p);
	else
		return IDS_NOT_IP;
	if (reason != IDS_OK || !at || (p->proto != IDS_TCP && p->proto != IDS_UDP))
		return reason;
	return ids_parse_ports(ip + at, end, p);
}

/* Return the EtherType of a packet without a link layer: its IP version says it. Its first byte must be there. */
static __always_inline __u32 ids_type_of(const __u8 *ip)
{
	return *ip >> 4 == 4 ? ETH_P_IP : *ip >> 4 == 6 ? ETH_P_IPV6 : 0;
}

/* Parse a frame that is an IP packet, from a device without a link layer, such as a tunnel. */
static __always_inline int ids_parse_bare(const void *data, const void *end, struct ids_packet *p)
{
	if (data + 1 > end)
		return IDS_TRUNCATED;
	return ids_parse_ip(ids_type_of(data), data, end, p);
}

static __always_inline int ids_is_tag(__u32 type)
{
	return type == ETH_P_8021Q || type == ETH_P_8021AD || type == ETH_P_QINQ1;
}

/* Skip VLAN tags: *at is behind the EtherType *type, and both move on. `stripped` tags were removed before. */
static __always_inline int ids_skip_tags(const __u8 **at, const void *end, __u32 *type, int stripped)
{
	int i;

	for (i = stripped; i < IDS_TAGS && ids_is_tag(*type); i++) {
		if ((const void *)(*at + 4) > end)
			return IDS_TRUNCATED;
		*type = ids_get16(*at + 2);
		*at += 4;
	}
	return IDS_OK;
}

/* Parse an Ethernet frame from which `stripped` VLAN tags (0 or 1) were removed before. */
static __always_inline int ids_parse(const void *data, const void *end, int stripped, struct ids_packet *p)
{
	const __u8 *at = (const __u8 *)data + ETH_HLEN;
	__u32 type;

	if ((const void *)at > end)
		return IDS_TRUNCATED;
	type = ids_get16(at - 2);
	if (ids_skip_tags(&at, end, &type, stripped) != IDS_OK)
		return IDS_TRUNCATED;
	return ids_parse_ip(type, at, end, p);
}

#endif
