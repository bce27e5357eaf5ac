/*
 * Read the capture files that are the arguments, in pieces of changing lengths, with every option. Each piece is copied
 * to memory of exactly its length, so that the sanitizers see a read beyond its end. test_packets.py builds and runs it.
 */
#include <stdio.h>
#include "user/capture.c"
#include "user/sampler.c"

int main(int argc, char **argv)
{
	static __u8 all[1 << 20];
	static struct ids_row rows[64], sorted[1 << 16];
	static struct ids_vector vectors[1 << 16];

	for (int i = 1; i < argc; i++) {
		FILE *file = fopen(argv[i], "rb");
		__u64 size = fread(all, 1, sizeof(all), file), at = 0, piece = 1 + i % 97, n, counts[16];
		void *capture = ids_capture_new(i % 2 ? 10000000 : 0, i % 5), *order = ids_order_new(1000000);
		void *sampler = ids_sampler_new(i % 3 == 0);
		int status = 0;

		fclose(file);
		while (at < size && !status) {
			__u64 given = piece < size - at ? piece : size - at, used;
			__u8 *exact = malloc(given);
			__s64 m;

			memcpy(exact, all + at, given);
			used = ids_capture_read(capture, exact, given, rows, 64, &n, &status);
			free(exact);
			if (!used && given == size - at)
				break;
			piece = i % 4 ? (used ? 1 : piece + 1) : used ? 1 + (piece * 31 + i) % 499 : 2 * piece;
			at += used;
			m = ids_order_pass(order, rows, n, 0, sorted);
			ids_sampler_push(sampler, sorted, NULL, m);
		}
		ids_sampler_push(sampler, sorted, NULL, ids_order_pass(order, rows, 0, 1, sorted));
		ids_sampler_end(sampler, ~0ULL);
		ids_sampler_counts(sampler, counts);
		ids_sampler_take(sampler, vectors, counts[0]);
		ids_capture_free(capture);
		ids_order_free(order);
		ids_sampler_free(sampler);
	}
	return 0;
}
