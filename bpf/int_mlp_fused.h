/*
 * The MLP in arithmetic "fused", ours: the same net with as little arithmetic as keeps its decisions.
 * Normalisation is folded into the first quantiser, one multiplier and shift a feature, so that features of wide range
 * keep their bits. Columns are equalised: each has the unit in which one shift, the same for all, requantises it, and
 * the rows of the next layer's weights are in those units. So no multiplier and no clip is left between layers.
 * ids_repro/fused.py holds the NumPy twin that defines every bit.
 *
 * SWAR: two columns to a 64-bit word in lanes of 32 bits, so that one multiplication makes two products.
 * Range proof: no activation is negative, and none exceeds P_k: IDS_INPUT_MAX in the first layer, where the clamp holds
 * it, and what the column before it can make at most in another. So a lane's sum lies between -sum_k max(-w_k, 0) P_k
 * and sum_k max(w_k, 0) P_k. quantize_fused scales each column until both are within IDS_LANE_MAX, and
 * export.fused_bytes refuses weights that are not.
 * Why not three lanes of 21 bits with int8 weights: 184 multiplications instead of 240, but it decided
 * otherwise than the float net in up to 1 % of the flows.
 */
#ifndef IDS_INT_MLP_FUSED_H
#define IDS_INT_MLP_FUSED_H

#include "int_mlp.h"

#define IDS_LANE 32
#define IDS_LANES 2
#define IDS_WORDS (IDS_HIDDEN / IDS_LANES)
#define IDS_INPUT_MAX 16383 /* largest activation of the first layer */
#define IDS_SHIFT 16	    /* requantisation: a column's sum / 2^16, rounded */
#define IDS_HALF (1LL << (IDS_SHIFT - 1))
#define IDS_LANE_MAX ((1LL << (IDS_LANE - 1)) - 1 - IDS_HALF)

_Static_assert(IDS_LANES *IDS_LANE == 64, "the lanes fill a word");
_Static_assert(IDS_LANE_MAX + IDS_HALF < 1LL << (IDS_LANE - 1), "a lane overflows when it is rounded");
_Static_assert((IDS_LANE_MAX + IDS_HALF) >> IDS_SHIFT < 1 << 15, "a hidden activation has 15 bits");

struct ids_mlp_fused {
	__s64 min[IDS_X_SIZE];	 /* Q16 */
	__s64 range[IDS_X_SIZE]; /* max - min, Q16, below 2^47 */
	__s64 mul[IDS_X_SIZE];	 /* 16383 / range * 2^shift, below 2^15 */
	__s64 shift[IDS_X_SIZE];
	__s64 w[IDS_LAYERS][IDS_HIDDEN][IDS_WORDS]; /* w[l][row k][word]: columns 2 word and 2 word + 1 */
};

struct ids_fused_scratch {
	__s64 a[2][IDS_HIDDEN];
};

/* Sums of n_in products, for two columns. */
static __always_inline __s64 ids_swar(const struct ids_mlp_fused *m, int l, int n_in, int word, const __s64 *a,
				      __s64 start)
{
	__s64 sum = start;
	int k;

#pragma clang loop unroll(full)
	for (k = 0; k < n_in; k++)
		sum += a[k] * m->w[l][k][word];
	return sum;
}

/* The columns of a word, divided by 2^shift; a negative lower lane has borrowed from the upper one. */
static __always_inline __s64 ids_lower(__s64 sum, int shift)
{
	return (__s64)((__u64)sum << IDS_LANE) >> (IDS_LANE + shift);
}

static __always_inline __s64 ids_upper(__s64 sum, int shift)
{
	return (sum + (1LL << (IDS_LANE - 1))) >> (IDS_LANE + shift);
}

static __always_inline void ids_hidden(const struct ids_mlp_fused *m, int l, int n_in, const __s64 *a, __s64 *out)
{
	int g;

#pragma clang loop unroll(full)
	for (g = 0; g < IDS_WORDS; g++) {
		__s64 sum = ids_swar(m, l, n_in, g, a, IDS_HALF << IDS_LANE | IDS_HALF);

		out[2 * g] = ids_relu(ids_lower(sum, IDS_SHIFT));
		out[2 * g + 1] = ids_relu(ids_upper(sum, IDS_SHIFT));
	}
}

/* Features (Q16, 12) -> logits (one unit for all, n_classes); returns the class, the first of equals. */
static __always_inline int ids_mlp_fused(const struct ids_mlp_fused *m, int n_classes, const __s64 *x,
					 struct ids_fused_scratch *t, __s64 *logits)
{
	int i, g;

#pragma clang loop unroll(full)
	for (i = 0; i < IDS_N_FEATURES; i++)
		t->a[0][i] = (ids_clamp(x[i] - m->min[i], m->range[i]) * m->mul[i]) >> m->shift[i];
	ids_hidden(m, 0, IDS_N_FEATURES, t->a[0], t->a[1]);
	ids_hidden(m, 1, IDS_HIDDEN, t->a[1], t->a[0]);
#pragma clang loop unroll(full)
	for (g = 0; g < (n_classes + 1) / IDS_LANES; g++) {
		__s64 sum = ids_swar(m, IDS_LAYERS - 1, IDS_HIDDEN, g, t->a[0], 0);

		logits[2 * g] = ids_lower(sum, 0);
		if (2 * g + 1 < n_classes)
			logits[2 * g + 1] = ids_upper(sum, 0);
	}
	return ids_argmax(n_classes, logits);
}

#endif
