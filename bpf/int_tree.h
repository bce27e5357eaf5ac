/* Read by classifiers.h: the decision tree in integers. */
/*
 * The tree is an array of nodes, each one word, so the largest has 32 KB. The nodes stand in the order of a walk that
 * goes to the left first: the left child of node i is node i + 1.
 * The NumPy twin is ids_repro/models/int_tree.py.
 */
#ifndef IDS_INT_TREE_H
#define IDS_INT_TREE_H

#include "int_mlp.h"

#define IDS_TREE_DEPTH 16   /* steps of the longest walk */
#define IDS_TREE_NODES 4096 /* a power of two, so that the verifier knows a masked index to be in bounds */
#define IDS_TREE_LEAF 15    /* stands where an inner node has its feature */

/*
 * An inner node: threshold in Q16 << 16 | feature << 12 | right child. The walk goes left if x <= threshold.
 * A leaf:        score << 16 | IDS_TREE_LEAF << 12 | class
 * In the tree of a detector the class is one of Table III's seven: that of most attacks in the leaf.
 */
struct ids_dt {
	__s64 flag_at; /* a detector flags a flow at a packet whose score is at least this */
	__s64 node[IDS_TREE_NODES];
};

struct ids_dt_scratch { /* a walk keeps nothing */
	__u8 unused;
};

/* Walk from the root to a leaf. A branch per step is faster than a select: the CPU need not wait for the node. */
static __always_inline __s64 ids_tree_walk(const struct ids_dt *t, const __s64 *x)
{
	__s64 node = t->node[0];
	__u32 i = 0, feature;
	int level;

#pragma clang loop unroll(full)
	for (level = 0; level < IDS_TREE_DEPTH; level++) {
		feature = node >> 12 & (IDS_X_SIZE - 1);
		if (feature == IDS_TREE_LEAF)
			break;
		i = (x[feature] > node >> 16 ? node : i + 1) & (IDS_TREE_NODES - 1);
		node = t->node[i];
	}
	return node;
}

/* Features (16, of which 12 are used) in Q16 -> class. Logits: with two classes 0 and the leaf's score, else zeros. */
static __always_inline int ids_dt_classify(const struct ids_dt *t, int n_classes, const __s64 *x,
					   struct ids_dt_scratch *scratch, __s64 *logits)
{
	__s64 leaf = ids_tree_walk(t, x);
	int i;

	(void)scratch;
#pragma clang loop unroll(full)
	for (i = 0; i < n_classes; i++)
		logits[i] = 0;
	if (n_classes == 2)
		logits[1] = leaf >> 16;
	return leaf & (IDS_MAX_CLASSES - 1);
}

#endif
