/* Python calls these functions through ctypes (ids_repro/native/library.py). The shared headers do the arithmetic. */
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "float_mlp.h"
#include "../classifiers.h"
#include "../flow.h"
#include "fixed_table.h"
#include "link_layer.h"
#include "table.h"

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

/*
 * The same with a table of so many flows, a power of two, as the kernel has it. first (n) says which packets started a
 * flow; found (IDS_N_FOUND) counts what became of the packets' flows.
 */
int ids_extract_fixed(const struct ids_row *rows, __u64 n, __u64 flows, __u64 secret, __s64 *x, __u8 *first,
		      __u64 *found)
{
	struct ids_fixed_table table;
	__u64 i;
	int failed = ids_fixed_init(&table, flows, secret);

	for (i = 0; i < n && !failed; i++)
		first[i] = ids_fixed_update(&table, &rows[i].packet, rows[i].ts_ns, x + i * IDS_N_FEATURES);
	memcpy(found, table.found, sizeof(table.found));
	ids_fixed_free(&table);
	return failed;
}

/*
 * For each classifier: features (n, 12) in Q16 -> classes (n), with the logits (n, n_classes) of those that have integer
 * ones. n_classes is 2 or 7, and a constant in each call, so that the compiler unrolls as for the kernel.
 */
#define IDS_PREDICT(name)                                                                                              \
	void ids_predict_##name(const struct ids_##name *m, int n_classes, const __s64 *x, __u64 n, __s64 *logits,     \
				__u8 *class)                                                                           \
	{                                                                                                              \
		struct ids_##name##_scratch scratch;                                                                   \
		__s64 padded[IDS_X_SIZE] = { 0 };                                                                      \
		__u64 i;                                                                                               \
                                                                                                                       \
		for (i = 0; i < n; i++) {                                                                              \
			__s64 *li = logits + i * n_classes;                                                            \
                                                                                                                       \
			memcpy(padded, x + i * IDS_N_FEATURES, IDS_N_FEATURES * sizeof(*x));                           \
			class[i] = n_classes == 2 ? ids_##name##_classify(m, 2, padded, &scratch, li) :                \
						    ids_##name##_classify(m, 7, padded, &scratch, li);                 \
		}                                                                                                      \
	}

IDS_CLASSIFIERS(IDS_PREDICT)
IDS_PREDICT(nn_float)

/*
 * Run BPF_PROG_TEST_RUN in place on each of n packets, repeats[i] times on the same bytes. This loop costs a tenth of the
 * same loop in Python.
 * Return how many runs succeeded. If that is fewer than n, errno says why.
 */
__u64 ids_test_runs(int program, __u8 *packets, __u64 stride, const __u32 *sizes, const __u32 *repeats, __u64 n)
{
	union bpf_attr attr;
	__u64 i;

	for (i = 0; i < n; i++) {
		memset(&attr, 0, sizeof(attr));
		attr.test.prog_fd = program;
		attr.test.repeat = repeats[i];
		attr.test.data_in = attr.test.data_out = (__u64)(unsigned long)(packets + i * stride);
		attr.test.data_size_in = attr.test.data_size_out = sizes[i];
		if (syscall(__NR_bpf, BPF_PROG_TEST_RUN, &attr, sizeof(attr)))
			break;
	}
	return i;
}
