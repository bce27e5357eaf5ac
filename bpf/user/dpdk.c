/*
 * DPDK (NN), the kernel bypass that the paper leaves for future work: a poll-mode driver of DPDK takes the packets, and
 * one thread, which never sleeps, classifies them with the kernel program's headers.
 *
 *   dpdk IFACE DEVICE N_CLASSES PARAMS_FILE
 *
 * DEVICE is a driver of DPDK that takes the packets from the kernel's interface, such as net_af_xdp, or the PCI address
 * of a card, of which only DPDK's own driver knows. DPDK gets no huge pages and opens no socket to be asked about its
 * state, so it leaves no file behind. It is not closed at the end, because libxdp would make a folder in /sys/fs/bpf.
 */
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#define _LINUX_IP_H /* DPDK's headers include netinet/ip.h, which has the same struct iphdr */
#include "receiver.h"

#define BUFFERS 16383 /* packets in the pool, from which the driver fills its rings */
#define RING 4096     /* places of its ring, if the driver lets us choose */
#define BATCH 64
#define MEMORY_MB "128"

/* Start DPDK with one device. */
static int start(const char *iface, const char *device)
{
	int card = !!strchr(device, ':');
	char which[256], *options[] = { "dpdk",	       "--no-huge",   "-m",
					MEMORY_MB,     "--no-shconf", "--no-telemetry",
					"--log-level", "error",	      card ? "-a" : "--no-pci",
					which };

	if (card)
		snprintf(which, sizeof(which), "%s", device);
	else
		snprintf(which, sizeof(which), "--vdev=%s0,iface=%s", device, iface);
	if (rte_eal_init(sizeof(options) / sizeof(*options), options) < 0)
		return -1;
	if (rte_eth_dev_count_avail())
		return 0;
	errno = ENODEV;
	return -1;
}

/* Start the device with one queue. Nothing is sent; some drivers want a queue for that all the same. */
static int start_device(void)
{
	struct rte_mempool *pool = rte_pktmbuf_pool_create("packets", BUFFERS, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
	struct rte_eth_conf conf = { 0 };
	__u16 rx = RING, tx = RING;

	return !pool || rte_eth_dev_configure(0, 1, 1, &conf) || rte_eth_dev_adjust_nb_rx_tx_desc(0, &rx, &tx) ||
	       rte_eth_rx_queue_setup(0, 0, rx, 0, NULL, pool) || rte_eth_tx_queue_setup(0, 0, tx, 0, NULL) ||
	       rte_eth_dev_start(0);
}

static void report(struct ids_totals *t, const struct ids_classifier *c)
{
	struct rte_eth_stats stats = { 0 };

	rte_eth_stats_get(0, &stats); /* counted since the start */
	t->socket_drops = stats.imissed;
	ids_report(t, c);
}

/* Take up to BATCH packets. Return the number of packets. */
static int take(struct ids_totals *t, struct ids_classifier *c)
{
	struct rte_mbuf *packets[BATCH];
	int n = rte_eth_rx_burst(0, 0, packets, BATCH), i;
	__u64 now_ns = n ? ids_clock_ns() : 0;

	for (i = 0; i < n; i++)
		ids_take_frame(t, c, rte_pktmbuf_mtod(packets[i], const __u8 *), rte_pktmbuf_data_len(packets[i]),
			       now_ns);
	rte_pktmbuf_free_bulk(packets, n);
	return n;
}

int main(int argc, char **argv)
{
	struct ids_totals totals = { 0 };
	static struct ids_classifier classifier;
	int empty = 0;

	if (argc != 5) {
		fprintf(stderr, "usage: dpdk IFACE DEVICE N_CLASSES PARAMS_FILE\n");
		return 2;
	}
	if (ids_begin("dpdk", argv[3], argv[4]))
		return ids_fail(argv[4]);
	if (ids_fixed_init(&classifier.table, IDS_RECEIVER_FLOWS, ids_secret()) || start(argv[1], argv[2]) ||
	    start_device())
		return ids_fail(argv[2]);
	ids_ready();
	for (;;) {
		empty = take(&totals, &classifier) ? 0 : empty + 1;
		if (empty < IDS_EMPTY && !ids_has_waited())
			continue;
		empty = 0;
		if (ids_stop)
			break;
		if (ids_asked) {
			ids_asked = 0;
			report(&totals, &classifier);
		}
	}
	report(&totals, &classifier);
	return 0; /* the kernel closes the socket; whoever started us takes off the XDP program, as after a kill */
}
