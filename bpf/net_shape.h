/* Read by int_mlp.h: how many hidden layers the net has, and how wide they are. */
/*
 * The paper's net is 12-16-16-{2,7}. -D flags make another one (net_flags in ids_repro/native/layouts.py).
 * A struct has the same room for each layer, so entries that a layer does not use are zero.
 */
#ifndef IDS_NET_SHAPE_H
#define IDS_NET_SHAPE_H

#include "flow.h"

#ifndef IDS_HIDDEN_LAYERS
#define IDS_HIDDEN_LAYERS 2 /* 1 to 3 */
#define IDS_WIDTH_1 16	    /* columns of the first hidden layer, 8 to 64; of a layer that is not there, 16 */
#define IDS_WIDTH_2 16
#define IDS_WIDTH_3 16
#define IDS_HIDDEN 16 /* room for the columns of a layer: the widest hidden layer, in eights */
#endif

#define IDS_LAYERS (IDS_HIDDEN_LAYERS + 1)
#define IDS_ROWS (IDS_HIDDEN > IDS_X_SIZE ? IDS_HIDDEN : IDS_X_SIZE) /* room for the rows: the inputs of a layer */
#define IDS_WIDTH(l) ((l) == 0 ? IDS_WIDTH_1 : (l) == 1 ? IDS_WIDTH_2 : IDS_WIDTH_3) /* columns of a hidden layer */
#define IDS_IN_EIGHTS(n) (((n) + 7) / 8 * 8)

/*
 * In a wide layer, finish `value` before the next activation is read. Otherwise the compiler reads all of them first and
 * spills them to the stack, which has 512 bytes.
 */
#if IDS_HIDDEN > 16
#define IDS_IN_ORDER(value) asm volatile("" : "+r"(value) : : "memory")
#else
#define IDS_IN_ORDER(value) (void)(value)
#endif

/* The hidden layers in their order, as DO(layer, its inputs, its columns), and the inputs of the layer after them. */
#define IDS_LAYER_0(DO) DO(0, IDS_N_FEATURES, IDS_WIDTH_1)
#define IDS_LAYER_1(DO) DO(1, IDS_WIDTH_1, IDS_WIDTH_2)
#define IDS_LAYER_2(DO) DO(2, IDS_WIDTH_2, IDS_WIDTH_3)
#if IDS_HIDDEN_LAYERS == 1
#define IDS_EACH_HIDDEN(DO) IDS_LAYER_0(DO)
#define IDS_LAST_WIDTH IDS_WIDTH_1
#elif IDS_HIDDEN_LAYERS == 2
#define IDS_EACH_HIDDEN(DO) IDS_LAYER_0(DO) IDS_LAYER_1(DO)
#define IDS_LAST_WIDTH IDS_WIDTH_2
#else
#define IDS_EACH_HIDDEN(DO) IDS_LAYER_0(DO) IDS_LAYER_1(DO) IDS_LAYER_2(DO)
#define IDS_LAST_WIDTH IDS_WIDTH_3
#endif

#endif
