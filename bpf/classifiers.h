/* Read by ids.bpf.c, ids.h and user/library.c: the list of integer classifiers. */
/*
 * To add one, write its header, include it here and add its name to IDS_CLASSIFIERS. A classifier NAME defines
 *   struct ids_NAME          its parameters, which Python fills (ids_repro/native/layouts.py)
 *   struct ids_NAME_scratch  what it keeps while it classifies a vector; the kernel program has it in a per-CPU map
 *   int ids_NAME_classify(const struct ids_NAME *, int n_classes, const __s64 *x, struct ids_NAME_scratch *, __s64 *logits)
 * The x of a call has IDS_X_SIZE entries, so that a masked index is in bounds. IDS_OF(NAME) pastes such a name.
 */
#ifndef IDS_CLASSIFIERS_H
#define IDS_CLASSIFIERS_H

#include "int_mlp.h"
#include "int_mlp_fused.h"
#include "int_mlp_log2.h"
#include "int_tree.h"

#define IDS_CLASSIFIERS(DO) DO(nn_q16) DO(nn_fused) DO(nn_log2) DO(dt)

#define IDS_PASTE(a, b, c) a##b##c
#define IDS_OF(name, rest) IDS_PASTE(ids_, name, rest)

#endif
