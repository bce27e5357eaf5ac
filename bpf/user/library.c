/* Python calls these functions through ctypes (ids_repro/native/library.py). The shared headers do the arithmetic. */
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "float_mlp.h"
#include "../flow.h"
#include "../int_mlp.h"
#include "../int_mlp_fused.h"
#include "../int_tree.h"
#include "link_layer.h"
#include "table.h"

/* Tests compare these sizes with the layouts in Python. */
__u64 ids_sizeof_row(void)
{
	return sizeof(struct ids_row);
}

__u64 ids_sizeof_mlp_q16(void)
{
	return sizeof(struct ids_mlp_q16);
}

__u64 ids_sizeof_mlp_fused(void)
{
	return sizeof(struct ids_mlp_fused);
}

__u64 ids_sizeof_mlp_float(void)
{
	return sizeof(struct ids_mlp_float);
}

__u64 ids_sizeof_tree(void)
{
	return sizeof(struct ids_tree);
}

/* Parse n Ethernet frames, one every `stride` bytes, and write the packet and the reason of each. */
void ids_parse_frames(const __u8 *frames, __u64 stride, const __u32 *sizes, __u64 n, struct ids_row *rows,
		      __s8 *reasons)
{
	__u64 i;

	for (i = 0; i < n; i++)
		reasons[i] = ids_parse(frames + i * stride, frames + i * stride + sizes[i], 0, &rows[i].packet);
}

/* Packets in order of arrival -> features (n, 12) in Q16 and flow numbers (n). Return 0, or -1 if memory ran out. */
int ids_extract(const struct ids_row *rows, __u64 n, __s64 *x, __u64 *flow)
{
	struct ids_table table;
	__u64 i;
	int failed = ids_table_init(&table, 1 << 16);

	for (i = 0; i < n && !failed; i++) {
		__s64 id = ids_table_update(&table, &rows[i].packet, rows[i].ts_ns, x + i * IDS_N_FEATURES);

		failed = id < 0;
		flow[i] = id;
	}
	free(table.slots);
	return failed ? -1 : 0;
}

/* Features (n, 12) in Q16 -> logits (n, n_classes) in Q16 and classes (n). n_classes is 2 or 7. */
void ids_predict_mlp_q16(const struct ids_mlp_q16 *m, int n_classes, const __s64 *x, __u64 n, __s64 *logits,
			 __u8 *verdict)
{
	struct ids_mlp_scratch scratch;
	__u64 i;

	for (i = 0; i < n; i++) {
		const __s64 *xi = x + i * IDS_N_FEATURES;
		__s64 *li = logits + i * n_classes;

		/* n_classes is a constant in each call, so that the compiler unrolls as for the kernel */
		verdict[i] = n_classes == 2 ? ids_mlp_q16(m, 2, xi, &scratch, li) : ids_mlp_q16(m, 7, xi, &scratch, li);
	}
}

/* The same in arithmetic fused; the logits have 32 fractional bits. */
void ids_predict_mlp_fused(const struct ids_mlp_fused *m, int n_classes, const __s64 *x, __u64 n, __s64 *logits,
			   __u8 *verdict)
{
	struct ids_fused_scratch scratch;
	__u64 i;

	for (i = 0; i < n; i++) {
		const __s64 *xi = x + i * IDS_N_FEATURES;
		__s64 *li = logits + i * n_classes;

		verdict[i] =
			n_classes == 2 ? ids_mlp_fused(m, 2, xi, &scratch, li) : ids_mlp_fused(m, 7, xi, &scratch, li);
	}
}

/* The same in float32, without the logits. */
void ids_predict_mlp_float(const struct ids_mlp_float *m, int n_classes, const __s64 *x, __u64 n, __u8 *verdict)
{
	float logits[IDS_HIDDEN];
	__u64 i;

	for (i = 0; i < n; i++)
		verdict[i] = n_classes == 2 ? ids_mlp_float(m, 2, x + i * IDS_N_FEATURES, logits) :
					      ids_mlp_float(m, 7, x + i * IDS_N_FEATURES, logits);
}

/* Features (n, 12) in Q16 -> classes (n). */
void ids_predict_tree(const struct ids_tree *t, const __s64 *x, __u64 n, __u8 *verdict)
{
	__u64 i;

	for (i = 0; i < n; i++) {
		__s64 padded[IDS_X_SIZE] = { 0 };

		memcpy(padded, x + i * IDS_N_FEATURES, IDS_N_FEATURES * sizeof(*x));
		verdict[i] = ids_tree_walk(t, padded);
	}
}

/*
 * Run BPF_PROG_TEST_RUN in place on each of n packets. This loop costs a tenth of the same loop in Python.
 * Return how many runs succeeded. If that is fewer than n, errno says why.
 */
__u64 ids_test_runs(int program, __u8 *packets, __u64 stride, const __u32 *sizes, __u64 n)
{
	union bpf_attr attr;
	__u64 i;

	for (i = 0; i < n; i++) {
		memset(&attr, 0, sizeof(attr));
		attr.test.prog_fd = program;
		attr.test.repeat = 1;
		attr.test.data_in = attr.test.data_out = (__u64)(unsigned long)(packets + i * stride);
		attr.test.data_size_in = attr.test.data_size_out = sizes[i];
		if (syscall(__NR_bpf, BPF_PROG_TEST_RUN, &attr, sizeof(attr)))
			break;
	}
	return i;
}
