/*
 * The paced traffic generator. BPF_PROG_TEST_RUN with live frames runs this program over and over on frames that start
 * as copies of one template. Each run waits until a packet is due and sends it. If the wait is too long, the run
 * returns XDP_DROP, which sends nothing. The program touches a frame and its page as little as possible, because each
 * touch costs the server a cache miss or a lock.
 */
#include <uapi/linux/bpf.h>
#include <linux/types.h>

#include "flow.h"

#define GEN_IP_CHECK (14 + 10) /* offsets in a frame of Ethernet, IPv4 and TCP without options */
#define GEN_SADDR (14 + 12)
#define GEN_SPORT (14 + 20)
#define GEN_CHECK (14 + 20 + 16)
#define GEN_SIZE (14 + 20 + 20)
#define GEN_FRACTION 8			   /* fractional bits of a nanosecond */
#define GEN_LAG (50000ULL << GEN_FRACTION) /* the generator catches up at most this much; more would be a burst */
#define GEN_LOOKS 400			   /* how often one run reads the clock; in all about 10 us */
#define GEN_FIRST_PORT 1024
#define GEN_FIRST_SOURCE 0xc6120000 /* 198.18.0.0/15, which RFC 2544 keeps for benchmarks */
#define GEN_SOURCES (1 << 17)

struct gen_state {  /* Python takes BCC's type of it (ids_repro/sweep/generators.py) */
	__u64 gap;  /* time between packets, ns with 8 fractional bits */
	__u64 due;  /* when the next packet is due, in the same unit; 0 before the first packet */
	__u64 left; /* packets still to send */
	__u64 sent;
	__u64 first_ns, last_ns;
	__u32 ifindex;
	__u32 ip_sum;  /* unfolded sum of all that IPv4's checksum covers except the source address */
	__u32 tcp_sum; /* of all that TCP's covers except the source address and the source port */
	__u32 saddr;   /* source address of the next packet: first the client's own, then those of GEN_SOURCES */
	__u32 port;    /* source port of the next packet */
	__u32 new;     /* 0 keeps one flow; 1 makes every packet a new flow */
};

BPF_ARRAY(state, struct gen_state, 1); /* only one CPU runs this */

static __always_inline __u16 gen_checksum(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ids_ntoh16((__u16)~sum);
}

int trafficgen(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	int zero = 0;
	struct gen_state *s = state.lookup(&zero);
	__u64 now_ns = 0, now = 0;
	__u32 saddr, i;

	if (!s || !s->left || data + GEN_SIZE > end)
		return XDP_DROP;
	/* Wait here: returning XDP_DROP would take the page-pool lock, which the server also takes for each drop. */
	for (i = 0; i < GEN_LOOKS; i++) {
		now_ns = bpf_ktime_get_ns();
		now = now_ns << GEN_FRACTION;
		if (now >= s->due)
			break;
	}
	if (now < s->due)
		return XDP_DROP;
	if (!s->due)
		s->first_ns = now_ns;
	s->due = (s->due + GEN_LAG < now ? now : s->due) + s->gap;
	s->last_ns = now_ns;
	s->left--;
	s->sent++;

	if (!s->new) /* one flow: the frame needs no change */
		return bpf_redirect(s->ifindex, 0);
	/* This frame may have been sent before as another flow, so all that differs between flows is written again. */
	saddr = (s->saddr & 0xffff) + (s->saddr >> 16);
	*(__u16 *)(data + GEN_IP_CHECK) = gen_checksum(s->ip_sum + saddr);
	*(__u32 *)(data + GEN_SADDR) = ids_ntoh32(s->saddr);
	*(__u16 *)(data + GEN_SPORT) = ids_ntoh16((__u16)s->port);
	*(__u16 *)(data + GEN_CHECK) = gen_checksum(s->tcp_sum + saddr + s->port);
	if (++s->port > 0xffff) {
		s->port = GEN_FIRST_PORT;
		s->saddr = GEN_FIRST_SOURCE | ((s->saddr - GEN_FIRST_SOURCE + 1) & (GEN_SOURCES - 1));
	}
	return bpf_redirect(s->ifindex, 0);
}
