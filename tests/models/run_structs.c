/*
 * Run classifiers on the structs in the files that are the arguments (name, number of classes, file), with the largest,
 * the smallest and random features, so that the sanitizers see an overflow. test_hostile_models.py builds and runs it.
 */
#include <stdio.h>
#include "user/library.c"

#define VECTORS 64
#define FEATURE_END (1LL << 47) /* no feature is negative, or as large as this */

static __s64 feature(int vector)
{
	static __u64 state = 1;

	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	if (vector == 0)
		return 0;
	if (vector == 1)
		return FEATURE_END - 1;
	if (vector % 2)
		return state >> 63 ? FEATURE_END - 1 : 0;
	return (__s64)(state >> 17 >> (state >> 5 & 31));
}

int main(int argc, char **argv)
{
	static __s64 x[VECTORS * IDS_N_FEATURES], logits[VECTORS * IDS_MAX_CLASSES];
	static __u8 classes[VECTORS];

	for (int k = 0; k < VECTORS * IDS_N_FEATURES; k++)
		x[k] = feature(k / IDS_N_FEATURES);
	for (int i = 1; i + 2 < argc; i += 3) {
		int n_classes = atoi(argv[i + 1]), known = 0;
		FILE *file = fopen(argv[i + 2], "rb");

#define RUN(name)                                                                                                      \
	if (!strcmp(argv[i], #name)) {                                                                                 \
		struct ids_##name *m = malloc(sizeof(*m));                                                             \
                                                                                                                       \
		known = fread(m, sizeof(*m), 1, file) == 1;                                                            \
		ids_predict_##name(m, n_classes, x, VECTORS, logits, classes);                                         \
		free(m);                                                                                               \
	}
		IDS_CLASSIFIERS(RUN)
		fclose(file);
		for (int v = 0; v < VECTORS; v++)
			known &= classes[v] < IDS_MAX_CLASSES;
		if (known)
			puts(argv[i]);
	}
	return 0;
}
