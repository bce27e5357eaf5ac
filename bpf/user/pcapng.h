/* Read by capture.c: the blocks of pcapng (draft-ietf-opsawg-pcapng, section 4). */
#ifndef IDS_PCAPNG_H
#define IDS_PCAPNG_H

#include "capture.h"

enum ids_block { /* all other blocks are skipped */
		 IDS_INTERFACE = 1,
		 IDS_OLD_PACKET = 2,
		 IDS_SIMPLE_PACKET = 3,
		 IDS_ENHANCED_PACKET = 6,
};

enum ids_option {
	IDS_END_OF_OPTIONS = 0,
	IDS_IF_TSRESOL = 9,
	IDS_IF_TSOFFSET = 14,
};

/* Read a section header: interface numbers start at 0 again, and the byte order may change. */
static inline int ids_pcapng_section(struct ids_capture *c, const __u8 *p)
{
	__u32 magic;

	memcpy(&magic, p + 8, sizeof(magic));
	if (magic != 0x1a2b3c4d && magic != 0x4d3c2b1a)
		return IDS_DAMAGED;
	c->swapped = magic == 0x4d3c2b1a;
	c->n_interfaces = 0;
	return 0;
}

static inline int ids_pcapng_interface(struct ids_capture *c, const __u8 *body, __u32 size)
{
	__u8 resolution = 6;
	__u64 offset_s = 0;
	__u32 at = 8, length;

	if (size < 8)
		return IDS_DAMAGED;
	for (; size - at >= 4; at += 4 + ((length + 3) & ~3U)) {
		const __u8 *option = body + at;

		if (ids_load16(c, option) == IDS_END_OF_OPTIONS)
			break;
		length = ids_load16(c, option + 2);
		if (((length + 3) & ~3U) > size - at - 4)
			return IDS_DAMAGED;
		if (ids_load16(c, option) == IDS_IF_TSRESOL && length == 1)
			resolution = option[4];
		else if (ids_load16(c, option) == IDS_IF_TSOFFSET && length == 8)
			offset_s = ids_load64(c, option + 4);
	}
	return ids_add_interface(c, ids_load16(c, body), resolution, offset_s * 1000000000ULL);
}

static inline int ids_pcapng_packet(const struct ids_capture *c, __u32 type, const __u8 *body, __u32 size,
				    struct ids_frame *f)
{
	__u32 interface, head = type == IDS_SIMPLE_PACKET ? 4 : 20;

	if (size < head)
		return IDS_DAMAGED;
	if (type == IDS_SIMPLE_PACKET) { /* of the first interface; has the original length, but may be cut off */
		interface = 0;
		f->caplen = f->size = ids_load32(c, body);
		if (f->caplen > size - head)
			f->caplen = size - head;
		f->outcome = IDS_NO_TIME;
	} else {
		interface = type == IDS_OLD_PACKET ? ids_load16(c, body) : ids_load32(c, body);
		f->caplen = ids_load32(c, body + 12);
		f->size = ids_load32(c, body + 16);
	}
	if (interface >= c->n_interfaces || f->caplen > size - head)
		return IDS_DAMAGED;
	f->bytes = body + head;
	f->link = c->interfaces[interface].link;
	if (type != IDS_SIMPLE_PACKET)
		f->ts_ns = ids_ticks_to_ns(&c->interfaces[interface],
					   (__u64)ids_load32(c, body + 4) << 32 | ids_load32(c, body + 8));
	return 0;
}

/* Read one block. Return its length, 0 if more bytes are needed, or IDS_DAMAGED or IDS_NO_MEMORY. */
static inline __s64 ids_pcapng_next(struct ids_capture *c, const __u8 *p, __u64 size, struct ids_frame *f)
{
	__u32 type, length;
	int failed = 0;

	if (size < 12)
		return 0;
	memcpy(&type, p, sizeof(type)); /* a section header's type is the same in both byte orders */
	if (type == IDS_SECTION) {
		failed = ids_pcapng_section(c, p);
		if (failed)
			return failed;
	}
	type = ids_load32(c, p);
	length = ids_load32(c, p + 4);
	if (length < 12 || length % 4 || length > IDS_MAX_BLOCK || (type == IDS_SECTION && length < 28))
		return IDS_DAMAGED;
	if (length > size)
		return 0;
	if (ids_load32(c, p + length - 4) != length)
		return IDS_DAMAGED;
	if (type == IDS_INTERFACE)
		failed = ids_pcapng_interface(c, p + 8, length - 12);
	else if (type == IDS_OLD_PACKET || type == IDS_SIMPLE_PACKET || type == IDS_ENHANCED_PACKET)
		failed = ids_pcapng_packet(c, type, p + 8, length - 12, f);
	return failed ? failed : (__s64)length;
}

#endif
