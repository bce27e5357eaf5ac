/*
 * The paced traffic generator. BPF_PROG_TEST_RUN with live frames runs this program over and over on frames that start
 * as copies of one template. Each run waits until a packet is due and sends it. If the wait is too long, the run
 * returns XDP_DROP, which sends nothing. The program touches a frame and its page as little as possible, because each
 * touch costs the server a cache miss or a lock.
 */
#include <uapi/linux/bpf.h>
#include <linux/types.h>

#include "flow.h"

#define GEN_SPORT (14 + 20) /* offsets in a frame of Ethernet, IPv4 and TCP without options */
#define GEN_CHECK (14 + 20 + 16)
#define GEN_SIZE (14 + 20 + 20)
#define GEN_FRACTION 8			   /* fractional bits of a nanosecond */
#define GEN_LAG (50000ULL << GEN_FRACTION) /* the generator catches up at most this much; more would be a burst */
#define GEN_LOOKS 400			   /* how often one run reads the clock; in all about 10 us */

struct gen_state {  /* Python takes BCC's type of it (ids_repro/sweep/generators.py) */
	__u64 gap;  /* time between packets, ns with 8 fractional bits */
	__u64 due;  /* when the next packet is due, in the same unit; 0 before the first packet */
	__u64 left; /* packets still to send */
	__u64 sent;
	__u64 first_ns, last_ns;
	__u32 ifindex;
	__u32 sum;  /* unfolded sum of all that TCP's checksum covers except the source port */
	__u32 port; /* source port of the next packet */
	__u32 step; /* added to the port for each packet: 0 keeps one flow, 1 makes every packet a new flow */
};

BPF_ARRAY(state, struct gen_state, 1); /* only one CPU runs this */

int trafficgen(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	int zero = 0;
	struct gen_state *s = state.lookup(&zero);
	__u64 now_ns = 0, now = 0;
	__u32 sum, i;

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

	if (!s->step) /* one flow: the frame needs no change */
		return bpf_redirect(s->ifindex, 0);
	/* This frame may have been sent before with another port, so the port and the checksum are written again. */
	sum = s->sum + s->port;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	*(__u16 *)(data + GEN_SPORT) = ids_ntoh16((__u16)s->port);
	*(__u16 *)(data + GEN_CHECK) = ids_ntoh16((__u16)~sum);
	s->port += s->step;
	if (s->port > 0xffff)
		s->port = 1024;
	return bpf_redirect(s->ifindex, 0);
}
