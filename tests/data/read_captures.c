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
	static struct ids_row rows[64];
	static struct ids_vector vectors[1 << 16];

	for (int i = 1; i < argc; i++) {
		FILE *file = fopen(argv[i], "rb");
		__u64 size = fread(all, 1, sizeof(all), file), at = 0, piece = 1 + i % 97, n, counts[64];
		void *capture = ids_capture_new(i % 2 ? 10000000 : 0, i % 7 ? 1000000 : 0, i % 3);
		void *sampler = ids_sampler_new(i % 5 == 0, i % 3 == 2);
		int status = 0;

		fclose(file);
		while (at < size && !status) {
			__u64 given = piece < size - at ? piece : size - at, used;
			__u8 *exact = malloc(given);

			memcpy(exact, all + at, given);
			used = ids_capture_read(capture, exact, given, rows, 64, &n, &status);
			free(exact);
			ids_sampler_push(sampler, rows, NULL, n);
			if (!used && !n && given == size - at)
				break;
			piece = i % 4 ? (used ? 1 : piece + 1) : used ? 1 + (piece * 31 + i) % 499 : 2 * piece;
			at += used;
		}
		while ((n = ids_capture_end(capture, rows, 64)) > 0)
			ids_sampler_push(sampler, rows, NULL, n);
		ids_capture_counts(capture, counts);
		ids_sampler_end(sampler, ~0ULL);
		ids_sampler_counts(sampler, counts);
		ids_sampler_take(sampler, vectors, counts[0]);
		ids_capture_free(capture);
		ids_sampler_free(sampler);
	}
	return 0;
}
