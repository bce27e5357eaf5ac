/* Fixed-point helpers, the same in the kernel and in user space. Compile with -fwrapv: int64 wraps, as NumPy's does. */
#ifndef IDS_FIXED_H
#define IDS_FIXED_H

#include <linux/types.h>

#define IDS_Q 16 /* fractional bits of a Q16 number, Sec. IV-C */

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

/* Eq. (3): an integer as a Q16 number. */
static __always_inline __s64 ids_to_q16(__u64 v)
{
	return (__s64)(v << IDS_Q);
}

/* v / 2^n rounded to nearest, halves upwards. */
static __always_inline __s64 ids_round_shift(__s64 v, int n)
{
	return (v + (1LL << (n - 1))) >> n;
}

/* max(v, 0) without a branch: a branch in an unrolled loop doubles the verifier's paths. */
static __always_inline __s64 ids_relu(__s64 v)
{
	__s64 mask = v >> 63;

	asm volatile("" : "+r"(mask)); /* or the compiler makes a branch of it again */
	return v & ~mask;
}

/* min(max(v, 0), limit), without a branch. */
static __always_inline __s64 ids_clamp(__s64 v, __s64 limit)
{
	__s64 mask;

	v = ids_relu(v);
	mask = (limit - v) >> 63; /* all ones where v > limit */
	asm volatile("" : "+r"(mask));
	return (v & ~mask) | (limit & mask);
}

/* v held to [-limit, limit], without a branch. */
static __always_inline __s64 ids_clip(__s64 v, __s64 limit)
{
	__s64 mask = (limit - v) >> 63; /* all ones where v > limit */

	asm volatile("" : "+r"(mask));
	v = (v & ~mask) | (limit & mask);
	mask = (v + limit) >> 63; /* all ones where v < -limit */
	asm volatile("" : "+r"(mask));
	return (v & ~mask) | (-limit & mask);
}

#endif
