/*
 * The MLP in arithmetic "fused", ours: the same net with as little arithmetic as keeps its decisions.
 * Normalisation is folded into the first quantiser, one multiplier and shift a feature, so that features of wide range
 * keep their bits; dequantise, ReLU and requantise are folded into one multiplier and rounding shift a column.
 * ids_repro/fused.py holds the NumPy twin that defines every bit.
 *
 * SWAR: weights are int8, three columns to a 64-bit word in lanes of 21 bits, so that one multiplication makes three
 * products. A lane's sum must stay within +-2^20. With n inputs of at most L and weights of at most 127 it is at most
 * 127 n L, which leaves activations more than 8 bits: L = 687 for 12 inputs, 511 for 16 (checked below).
 */
#ifndef IDS_INT_MLP_FUSED_H
#define IDS_INT_MLP_FUSED_H

#include "int_mlp.h"

#define IDS_LANE 21
#define IDS_LANES 3
#define IDS_WORDS 6	    /* of 16 columns */
#define IDS_INPUT_MAX 687   /* L of the first layer */
#define IDS_HIDDEN_MAX 511  /* L of the others */
#define IDS_REQUANT_BITS 32 /* fractional bits of the columns' multipliers */

_Static_assert(IDS_INT8_MAX *IDS_N_FEATURES *IDS_INPUT_MAX < 1 << (IDS_LANE - 1), "a lane of layer 1 overflows");
_Static_assert(IDS_INT8_MAX *IDS_HIDDEN *IDS_HIDDEN_MAX < 1 << (IDS_LANE - 1), "a lane of layer 2 or 3 overflows");

struct ids_mlp_fused {
	__s64 min[IDS_X_SIZE];	 /* Q16 */
	__s64 range[IDS_X_SIZE]; /* max - min, Q16, below 2^47 */
	__s64 mul[IDS_X_SIZE];	 /* 687 / range * 2^shift, below 2^15 */
	__s64 half[IDS_X_SIZE];	 /* 2^(shift - 1) */
	__s64 shift[IDS_X_SIZE];
	__s64 requant[IDS_LAYERS]
		     [IDS_LANES * IDS_WORDS];	    /* columns' multipliers; the last layer's make logits comparable */
	__s64 w[IDS_LAYERS][IDS_HIDDEN][IDS_WORDS]; /* w[l][row k][word]: columns 3 word, + 1, + 2 */
};

struct ids_fused_scratch {
	__s64 a[IDS_HIDDEN];
	__s64 lane[IDS_LANES * IDS_WORDS];
};

/* Sums of n_in products for 3 n_words columns. */
static __always_inline void ids_swar(const struct ids_mlp_fused *m, int l, int n_in, int n_words,
				     struct ids_fused_scratch *t)
{
	int g, k;

#pragma clang loop unroll(full)
	for (g = 0; g < n_words; g++) {
		__s64 sum = 0, low;

#pragma clang loop unroll(full)
		for (k = 0; k < n_in; k++)
			sum += t->a[k] * m->w[l][k][g];
		low = (sum << (64 - IDS_LANE)) >> (64 - IDS_LANE);
		t->lane[3 * g] = low;
		sum = (sum - low) >> IDS_LANE; /* a negative lane has borrowed from the next: pay it back */
		low = (sum << (64 - IDS_LANE)) >> (64 - IDS_LANE);
		t->lane[3 * g + 1] = low;
		t->lane[3 * g + 2] = (sum - low) >> IDS_LANE;
	}
}

/* min(max(v, 0), 511) of a column's sum in the next layer's units. */
static __always_inline __s64 ids_requantise(__s64 sum, __s64 mul)
{
	__s64 v = ids_round_shift(ids_relu(sum) * mul, IDS_REQUANT_BITS), mask = (IDS_HIDDEN_MAX - v) >> 63;

	asm volatile("" : "+r"(mask));
	return (v & ~mask) | (IDS_HIDDEN_MAX & mask);
}

/* Features (Q16, 12) -> logits (32 fractional bits, n_classes); returns the class, the first of equals. */
static __always_inline int ids_mlp_fused(const struct ids_mlp_fused *m, int n_classes, const __s64 *x,
					 struct ids_fused_scratch *t, __s64 *logits)
{
	int i, l, j, best = 0;

#pragma clang loop unroll(full)
	for (i = 0; i < IDS_N_FEATURES; i++)
		t->a[i] = (ids_clip(x[i] - m->min[i], m->range[i]) * m->mul[i] + m->half[i]) >> (m->shift[i] & 63);
#pragma clang loop unroll(full)
	for (l = 0; l < IDS_LAYERS - 1; l++) {
		ids_swar(m, l, l ? IDS_HIDDEN : IDS_N_FEATURES, IDS_WORDS, t);
#pragma clang loop unroll(full)
		for (j = 0; j < IDS_HIDDEN; j++)
			t->a[j] = ids_requantise(t->lane[j], m->requant[l][j]);
	}
	ids_swar(m, IDS_LAYERS - 1, IDS_HIDDEN, (n_classes + IDS_LANES - 1) / IDS_LANES, t);
#pragma clang loop unroll(full)
	for (j = 0; j < n_classes; j++)
		logits[j] = t->lane[j] * m->requant[IDS_LAYERS - 1][j];
	for (j = 1; j < n_classes; j++)
		if (logits[j] > logits[best & (IDS_MAX_CLASSES - 1)])
			best = j;
	return best;
}

#endif
