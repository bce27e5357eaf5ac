/*
 * Rawsocket (NN), Sec. V-B1: packets from an AF_PACKET socket through the same headers in user space.
 * One thread receives; with one worker it classifies too, with N it hands packets to N classifying threads, each
 * flow always to the same one.
 *
 *   rawsock IFACE N_WORKERS N_CLASSES PARAMS_FILE
 *
 * Prints "ready" when the socket is open and, after SIGTERM and what was still queued, one line of JSON.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "flow.h"
#include "int_mlp_fused.h"
#include "table.h"

#define BATCH 64
#define SNAP 128
#define QUEUE 4096 /* packets that wait for one worker */
#define MAX_WORKERS 64
#define SOCKET_BUFFER (8 << 20)

struct item {
	struct ids_packet packet;
	__u64 now_ns;
};

struct worker {
	pthread_t thread;
	struct ids_table table;
	struct ids_fused_scratch scratch;
	__u64 classified, verdict[IDS_MAX_CLASSES];
	struct item queue[QUEUE];
	_Alignas(64) atomic_ulong head; /* written by the receiver */
	_Alignas(64) atomic_ulong tail; /* written by the worker */
};

static struct ids_mlp_fused params;
static int n_classes, n_workers;
static struct worker *workers;
static atomic_int stop, done;

static void on_signal(int signal)
{
	(void)signal;
	stop = 1;
}

static int fail(const char *what)
{
	fprintf(stderr, "rawsock: %s: %s\n", what, strerror(errno));
	return 1;
}

static void classify(struct worker *w, const struct item *item)
{
	__s64 x[IDS_X_SIZE], logits[IDS_MAX_CLASSES];
	int class;

	if (ids_table_update(&w->table, &item->packet, item->now_ns, x) < 0)
		return;
	class = n_classes == 2 ? ids_mlp_fused(&params, 2, x, &w->scratch, logits) :
				 ids_mlp_fused(&params, 7, x, &w->scratch, logits);
	w->verdict[class]++;
	w->classified++;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	const struct timespec nap = { .tv_nsec = 50000 };

	for (;;) {
		unsigned long tail = atomic_load_explicit(&w->tail, memory_order_relaxed);

		if (tail == atomic_load_explicit(&w->head, memory_order_acquire)) {
			if (done)
				return NULL;
			nanosleep(&nap, NULL);
			continue;
		}
		classify(w, &w->queue[tail % QUEUE]);
		atomic_store_explicit(&w->tail, tail + 1, memory_order_release);
	}
}

/* Returns 0 if the worker's queue is full. */
static int hand_over(struct worker *w, const struct item *item)
{
	unsigned long head = atomic_load_explicit(&w->head, memory_order_relaxed);

	if (head - atomic_load_explicit(&w->tail, memory_order_acquire) == QUEUE)
		return 0;
	w->queue[head % QUEUE] = *item;
	atomic_store_explicit(&w->head, head + 1, memory_order_release);
	return 1;
}

static int open_socket(const char *iface)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP) };
	struct timeval wait = { .tv_usec = 20000 };
	int size = SOCKET_BUFFER, one = 1, fd = socket(AF_PACKET, SOCK_RAW, 0);

	if (fd < 0)
		return -1;
	address.sll_ifindex = if_nametoindex(iface);
	if (!address.sll_ifindex || setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) ||
	    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address))) {
		close(fd);
		return -1;
	}
	return fd;
}

struct totals {
	__u64 received, unparsed, queue_drops;
};

static void receive(int fd, struct totals *t)
{
	static __u8 buffer[BATCH][SNAP];
	struct mmsghdr messages[BATCH] = { 0 };
	struct iovec io[BATCH];
	struct timespec now;
	int i, n;

	for (i = 0; i < BATCH; i++) {
		io[i] = (struct iovec){ buffer[i], SNAP };
		messages[i].msg_hdr.msg_iov = &io[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	for (;;) {
		n = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
		if (n <= 0 && stop)
			return;
		clock_gettime(CLOCK_MONOTONIC, &now);
		for (i = 0; i < n; i++) {
			struct item item = { .now_ns = now.tv_sec * 1000000000ULL + now.tv_nsec };
			struct ids_key key;
			struct worker *w;

			t->received++;
			if (ids_parse(buffer[i], buffer[i] + messages[i].msg_len, 0, &item.packet) != IDS_OK) {
				t->unparsed++;
				continue;
			}
			if (n_workers == 1) {
				classify(workers, &item);
				continue;
			}
			ids_make_key(&item.packet, &key);
			w = &workers[ids_hash(&key) % n_workers];
			t->queue_drops += !hand_over(w, &item);
		}
	}
}

static void report(int fd, const struct totals *t)
{
	struct tpacket_stats stats = { 0 };
	socklen_t size = sizeof(stats);
	__u64 classified = 0, verdict[IDS_MAX_CLASSES] = { 0 };
	int i, j;

	getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &size);
	for (i = 0; i < n_workers; i++) {
		classified += workers[i].classified;
		for (j = 0; j < n_classes; j++)
			verdict[j] += workers[i].verdict[j];
	}
	printf("{\"received\": %llu, \"classified\": %llu, \"unparsed\": %llu, \"socket_drops\": %u, "
	       "\"queue_drops\": %llu, \"verdicts\": [",
	       t->received, classified, t->unparsed, stats.tp_drops, t->queue_drops);
	for (j = 0; j < n_classes; j++)
		printf("%s%llu", j ? ", " : "", verdict[j]);
	printf("]}\n");
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct totals totals = { 0 };
	FILE *file;
	int fd, i;

	if (argc != 5 || (n_workers = atoi(argv[2])) < 1 || n_workers > MAX_WORKERS) {
		fprintf(stderr, "usage: rawsock IFACE N_WORKERS N_CLASSES PARAMS_FILE\n");
		return 2;
	}
	n_classes = atoi(argv[3]);
	file = fopen(argv[4], "rb");
	if (!file || fread(&params, sizeof(params), 1, file) != 1)
		return fail(argv[4]);
	fclose(file);
	workers = aligned_alloc(64, n_workers * sizeof(*workers));
	if (!workers)
		return fail("workers");
	memset(workers, 0, n_workers * sizeof(*workers));
	fd = open_socket(argv[1]);
	if (fd < 0)
		return fail(argv[1]);
	sigaction(SIGTERM, &action, NULL);
	for (i = 0; i < n_workers; i++)
		if (ids_table_init(&workers[i].table, 1 << 16) ||
		    (n_workers > 1 && pthread_create(&workers[i].thread, NULL, work, &workers[i])))
			return fail("worker");
	puts("ready");
	fflush(stdout);
	receive(fd, &totals);
	done = 1;
	for (i = 0; n_workers > 1 && i < n_workers; i++)
		pthread_join(workers[i].thread, NULL);
	report(fd, &totals);
	return 0;
}
