/* Read by capture.h: finds duplicate frames, that is, the same bytes within a short window of time. */
#ifndef IDS_DEDUP_H
#define IDS_DEDUP_H

#include <stdlib.h>
#include <string.h>

#include <linux/types.h>

#define IDS_DEDUP_MAX (1ULL << 22)	 /* slots; this bounds memory even if all time stamps are the same */
#define IDS_DEDUP_SLACK_NS 1000000000ULL /* a copy may stand so much later in the file than its time stamp says */

struct ids_seen {   /* a frame that was kept */
	__u64 hash; /* 0: the slot is free */
	__u64 ts_ns;
};

struct ids_dedup {
	struct ids_seen *slots;
	__u64 size, used; /* size is a power of two; 0: duplicates are kept */
	__u64 window_ns;
	__u64 newest_ns; /* the newest stamp since the last sweep */
};

/* Mix two 64-bit words into one, as wyhash does. */
static inline __u64 ids_mix(__u64 a, __u64 b)
{
	unsigned __int128 product = (unsigned __int128)a * b;

	return (__u64)product ^ (__u64)(product >> 64);
}

/* Hash a frame's bytes and length to 64 bits; two different frames in one window practically never collide. */
static inline __u64 ids_hash_frame(const __u8 *p, __u64 n)
{
	__u64 h = n ^ 0xa0761d6478bd642fULL, word[2];

	for (; n >= 16; p += 16, n -= 16) {
		memcpy(word, p, 16);
		h = ids_mix(word[0] ^ 0xe7037ed1a0b428dbULL, word[1] ^ h);
	}
	memset(word, 0, sizeof(word));
	memcpy(word, p, n);
	h = ids_mix(word[0] ^ 0x8ebc6af09c88c6e3ULL, word[1] ^ h);
	return h ? h : 1;
}

static inline int ids_within(__u64 a, __u64 b, __u64 window)
{
	return (a > b ? a - b : b - a) <= window;
}

static inline struct ids_seen *ids_dedup_probe(const struct ids_dedup *d, __u64 hash)
{
	__u64 i = hash & (d->size - 1);

	while (d->slots[i].hash && d->slots[i].hash != hash)
		i = (i + 1) & (d->size - 1);
	return &d->slots[i];
}

/*
 * Forget frames that are far from the stream's own time, which is the newest stamp since the last sweep: one frame with a
 * strange stamp makes the table forget too much only once. Grow only if the others need it.
 * Return 0, or -1 if memory ran out.
 */
static inline int ids_dedup_sweep(struct ids_dedup *d)
{
	struct ids_dedup next = { .size = d->size, .window_ns = d->window_ns };
	__u64 i, stay = 0, near = d->window_ns + IDS_DEDUP_SLACK_NS;

	for (i = 0; i < d->size; i++)
		stay += d->slots[i].hash && ids_within(d->slots[i].ts_ns, d->newest_ns, near);
	if (stay * 4 > d->size)
		next.size *= 2;
	if (next.size > IDS_DEDUP_MAX) {
		next.size = IDS_DEDUP_MAX;
		stay = 0; /* forget all frames: some duplicates will be missed */
	}
	next.slots = calloc(next.size, sizeof(*next.slots));
	if (!next.slots)
		return -1;
	for (i = 0; i < d->size && stay; i++)
		if (d->slots[i].hash && ids_within(d->slots[i].ts_ns, d->newest_ns, near)) {
			*ids_dedup_probe(&next, d->slots[i].hash) = d->slots[i];
			next.used++;
		}
	free(d->slots);
	*d = next;
	return 0;
}

/*
 * Return 1 if a frame with the same hash (ids_hash_frame), older or younger, was kept within the window, 0 if this frame
 * is to be kept, or -1 if memory ran out.
 */
static inline int ids_dedup_frame(struct ids_dedup *d, __u64 hash, __u64 ts_ns)
{
	struct ids_seen *seen;

	if (ts_ns > d->newest_ns)
		d->newest_ns = ts_ns;
	if (d->used * 2 >= d->size && ids_dedup_sweep(d))
		return -1;
	seen = ids_dedup_probe(d, hash);
	if (seen->hash && ids_within(seen->ts_ns, ts_ns, d->window_ns))
		return 1;
	d->used += !seen->hash;
	seen->hash = hash;
	seen->ts_ns = ts_ns;
	return 0;
}

#endif
