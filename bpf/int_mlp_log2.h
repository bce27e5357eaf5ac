/* Read by classifiers.h and user/receiver.h: the net in arithmetic "fused", whose intervals are logarithms. */
/*
 * Intervals span from microseconds to minutes. Min-max normalisation makes nearly all of them 0, so the net gets their
 * logarithms. The NumPy twin is ids_repro/models/int_mlp_log2.py.
 */
#ifndef IDS_INT_MLP_LOG2_H
#define IDS_INT_MLP_LOG2_H

#include "int_mlp_fused.h"

#define ids_nn_log2 ids_nn_fused /* the same parameters */

struct ids_nn_log2_scratch {
	struct ids_nn_fused_scratch fused;
	__s64 x[IDS_X_SIZE];
};

/* As ids_nn_fused_classify. */
static __always_inline int ids_nn_log2_classify(const struct ids_nn_fused *m, int n_classes, const __s64 *x,
						struct ids_nn_log2_scratch *t, __s64 *logits)
{
	int i;

#pragma clang loop unroll(full)
	for (i = 0; i < IDS_N_FEATURES; i++)
		t->x[i] = i == IDS_IAT || i == IDS_IAT_MEAN || i == IDS_IAT_DEV ? ids_log2(x[i]) : x[i];
	return ids_nn_fused_classify(m, n_classes, t->x, &t->fused, logits);
}

#endif
