/* Read by classifiers.h and int_mlp_log2.h: the net in arithmetic "fused". */
/*
 * Our own arithmetic for the MLP: as few operations as possible without changing the net's decisions.
 * Normalisation is part of the first quantiser: each feature has its own multiplier and shift, so features with a wide
 * range keep their bits. Columns are equalised: each column has its own unit, chosen so that one common shift
 * requantises all columns, and the rows of the next layer's weights take these units back. So no multiplier and no clip
 * is needed between layers. The NumPy twin, ids_repro/models/int_mlp_fused.py, defines every bit.
 *
 * SWAR: a 64-bit word holds two columns in lanes of 32 bits, so one multiplication computes two products.
 * Range proof: activation k lies in [0, P_k]. In layer 1 the clamp sets P_k = IDS_INPUT_MAX; later P_k is the most that
 * column k of the previous layer can produce. So a lane's sum lies between -sum_k max(-w_k, 0) P_k and
 * sum_k max(w_k, 0) P_k. In the twin, quantize_fused scales each column until both bounds are within IDS_LANE_MAX, and
 * FusedMlp.to_bytes refuses weights for which they are not.
 * Why not three lanes of 21 bits with int8 weights: that takes 184 multiplications instead of 240, but it decided
 * differently from the float net in up to 1 % of the flows.
 */
#ifndef IDS_INT_MLP_FUSED_H
#define IDS_INT_MLP_FUSED_H

#include "int_mlp.h"

#define IDS_LANE 32
#define IDS_LANES 2
#define IDS_WORDS (IDS_HIDDEN / IDS_LANES)
#define IDS_INPUT_MAX 16383 /* largest activation of the first layer */
#define IDS_SHIFT 16	    /* requantisation divides a column's sum by 2^16 and rounds */
#define IDS_HALF (1LL << (IDS_SHIFT - 1))
#define IDS_LANE_MAX ((1LL << (IDS_LANE - 1)) - 1 - IDS_HALF)

_Static_assert(IDS_LANES *IDS_LANE == 64, "the lanes must fill a word");
_Static_assert(IDS_LANE_MAX + IDS_HALF < 1LL << (IDS_LANE - 1), "rounding must not overflow a lane");
_Static_assert((IDS_LANE_MAX + IDS_HALF) >> IDS_SHIFT < 1 << 15, "a hidden activation must fit 15 bits");

struct ids_nn_fused {
	__s64 flag_at; /* a detector flags a flow at a packet whose score, logit 1 - logit 0, is at least this */
	__s64 min[IDS_X_SIZE];	 /* Q16 */
	__s64 range[IDS_X_SIZE]; /* max - min, Q16, below 2^47 */
	__s64 mul[IDS_X_SIZE];	 /* 16383 / range * 2^shift, at most 2^15 */
	__s64 shift[IDS_X_SIZE];
	__s64 w[IDS_LAYERS][IDS_ROWS][IDS_WORDS]; /* w[l][row k][word]: columns 2 word and 2 word + 1 */
};

struct ids_nn_fused_scratch {
	__s64 a[2][IDS_ROWS];
};

/* Sum n_in products for two columns at once. */
static __always_inline __s64 ids_swar(const struct ids_nn_fused *m, int l, int n_in, int word, const __s64 *a)
{
	__s64 sum = 0;
	int k;

#pragma clang loop unroll(full)
	for (k = 0; k < n_in; k++) {
		sum += a[k] * m->w[l][k][word];
		IDS_IN_ORDER(sum);
	}
	return sum;
}

/*
 * Return the lower or the upper column of a word, divided by 2^shift. A negative lower lane borrows 1 from the upper lane;
 * ids_upper adds it back.
 */
static __always_inline __s64 ids_lower(__s64 sum, int shift)
{
	return (__s64)((__u64)sum << IDS_LANE) >> (IDS_LANE + shift);
}

static __always_inline __s64 ids_upper(__s64 sum, int shift)
{
	return (sum + (1LL << (IDS_LANE - 1))) >> (IDS_LANE + shift);
}

/*
 * One hidden layer, four words at a time: an activation is loaded once for four, and the four sums stay in BPF's ten
 * registers. The barrier keeps the order; without it clang loads ahead and spills the sums to the stack. In a wide layer
 * the groups of four words are a loop, because a jump over all of it unrolled would not fit into BPF's 16 bits.
 */
static __always_inline void ids_hidden(const struct ids_nn_fused *m, int l, int n_in, int n_out, const __s64 *a,
				       __s64 *out)
{
	const __s64 start = IDS_HALF << IDS_LANE | IDS_HALF;
	int g, i, k;

#if IDS_HIDDEN > 32
#pragma clang loop unroll(disable)
#else
#pragma clang loop unroll(full)
#endif
	for (g = 0; g < IDS_IN_EIGHTS(n_out) / IDS_LANES; g += 4) {
		__s64 sum[4] = { start, start, start, start };

#pragma clang loop unroll(full)
		for (k = 0; k < n_in; k++) {
			const __s64 *w = &m->w[l][k][g], ak = a[k];
			sum[0] += ak * w[0];
			sum[1] += ak * w[1];
			sum[2] += ak * w[2];
			sum[3] += ak * w[3];
			asm volatile("" : "+r"(sum[0]), "+r"(sum[1]), "+r"(sum[2]), "+r"(sum[3]));
			IDS_IN_ORDER(sum[0]);
		}
#pragma clang loop unroll(full)
		for (i = 0; i < 4; i++) {
			out[2 * (g + i)] = ids_relu(ids_lower(sum[i], IDS_SHIFT));
			out[2 * (g + i) + 1] = ids_relu(ids_upper(sum[i], IDS_SHIFT));
		}
	}
}

/* Features (12) in Q16 -> logits (n_classes), all in the same unit. Return the class. */
static __always_inline int ids_nn_fused_classify(const struct ids_nn_fused *m, int n_classes, const __s64 *x,
						 struct ids_nn_fused_scratch *t, __s64 *logits)
{
	int i, g;

#pragma clang loop unroll(full)
	for (i = 0; i < IDS_N_FEATURES; i++)
		t->a[0][i] = (ids_clamp(x[i] - m->min[i], m->range[i]) * m->mul[i]) >> m->shift[i];
#define IDS_STEP(l, n_in, n_out) ids_hidden(m, l, n_in, n_out, t->a[(l) % 2], t->a[((l) + 1) % 2]);
	IDS_EACH_HIDDEN(IDS_STEP)
#undef IDS_STEP
#pragma clang loop unroll(full)
	for (g = 0; g < (n_classes + 1) / IDS_LANES; g++) {
		__s64 sum = ids_swar(m, IDS_LAYERS - 1, IDS_LAST_WIDTH, g, t->a[IDS_HIDDEN_LAYERS % 2]);

		logits[2 * g] = ids_lower(sum, 0);
		if (2 * g + 1 < n_classes)
			logits[2 * g + 1] = ids_upper(sum, 0);
	}
	return ids_argmax(n_classes, logits);
}

#endif
