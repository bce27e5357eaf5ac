/* Read by afxdp.c, dpdk.c and rawsock.c: the model, the classification of a packet, and the report. */
/*
 * A receiver prints "ready" when it has started, and then takes packets until SIGTERM. On SIGUSR1 it waits until no
 * packet is left and prints its counts since the start as one line of JSON. It does the same at the end. If packets go
 * on coming, from whomever, it does not wait longer than IDS_LATEST_NS.
 */
#ifndef IDS_RECEIVER_H
#define IDS_RECEIVER_H

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#include "../flow.h"
#include "../int_mlp_log2.h"
#include "fixed_table.h"

#define IDS_RECEIVER_FLOWS (1 << 16) /* as many as the kernel program has by default */
#define IDS_WAIT_US 5000	     /* how long a receiver waits for a packet before it checks for signals */
#define IDS_EMPTY 1000 /* polls in a row without a packet, after which one that never sleeps checks for them */
#define IDS_LATEST_NS 2000000000ULL /* after which a signal is heeded though packets go on coming */

struct ids_classifier {
	struct ids_fixed_table table;
	struct ids_nn_log2_scratch scratch;
	__u64 classified, verdict[IDS_MAX_CLASSES];
};

struct ids_totals {
	__u64 received, unparsed, socket_drops, queue_drops;
};

static struct ids_nn_fused ids_params;
static int ids_classes, ids_detector; /* a detector says of each packet whether its flow is flagged */
static const char *ids_name;
static volatile sig_atomic_t ids_stop, ids_asked;
static volatile __u64 ids_told_ns; /* when the last signal came */

static inline __u64 ids_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static inline int ids_fail(const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", ids_name, what, strerror(errno));
	return 1;
}

static inline void ids_on_signal(int signal)
{
	ids_told_ns = ids_clock_ns();
	if (signal == SIGTERM)
		ids_stop = 1;
	else
		ids_asked = 1;
}

/* Whether a signal has waited for the last packet for so long that it is heeded now. */
static inline int ids_has_waited(void)
{
	return (ids_stop || ids_asked) && ids_clock_ns() - ids_told_ns > IDS_LATEST_NS;
}

/*
 * Read the model and install the signal handlers. The task is the number of classes of nn_fused, or "detector": then the
 * model is nn_log2. Return 0, or -1 with errno set.
 */
static inline int ids_begin(const char *name, const char *task, const char *path)
{
	struct sigaction action = { .sa_handler = ids_on_signal };
	FILE *file = fopen(path, "rb");
	size_t n;

	ids_name = name;
	ids_detector = !strcmp(task, "detector");
	ids_classes = ids_detector ? 2 : atoi(task);
	if (!file)
		return -1;
	n = fread(&ids_params, sizeof(ids_params), 1, file);
	fclose(file);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGUSR1, &action, NULL);
	errno = n ? 0 : EINVAL;
	return n ? 0 : -1;
}

/* Draw a number that nobody outside can know, for the flow table's hash. */
static inline __u64 ids_secret(void)
{
	__u64 secret = 0;

	return getrandom(&secret, sizeof(secret), 0) == sizeof(secret) ? secret : ids_clock_ns();
}

static inline void ids_ready(void)
{
	puts("ready");
	fflush(stdout);
}

static inline void ids_classify_packet(struct ids_classifier *c, const struct ids_packet *p, __u64 now_ns)
{
	__s64 x[IDS_X_SIZE], logits[IDS_MAX_CLASSES];
	int class;

	ids_fixed_update(&c->table, p, now_ns, x);
	if (ids_detector) {
		ids_nn_log2_classify(&ids_params, 2, x, &c->scratch, logits);
		class = ids_fixed_flag(&c->table, logits[1] - logits[0] >= ids_params.flag_at);
	} else if (ids_classes == 2)
		class = ids_nn_fused_classify(&ids_params, 2, x, &c->scratch.fused, logits);
	else
		class = ids_nn_fused_classify(&ids_params, 7, x, &c->scratch.fused, logits);
	c->verdict[class]++;
	c->classified++;
}

/* Count a frame, parse it and classify its packet. */
static inline void ids_take_frame(struct ids_totals *t, struct ids_classifier *c, const __u8 *frame, __u32 len,
				  __u64 now_ns)
{
	struct ids_packet packet;

	t->received++;
	if (ids_parse(frame, frame + len, 0, &packet) == IDS_OK)
		ids_classify_packet(c, &packet, now_ns);
	else
		t->unparsed++;
}

/* Add the counts of c to those of sum. */
static inline void ids_add_counts(struct ids_classifier *sum, const struct ids_classifier *c)
{
	int j;

	sum->classified += c->classified;
	for (j = 0; j < IDS_MAX_CLASSES; j++)
		sum->verdict[j] += c->verdict[j];
}

static inline void ids_report(const struct ids_totals *t, const struct ids_classifier *c)
{
	int j;

	printf("{\"received\": %llu, \"classified\": %llu, \"unparsed\": %llu, \"socket_drops\": %llu, "
	       "\"queue_drops\": %llu, \"verdicts\": [",
	       t->received, c->classified, t->unparsed, t->socket_drops, t->queue_drops);
	for (j = 0; j < ids_classes; j++)
		printf("%s%llu", j ? ", " : "", c->verdict[j]);
	printf("]}\n");
	fflush(stdout);
}

#endif
