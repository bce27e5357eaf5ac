/* Read by bucket.h and parse.h: a hash that nobody can aim at without its secret. */
/*
 * Each 64-bit word is two halves, a key is added to each, and the sums are multiplied (NH, of UMAC, RFC 4418). Two inputs
 * that differ collide with a probability of 2^-32 over the keys, whatever the inputs are. The keys are drawn from a
 * 64-bit secret (splitmix64). They are independent: with multiples of one key, differences cancel for every secret.
 */
#ifndef IDS_KEYED_HASH_H
#define IDS_KEYED_HASH_H

#include <linux/types.h>

#include "fixed.h"

#define IDS_WORDS_HASHED 3

struct ids_hash_keys {
	__u64 word[IDS_WORDS_HASHED];
	__u64 mix; /* odd */
};

/* Key number i of a secret. If both are constants, so is the result. */
static __always_inline __u64 ids_stretch(__u64 secret, __u32 i)
{
	__u64 z = secret + (i + 1) * 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

static __always_inline struct ids_hash_keys ids_keys_of(__u64 secret)
{
	struct ids_hash_keys keys = {
		{ ids_stretch(secret, 0), ids_stretch(secret, 1), ids_stretch(secret, 2) },
		ids_stretch(secret, 3) | 1,
	};

	return keys;
}

static __always_inline __u64 ids_product(__u64 word, __u64 key)
{
	return (__u64)(__u32)(word + key) * (__u32)((word >> 32) + (key >> 32));
}

static __always_inline __u64 ids_keyed_hash(const __u64 *word, const struct ids_hash_keys *keys)
{
	__u64 h = ids_product(word[0], keys->word[0]) + ids_product(word[1], keys->word[1]) +
		  ids_product(word[2], keys->word[2]);

	h = (h ^ h >> 32) * keys->mix; /* spreads the differences that are left, of neighbouring ports say */
	return h ^ h >> 32;
}

#endif
