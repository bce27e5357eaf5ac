/*
 * A frame -> its packet, or the reason why there is none: one parser for the kernel and for user space. Pointers in,
 * values out; no map, helper, context or clock. README.md beside this file has every case, and tests/test_parse.py.
 */
#ifndef IDS_PARSE_H
#define IDS_PARSE_H

#ifdef __KERNEL__ /* as BCC has it: without uapi/ these were the kernel's own, which bring sk_buff and all it needs */
#include <uapi/linux/if_ether.h>
#include <uapi/linux/ip.h>
#else
#include <linux/if_ether.h>
#include <linux/ip.h>
#endif
#include <linux/types.h>

#include "fixed.h"

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ids_ntoh16(v) __builtin_bswap16(v)
#define ids_ntoh32(v) __builtin_bswap32(v)
#else
#define ids_ntoh16(v) (v)
#define ids_ntoh32(v) (v)
#endif

/* Headers in user space stand at any address. For BPF the compiler would load such words byte by byte. */
#ifdef __KERNEL__
#define IDS_ANYWHERE
#else
#define IDS_ANYWHERE __attribute__((aligned(1), may_alias))
#endif
typedef __u16 IDS_ANYWHERE ids_wire16;
typedef __u32 IDS_ANYWHERE ids_wire32;

#define IDS_TAGS 2	 /* VLAN tags that are looked behind */
#define IDS_EXTENSIONS 6 /* IPv6 extension headers that are: each of RFC 8200 once, destination options twice */
#define IDS_REACH 256	 /* bytes: a transport header that begins further behind the IPv6 header is not looked for */
#define IDS_IPV6_BYTES 40

#ifndef IDS_SECRET
#define IDS_SECRET 0x9e3779b97f4a7c15ULL
#endif

/* What became of a packet before any classification. */
enum ids_reason {
	IDS_OK,
	IDS_TRUNCATED, /* the headers are not all there */
	IDS_NOT_IP,
	IDS_MALFORMED, /* an IP header that contradicts itself */
	IDS_TOO_DEEP,  /* too many IPv6 extension headers, or too long ones */
	IDS_N_REASONS,
};

/* Not from linux/in.h, which with BCC brings the kernel's sockets. */
enum ids_protocol {
	IDS_HOP_BY_HOP = 0,
	IDS_TCP = 6,
	IDS_UDP = 17,
	IDS_ROUTING = 43,
	IDS_FRAGMENT = 44,
	IDS_AH = 51,
	IDS_DESTINATION = 60,
};

struct ids_packet {	    /* host byte order */
	__u64 saddr, daddr; /* an IPv4 address; of an IPv6 address ids_fold */
	__u32 len;	    /* of the IP packet, header included: IPv6's can be above 65,535 */
	__u16 sport, dport;
	__u32 proto, tcp_flags;
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
 * An IPv6 address in 64 bits, never equal to an IPv4 address. Why not all 128: one flow takes 65 ns with a key of two
 * addresses of 32 bits, as much with 64, and 75 with 128, for IPv4 too (medians of 300 interleaved rounds); a second map
 * costs nothing either but doubles every look-up and insertion in the program. Two addresses of one /64 differ here as
 * they do there, but for the highest bit. Others collide by chance once in 2^63, and nobody can aim: the kernel program
 * is built with a secret of its own (IDS_SECRET in ids_repro/kernel.py).
 */
static __always_inline __u64 ids_fold(const __u8 *address)
{
	__u64 high = (__u64)ids_get32(address) << 32 | ids_get32(address + 4);
	__u64 low = (__u64)ids_get32(address + 8) << 32 | ids_get32(address + 12);

	high *= IDS_SECRET | 1;
	return (low + (high ^ high >> 32)) | 1ULL << 63;
}

/* The IPv4 header at ip; *at becomes the place of the transport header, from ip on, or 0 in a later fragment. */
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

/* 1 if a and b, of 8 bits, are the same: without a branch, which in a loop would double the verifier's paths. */
static __always_inline __u32 ids_same(__u32 a, __u32 b)
{
	__u32 v = (a ^ b) - 1;

	asm volatile("" : "+r"(v)); /* or the compiler makes a branch of it again */
	return v >> 31;
}

/* The same for IPv6. */
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
		/* after the first eight bytes: units of eight, in AH of four, in a fragment header none */
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
	asm volatile("" : "+r"(l4)); /* or the compiler computes it again, and the verifier forgets what was checked */
	if ((const void *)(l4 + 4) > end)
		return IDS_TRUNCATED;
	p->sport = ids_get16(l4);
	p->dport = ids_get16(l4 + 2);
	if (p->proto == IDS_TCP) {
		if ((const void *)(l4 + 14) > end)
			return IDS_TRUNCATED;
		p->tcp_flags = l4[13];
	}
	return IDS_OK;
}

/* What an EtherType says stands at ip. */
static __always_inline int ids_parse_ip(__u32 type, const __u8 *ip, const void *end, struct ids_packet *p)
{
	__u32 at;
	int reason;

	p->sport = p->dport = 0;
	p->tcp_flags = 0;
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

static __always_inline int ids_is_tag(__u32 type)
{
	return type == ETH_P_8021Q || type == ETH_P_8021AD || type == ETH_P_QINQ1;
}

/* Go on from *at, behind the EtherType *type, past VLAN tags; `stripped` of them are gone already. */
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

/* An Ethernet frame; `stripped` VLAN tags (0 or 1) were taken out of it before. */
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
