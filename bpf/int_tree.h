/* Read by classifiers.h: the decision tree in integers. */
/*
 * The tree of depth 5 is stored as a complete binary tree, so a walk is always five steps and needs no pointers.
 * The NumPy twin is ids_repro/models/int_tree.py.
 */
#ifndef IDS_INT_TREE_H
#define IDS_INT_TREE_H

#include "flow.h"

#define IDS_TREE_DEPTH 5
#define IDS_TREE_LEAVES (1 << IDS_TREE_DEPTH)

/*
 * Node 1 is the root. The walk goes from node i to node 2i if x <= threshold, otherwise to node 2i + 1. A leaf above
 * the last level is continued down to it by nodes with threshold INT64_MAX, and all leaves below have the same class.
 */
struct ids_dt {
	__s64 threshold[IDS_TREE_LEAVES]; /* Q16; entry 0 is unused */
	__u8 feature[IDS_TREE_LEAVES];
	__u8 leaf[IDS_TREE_LEAVES]; /* class of node 32 + i */
};

static __always_inline int ids_tree_walk(const struct ids_dt *t, const __s64 *x)
{
	__u32 i = 1;
	int level;

#pragma clang loop unroll(full)
	for (level = 0; level < IDS_TREE_DEPTH; level++) {
		__u32 at = i & (IDS_TREE_LEAVES - 1);

		i = 2 * at + (x[t->feature[at] & (IDS_X_SIZE - 1)] > t->threshold[at]);
	}
	return t->leaf[i & (IDS_TREE_LEAVES - 1)];
}

struct ids_dt_scratch { /* a walk keeps nothing */
	__u8 unused;
};

/* Features (16, of which 12 are used) in Q16 -> class. A tree has no logits. */
static __always_inline int ids_dt_classify(const struct ids_dt *t, int n_classes, const __s64 *x,
					   struct ids_dt_scratch *scratch, __s64 *logits)
{
	(void)n_classes, (void)scratch, (void)logits;
	return ids_tree_walk(t, x);
}

#endif
