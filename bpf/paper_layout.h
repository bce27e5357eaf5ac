/* Read by ids.bpf.c: how int_mlp.h reads and writes in the paper's layout, in which all it works on are map elements. */
/*
 * Activations are in a map, because only maps survive from one program to the next (Table I). As in the released
 * program, a look-up reads one and an update writes one. The functions are in ids.bpf.c, where the maps are.
 */
#ifndef IDS_PAPER_LAYOUT_H
#define IDS_PAPER_LAYOUT_H

#ifdef IDS_PAPER

static __always_inline __s64 ids_parameter(__u32 at);
static __always_inline __s64 ids_activation(__u32 k);
static __always_inline void ids_keep(__u32 k, __s64 value);

#define IDS_PARAM(m, member) ids_parameter(__builtin_offsetof(struct ids_nn_q16, member))
#define IDS_LOAD(t, l, k) ((l) ? ids_activation(k) : (t)->a[k])
#define IDS_STORE(t, k, value) ids_keep(k, value)
#endif

#endif
