/* Read by flow.h and keyed_hash.h: fixed-point arithmetic. */
/* The NumPy twin is ids_repro/models/fixed.py. Compile with -fwrapv, so that int64 wraps on overflow as in NumPy. */
#ifndef IDS_FIXED_H
#define IDS_FIXED_H

#include <linux/types.h>

#define IDS_Q 16 /* fractional bits of a Q16 number, Sec. IV-C */

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

/* Eq. (3): convert an integer to Q16. */
static __always_inline __s64 ids_to_q16(__u64 v)
{
	return (__s64)(v << IDS_Q);
}

/* Return v / 2^n, rounded to the nearest integer; halves are rounded up. */
static __always_inline __s64 ids_round_shift(__s64 v, int n)
{
	return (v + (1LL << (n - 1))) >> n;
}

/* Return max(v, 0) without a branch. A branch in an unrolled loop would double the paths that the verifier follows. */
static __always_inline __s64 ids_relu(__s64 v)
{
	__s64 mask = v >> 63;

	asm volatile("" : "+r"(mask)); /* without this barrier the compiler makes it a branch again */
	return v & ~mask;
}

/* Return min(max(v, 0), limit) without a branch. */
static __always_inline __s64 ids_clamp(__s64 v, __s64 limit)
{
	__s64 mask;

	v = ids_relu(v);
	mask = (limit - v) >> 63; /* all ones where v > limit */
	asm volatile("" : "+r"(mask));
	return (v & ~mask) | (limit & mask);
}

/* Clip v to [-limit, limit] without a branch. */
static __always_inline __s64 ids_clip(__s64 v, __s64 limit)
{
	__s64 mask = (limit - v) >> 63; /* all ones where v > limit */

	asm volatile("" : "+r"(mask));
	v = (v & ~mask) | (limit & mask);
	mask = (v + limit) >> 63; /* all ones where v < -limit */
	asm volatile("" : "+r"(mask));
	return (v & ~mask) | (-limit & mask);
}

/*
 * log2(1 + v) of a number v >= 0 in Q16, in Q16. Between powers of two it is a straight line, at most 0.0861 too low.
 * BPF cannot count leading zeros, so six comparisons find the highest bit.
 */
static __always_inline __s64 ids_log2(__s64 v)
{
	__u64 u = (__u64)v + (1 << IDS_Q), whole = 63 - IDS_Q, more;
	int bits;

#pragma clang loop unroll(full)
	for (bits = 32; bits; bits /= 2) {
		more = (__u64)((__s64)(u >> (64 - bits)) - 1) >> 63; /* 1 if the highest `bits` bits are 0 */
		u <<= more * bits;
		whole -= more * bits;
	}
	return (__s64)((whole << IDS_Q) + (u << 1 >> (64 - IDS_Q)));
}

#endif
