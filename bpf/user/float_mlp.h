/* Read by library.c: the MLP in float32. Its Python twin: ids_repro/models/float_mlp.py. */
/* The integer nets are timed against this one, so that both are compiled C. */
#ifndef IDS_FLOAT_MLP_H
#define IDS_FLOAT_MLP_H

#include "../int_mlp.h"

struct ids_nn_float {
	__s64 min[IDS_X_SIZE];			   /* Q16 */
	float scale[IDS_X_SIZE];		   /* 1 / (max - min), both in Q16 */
	float w[IDS_LAYERS][IDS_ROWS][IDS_HIDDEN]; /* w[l][row k][column j] */
};

struct ids_nn_float_scratch {
	float logits[IDS_HIDDEN];
};

/* Features (12) in Q16 -> class. The logits stay in t: they are no integers. */
static inline int ids_nn_float_classify(const struct ids_nn_float *m, int n_classes, const __s64 *x,
					struct ids_nn_float_scratch *t, __s64 *integers)
{
	float *logits = t->logits, a[IDS_ROWS], sum[IDS_HIDDEN];
	int j, k, l, best = 0;

	(void)integers;
	for (k = 0; k < IDS_N_FEATURES; k++)
		a[k] = (float)(x[k] - m->min[k]) * m->scale[k];
	for (l = 0; l < IDS_LAYERS; l++) {
		int n_in = l ? IDS_WIDTH(l - 1) : IDS_N_FEATURES,
		    n_out = l == IDS_LAYERS - 1 ? n_classes : IDS_WIDTH(l);

		for (j = 0; j < n_out; j++)
			sum[j] = 0;
		for (k = 0; k < n_in; k++) /* rows are the outer loop, so that the inner loop vectorises */
			for (j = 0; j < n_out; j++)
				sum[j] += a[k] * m->w[l][k][j];
		for (j = 0; j < n_out; j++)
			a[j] = sum[j] > 0 ? sum[j] : 0;
	}
	for (j = 0; j < n_classes; j++) {
		logits[j] = sum[j]; /* the last layer has no ReLU */
		if (logits[j] > logits[best])
			best = j;
	}
	return best;
}

#endif
