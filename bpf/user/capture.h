/* Read by capture.c and pcapng.h: the state of reading a capture file, and the records of pcap. */
/*
 * The file comes in pieces of any size. The caller passes an incomplete record at the end of a piece again, with the
 * next piece. Every length is checked before the bytes that it covers are read. pcapng: draft-ietf-opsawg-pcapng.
 */
#ifndef IDS_CAPTURE_H
#define IDS_CAPTURE_H

#include "dedup.h"
#include "link_layer.h"
#include "order.h"

#define IDS_MAX_FRAME (1U << 18) /* libpcap's MAXIMUM_SNAPLEN */
#define IDS_MAX_BLOCK (1U << 24) /* Wireshark's limit */
#define IDS_MAX_INTERFACES 4096
#define IDS_STRANGE 8 /* link types that are not read: so many are counted one by one */
#define IDS_SECTION 0x0a0d0d0aU
#define IDS_DAMAGED -1
#define IDS_NO_MEMORY -2

struct ids_interface {
	__u32 link;
	__u8 resolution; /* if_tsresol: an exponent of 10, or of 2 if the highest bit is set */
	__u64 offset_ns;
};

struct ids_capture {
	__u64 at; /* bytes of the file used so far */
	__u64 frames, outcomes[IDS_N_OUTCOMES], newest_ns;
	__u64 out_of_order, most_back_ns; /* packets older than one before them; the largest step back */
	__u64 late;			  /* packets that came after a newer one had been released */
	__u64 no_length;		  /* packets whose IP header gives the length 0 */
	struct {
		__u32 link;
		__u64 frames;
	} strange[IDS_STRANGE];
	struct ids_interface *interfaces; /* a pcap file has exactly one */
	__u32 n_interfaces;
	__u8 known, pcapng, swapped;
	int rules; /* enum ids_rules */
	struct ids_dedup dedup;
	struct ids_order order;
};

struct ids_frame {
	const __u8 *bytes;	  /* NULL if this is no packet */
	__u32 caplen, link, size; /* size: bytes on the wire */
	__u64 ts_ns;
	int outcome; /* IDS_OK, or why the frame cannot be used */
};

static inline __u16 ids_load16(const struct ids_capture *c, const __u8 *p)
{
	__u16 v;

	memcpy(&v, p, sizeof(v));
	return c->swapped ? __builtin_bswap16(v) : v;
}

static inline __u32 ids_load32(const struct ids_capture *c, const __u8 *p)
{
	__u32 v;

	memcpy(&v, p, sizeof(v));
	return c->swapped ? __builtin_bswap32(v) : v;
}

static inline __u64 ids_load64(const struct ids_capture *c, const __u8 *p)
{
	__u64 v;

	memcpy(&v, p, sizeof(v));
	return c->swapped ? __builtin_bswap64(v) : v;
}

static inline __u64 ids_ticks_to_ns(const struct ids_interface *i, __u64 ticks)
{
	__u32 power = i->resolution & 0x7f;
	__u64 scale = 1;

	if (i->resolution & 0x80)
		return i->offset_ns + (power < 64 ? (__u64)(((unsigned __int128)ticks * 1000000000U) >> power) : 0);
	for (; power < 9; power++)
		scale *= 10;
	for (; power > 9 && ticks; power--)
		ticks /= 10;
	return i->offset_ns + ticks * scale;
}

static inline int ids_add_interface(struct ids_capture *c, __u32 link, __u8 resolution, __u64 offset_ns)
{
	struct ids_interface *more;

	if (c->n_interfaces == IDS_MAX_INTERFACES)
		return IDS_DAMAGED;
	more = realloc(c->interfaces, (c->n_interfaces + 1) * sizeof(*more));
	if (!more)
		return IDS_NO_MEMORY;
	c->interfaces = more;
	more[c->n_interfaces++] = (struct ids_interface){ link, resolution, offset_ns };
	return 0;
}

/*
 * Find the format of a file from its first bytes. Return the bytes used, IDS_DAMAGED or IDS_NO_MEMORY.
 * 0 means that more bytes are needed, or, with c->known set, that the file is pcapng, which has no file header.
 */
static inline __s64 ids_pcap_header(struct ids_capture *c, const __u8 *p, __u64 size)
{
	__u32 magic;
	int failed;

	if (size < 24)
		return 0;
	memcpy(&magic, p, sizeof(magic));
	c->pcapng = magic == IDS_SECTION;
	c->swapped = magic == 0xd4c3b2a1 || magic == 0x4d3cb2a1;
	c->known = 1;
	if (c->pcapng)
		return 0;
	magic = ids_load32(c, p);
	if (magic != 0xa1b2c3d4 && magic != 0xa1b23c4d)
		return IDS_DAMAGED;
	/* the highest bits give the length of the frame check sequence */
	failed = ids_add_interface(c, ids_load32(c, p + 20) & 0x03ffffff, magic == 0xa1b23c4d ? 9 : 6, 0);
	return failed ? failed : 24;
}

/* Read one record of a pcap file. Return its length, 0 if more bytes are needed, or IDS_DAMAGED. */
static inline __s64 ids_pcap_next(const struct ids_capture *c, const __u8 *p, __u64 size, struct ids_frame *f)
{
	if (size < 16)
		return 0;
	f->caplen = ids_load32(c, p + 8);
	f->size = ids_load32(c, p + 12);
	if (f->caplen > IDS_MAX_FRAME)
		return IDS_DAMAGED;
	if (f->caplen > size - 16)
		return 0;
	f->bytes = p + 16;
	f->link = c->interfaces->link;
	f->ts_ns = ids_load32(c, p) * 1000000000ULL +
		   ids_load32(c, p + 4) * (c->interfaces->resolution == 9 ? 1ULL : 1000ULL);
	return 16 + f->caplen;
}

#endif
