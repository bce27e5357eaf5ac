/*
 * Rawsocket (NN), Sec. V-B1: classify packets from an AF_PACKET socket in user space, with the headers of the kernel
 * program. One thread receives. With one worker it also classifies; with N workers it hands each packet to one of N
 * classifying threads. All packets of a flow go to the same thread.
 *
 *   rawsock IFACE N_WORKERS N_CLASSES PARAMS_FILE
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "receiver.h"

#define BATCH 64
#define SNAP 128   /* bytes taken of each frame */
#define QUEUE 4096 /* most packets that wait for one worker */
#define MAX_WORKERS 64
#define SOCKET_BUFFER (8 << 20)

struct item {
	struct ids_packet packet;
	__u64 now_ns;
};

struct worker {
	pthread_t thread;
	struct ids_classifier classifier;
	struct item queue[QUEUE];
	_Alignas(64) atomic_ulong head; /* written by the receiver */
	_Alignas(64) atomic_ulong tail; /* written by the worker */
};

static int n_workers;
static struct worker *workers;
static atomic_int done;

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
		ids_classify_packet(&w->classifier, &w->queue[tail % QUEUE].packet, w->queue[tail % QUEUE].now_ns);
		atomic_store_explicit(&w->tail, tail + 1, memory_order_release);
	}
}

static int waiting(const struct worker *w)
{
	return atomic_load_explicit(&w->head, memory_order_relaxed) -
	       atomic_load_explicit(&w->tail, memory_order_acquire);
}

/* Return 0 if the worker's queue is full. */
static int hand_over(struct worker *w, const struct item *item)
{
	unsigned long head = atomic_load_explicit(&w->head, memory_order_relaxed);

	if (waiting(w) == QUEUE)
		return 0;
	w->queue[head % QUEUE] = *item;
	atomic_store_explicit(&w->head, head + 1, memory_order_release);
	return 1;
}

static int open_socket(const char *iface)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP) };
	struct timeval wait = { .tv_usec = IDS_WAIT_US };
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

static void report(int fd, struct ids_totals *t)
{
	struct ids_classifier sum = { .classified = 0 };
	struct tpacket_stats stats = { 0 };
	socklen_t size = sizeof(stats);
	int i;

	getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &size); /* reading these counts resets them */
	t->socket_drops += stats.tp_drops;
	for (i = 0; i < n_workers; i++) {
		while (n_workers > 1 && waiting(&workers[i]))
			usleep(100);
		ids_add_counts(&sum, &workers[i].classifier);
	}
	ids_report(t, &sum);
}

static void take(const __u8 *frame, __u32 len, __u64 now_ns, struct ids_totals *t)
{
	struct item item = { .now_ns = now_ns };
	struct ids_key key;

	t->received++;
	if (ids_parse(frame, frame + len, 0, &item.packet) != IDS_OK) {
		t->unparsed++;
	} else if (n_workers == 1) {
		ids_classify_packet(&workers->classifier, &item.packet, now_ns);
	} else {
		ids_make_key(&item.packet, &key);
		t->queue_drops += !hand_over(
			&workers[(ids_flow_hash(&key, &workers->classifier.table.keys) >> 16) % n_workers], &item);
	}
}

static void receive(int fd, struct ids_totals *t)
{
	static __u8 buffer[BATCH][SNAP];
	struct mmsghdr messages[BATCH] = { 0 };
	struct iovec io[BATCH];
	__u64 now_ns;
	int i, n;

	for (i = 0; i < BATCH; i++) {
		io[i] = (struct iovec){ buffer[i], SNAP };
		messages[i].msg_hdr.msg_iov = &io[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	for (;;) {
		n = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
		now_ns = ids_clock_ns();
		for (i = 0; i < n; i++)
			take(buffer[i], messages[i].msg_len, now_ns, t);
		if (n > 0 && !ids_has_waited())
			continue;
		if (ids_stop)
			return;
		if (ids_asked) {
			ids_asked = 0;
			report(fd, t);
		}
	}
}

int main(int argc, char **argv)
{
	struct ids_totals totals = { 0 };
	int fd, i;

	if (argc != 5 || (n_workers = atoi(argv[2])) < 1 || n_workers > MAX_WORKERS) {
		fprintf(stderr, "usage: rawsock IFACE N_WORKERS N_CLASSES PARAMS_FILE\n");
		return 2;
	}
	if (ids_begin("rawsock", argv[3], argv[4]))
		return ids_fail(argv[4]);
	workers = aligned_alloc(64, n_workers * sizeof(*workers));
	if (!workers)
		return ids_fail("memory for the workers");
	memset(workers, 0, n_workers * sizeof(*workers));
	fd = open_socket(argv[1]);
	if (fd < 0)
		return ids_fail(argv[1]);
	for (i = 0; i < n_workers; i++) {
		if (ids_fixed_init(&workers[i].classifier.table, IDS_RECEIVER_FLOWS, ids_secret()))
			return ids_fail("flow table of a worker");
		errno = n_workers > 1 ? pthread_create(&workers[i].thread, NULL, work, &workers[i]) : 0;
		if (errno)
			return ids_fail("thread of a worker");
	}
	ids_ready();
	receive(fd, &totals);
	done = 1;
	for (i = 0; n_workers > 1 && i < n_workers; i++)
		pthread_join(workers[i].thread, NULL);
	report(fd, &totals);
	return 0;
}
