/*
 * AF_XDP (NN), the kernel bypass that the paper leaves for future work. The XDP program afxdp.bpf.c redirects packets
 * to this socket, and one thread classifies them in user space, with the kernel program's headers.
 *
 *   afxdp IFACE MAP_FD BUDGET N_CLASSES PARAMS_FILE
 *
 * MAP_FD is the inherited file descriptor of the program's socket map. BUDGET is 0, or in busy-poll mode the most
 * packets of one poll: then the thread never sleeps, and the driver's work is done in its own system calls. The socket
 * uses copy mode, which works with every driver; veth has no other mode.
 */
#define _GNU_SOURCE
#include <linux/bpf.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "receiver.h"

#define FRAMES 4096 /* in the packet buffer and in each ring: 8 MB, as much as the raw socket has */
#define FRAME 2048
#define BATCH 64

struct ring {
	__u32 *producer, *consumer;
	void *entries;
};

static __u8 *umem;
static struct ring fill, rx;
static int fd;

static int map_ring(struct ring *r, const struct xdp_ring_offset *offset, __u64 page, size_t entry)
{
	__u8 *at =
		mmap(NULL, offset->desc + FRAMES * entry, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, page);

	if (at == MAP_FAILED)
		return -1;
	r->producer = (__u32 *)(at + offset->producer);
	r->consumer = (__u32 *)(at + offset->consumer);
	r->entries = at + offset->desc;
	return 0;
}

/* Create the packet buffer and its rings. Nothing is sent; the kernel requires a completion ring all the same. */
static int set_up(void)
{
	struct xdp_umem_reg buffer = { .len = FRAMES * FRAME, .chunk_size = FRAME };
	struct xdp_mmap_offsets offsets;
	socklen_t size = sizeof(offsets);
	int n = FRAMES, least = 1;
	__u32 i;

	fd = socket(AF_XDP, SOCK_RAW, 0);
	umem = mmap(NULL, buffer.len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	buffer.addr = (__u64)(unsigned long)umem;
	if (fd < 0 || umem == MAP_FAILED || setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &buffer, sizeof(buffer)) ||
	    setsockopt(fd, SOL_XDP, XDP_UMEM_FILL_RING, &n, sizeof(n)) ||
	    setsockopt(fd, SOL_XDP, XDP_UMEM_COMPLETION_RING, &least, sizeof(least)) ||
	    setsockopt(fd, SOL_XDP, XDP_RX_RING, &n, sizeof(n)) ||
	    getsockopt(fd, SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &size) ||
	    map_ring(&fill, &offsets.fr, XDP_UMEM_PGOFF_FILL_RING, sizeof(__u64)) ||
	    map_ring(&rx, &offsets.rx, XDP_PGOFF_RX_RING, sizeof(struct xdp_desc)))
		return -1;
	for (i = 0; i < FRAMES; i++)
		((__u64 *)fill.entries)[i] = (__u64)i * FRAME;
	__atomic_store_n(fill.producer, FRAMES, __ATOMIC_RELEASE);
	return 0;
}

/* Bind to the interface's first queue, then put the socket into the program's map. */
static int join(const char *iface, int map)
{
	struct sockaddr_xdp address = { .sxdp_family = AF_XDP, .sxdp_flags = XDP_COPY };
	union bpf_attr attr = { .map_fd = map };
	__u32 queue = 0;

	address.sxdp_ifindex = if_nametoindex(iface);
	if (!address.sxdp_ifindex || bind(fd, (struct sockaddr *)&address, sizeof(address)))
		return -1;
	attr.key = (__u64)(unsigned long)&queue;
	attr.value = (__u64)(unsigned long)&fd;
	return syscall(__NR_bpf, BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr));
}

/* Let our own system calls do the driver's work (NAPI), rather than its thread or its interrupts. */
static int prefer_busy_poll(int budget)
{
	int prefer = 1, us = 20;

	return setsockopt(fd, SOL_SOCKET, SO_PREFER_BUSY_POLL, &prefer, sizeof(prefer)) ||
	       setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL, &us, sizeof(us)) ||
	       setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL_BUDGET, &budget, sizeof(budget));
}

/* Wait for packets. Return 0 if there are none left. */
static int wait_for_packets(int budget)
{
	static __u32 empty;
	struct pollfd waiting = { .fd = fd, .events = POLLIN };

	if (!budget)
		return poll(&waiting, 1, IDS_WAIT_US / 1000) > 0;
	recvfrom(fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
	empty = __atomic_load_n(rx.producer, __ATOMIC_ACQUIRE) == *rx.consumer ? empty + 1 : 0;
	return !empty || empty % IDS_EMPTY;
}

static void report(struct ids_totals *t, const struct ids_classifier *c)
{
	struct xdp_statistics stats = { 0 };
	socklen_t size = sizeof(stats);

	getsockopt(fd, SOL_XDP, XDP_STATISTICS, &stats, &size); /* counted since the start */
	t->socket_drops = stats.rx_dropped + stats.rx_ring_full;
	ids_report(t, c);
}

/* Take up to BATCH packets and give their frames back to the kernel. Return the number of packets. */
static __u32 take(struct ids_totals *t, struct ids_classifier *c)
{
	__u32 from = *rx.consumer, n = __atomic_load_n(rx.producer, __ATOMIC_ACQUIRE) - from, back = *fill.producer, i;
	__u64 now_ns = ids_clock_ns();

	n = n < BATCH ? n : BATCH;
	for (i = 0; i < n; i++) {
		struct xdp_desc *d = &((struct xdp_desc *)rx.entries)[(from + i) % FRAMES];

		ids_take_frame(t, c, umem + d->addr, d->len, now_ns);
		((__u64 *)fill.entries)[(back + i) % FRAMES] = d->addr - d->addr % FRAME;
	}
	__atomic_store_n(rx.consumer, from + n, __ATOMIC_RELEASE);
	__atomic_store_n(fill.producer, back + n, __ATOMIC_RELEASE);
	return n;
}

int main(int argc, char **argv)
{
	struct ids_totals totals = { 0 };
	static struct ids_classifier classifier;
	int budget;

	if (argc != 6) {
		fprintf(stderr, "usage: afxdp IFACE MAP_FD BUDGET N_CLASSES PARAMS_FILE\n");
		return 2;
	}
	if (ids_begin("afxdp", argv[4], argv[5]))
		return ids_fail(argv[5]);
	budget = atoi(argv[3]);
	if (ids_fixed_init(&classifier.table, IDS_RECEIVER_FLOWS, ids_secret()) || set_up() ||
	    (budget && prefer_busy_poll(budget)) || join(argv[1], atoi(argv[2])))
		return ids_fail(argv[1]);
	ids_ready();
	for (;;) {
		if ((take(&totals, &classifier) || wait_for_packets(budget)) && !ids_has_waited())
			continue;
		if (ids_stop)
			break;
		if (ids_asked) {
			ids_asked = 0;
			report(&totals, &classifier);
		}
	}
	report(&totals, &classifier);
	return 0;
}
