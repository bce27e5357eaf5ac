/* Read by classifiers.h, int_mlp_fused.h, int_tree.h and user/float_mlp.h: the net in arithmetic "q16". */
/*
 * The MLP in the paper's integer arithmetic (Sec. IV-C, steps k4 to k6): int64 with 16 fractional bits. net_shape.h has its
 * shape, 12-16-16-{2,7} in the paper.
 * The NumPy twin, ids_repro/models/int_mlp.py, defines every bit.
 *
 * Differs: two constants have more than 16 fractional bits, because 16 would make them zero or too inaccurate.
 * They are s = 1/(max - min), which is below 2^-16 for an interval, and 1/(sigma sigma_weight), which would be an
 * integer between 2 and 65 in Q16.
 */
#ifndef IDS_INT_MLP_H
#define IDS_INT_MLP_H

#include <linux/stddef.h>

#include "net_shape.h"

#define IDS_MAX_CLASSES 8 /* 2 or 7 are used */
#define IDS_S_BITS 46
#define IDS_DEQUANT_BITS 32
#define IDS_INT8_MAX 127

/*
 * How to read a parameter, and how to keep an activation between two layers. In the paper's layout each of them is its
 * own map element; that variant defines these macros before it includes this header.
 */
#ifndef IDS_PARAM
#define IDS_PARAM(m, member) ((m)->member)
#define IDS_LOAD(t, l, k) ((t)->a[k])
#define IDS_STORE(t, k, value) ((t)->a[k] = (value))
#endif

struct ids_nn_q16 {
	__s64 min[IDS_X_SIZE];			  /* Q16 */
	__s64 range[IDS_X_SIZE];		  /* max - min, Q16, below 2^47 */
	__s64 s[IDS_X_SIZE];			  /* 1 / (max - min), 46 fractional bits */
	__s64 sigma[4];				  /* scale factor of each layer's activations, Eq. (1), Q16 */
	__s64 dequant[IDS_LAYERS][IDS_HIDDEN];	  /* 1 / (sigma sigma_weight) of each column, 32 fractional bits */
	__s8 w[IDS_LAYERS][IDS_HIDDEN][IDS_ROWS]; /* w[l][column j][row k] = w_q,k,j */
};

struct ids_nn_q16_scratch {
	__s64 a[IDS_ROWS]; /* activations, Q16 */
	__s64 q[IDS_ROWS]; /* their int8 values */
};

/* Step k4, min-max normalisation. The clip to [-1, 1] changes no result, since Eq. (1) later clips to alpha <= 1. */
static __always_inline void ids_normalise_q16(const struct ids_nn_q16 *m, const __s64 *x, __s64 *a)
{
	int i;

#pragma clang loop unroll(full)
	for (i = 0; i < IDS_N_FEATURES; i++)
		a[i] = ids_round_shift(
			ids_clip(x[i] - IDS_PARAM(m, min[i]), IDS_PARAM(m, range[i])) * IDS_PARAM(m, s[i]), IDS_S_BITS);
}

/* Steps k5-1 to k5-4 of layer l: quantise, multiply, dequantise, ReLU. The last layer has no ReLU: it gives logits. */
static __always_inline void ids_layer_q16(const struct ids_nn_q16 *m, int l, int n_in, int n_out,
					  struct ids_nn_q16_scratch *t, __s64 *logits)
{
	__s64 sigma = IDS_PARAM(m, sigma[l]);
	int j, k;

#pragma clang loop unroll(full)
	for (k = 0; k < n_in; k++) {
		t->q[k] = ids_clip(ids_round_shift(IDS_LOAD(t, l, k) * sigma, 2 * IDS_Q), IDS_INT8_MAX);
		IDS_IN_ORDER(t->q[k]);
	}
	for (j = 0; j < n_out; j++) {
		__s64 sum = 0, y;

#pragma clang loop unroll(full)
		for (k = 0; k < n_in; k++) {
			sum += t->q[k] * IDS_PARAM(m, w[l][j][k]);
			IDS_IN_ORDER(sum);
		}
		y = ids_round_shift(sum * IDS_PARAM(m, dequant[l][j]), IDS_DEQUANT_BITS - IDS_Q);
		if (logits)
			logits[j] = y;
		else
			IDS_STORE(t, j, ids_relu(y));
	}
}

/* Step k6: return the index of the largest logit; of equal ones, the first. */
static __always_inline int ids_argmax(int n_classes, const __s64 *logits)
{
	int j, best = 0;

	for (j = 1; j < n_classes; j++)
		if (logits[j] > logits[best & (IDS_MAX_CLASSES - 1)])
			best = j;
	return best;
}

/* Steps k4 to k6: features (12) in Q16 -> logits (n_classes) in Q16. Return the class. */
static __always_inline int ids_nn_q16_classify(const struct ids_nn_q16 *m, int n_classes, const __s64 *x,
					       struct ids_nn_q16_scratch *t, __s64 *logits)
{
	ids_normalise_q16(m, x, t->a);
#define IDS_STEP(l, n_in, n_out) ids_layer_q16(m, l, n_in, n_out, t, NULL);
	IDS_EACH_HIDDEN(IDS_STEP)
#undef IDS_STEP
	ids_layer_q16(m, IDS_LAYERS - 1, IDS_LAST_WIDTH, n_classes, t, logits);
	return ids_argmax(n_classes, logits);
}

#endif
