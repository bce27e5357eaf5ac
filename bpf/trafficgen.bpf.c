/*
 * The paced generator. BPF_PROG_TEST_RUN with live frames runs this over and over, on frames that began as one template:
 * each run waits until a packet is due and sends it, or ends in XDP_DROP, by which nothing is sent, if that takes long.
 * It costs the server as little as it can: what it does to a frame or its page is a cache miss or a lock there.
 */
#include <uapi/linux/bpf.h>
#include <linux/types.h>

#include "flow.h"

#define GEN_SPORT (14 + 20) /* in a frame of Ethernet, IPv4 and TCP, each without options */
#define GEN_CHECK (14 + 20 + 16)
#define GEN_SIZE (14 + 20 + 20)
#define GEN_FRACTION 8			   /* bits of a nanosecond */
#define GEN_LAG (50000ULL << GEN_FRACTION) /* time lost is made up for as far as this: more would be a burst */
#define GEN_LOOKS 400			   /* at the clock in one run, about 10 us */

struct gen_state {  /* State in ids_repro/traffic.py */
	__u64 gap;  /* between packets, ns with 8 fractional bits */
	__u64 due;  /* when the next one is, in the same unit; 0 before the first */
	__u64 left; /* packets still to be sent */
	__u64 sent;
	__u64 first_ns, last_ns;
	__u32 ifindex;
	__u32 sum;  /* of what TCP's checksum covers, less the source port; not folded */
	__u32 port; /* of the next packet */
	__u32 step; /* to the port after it: 0 is one flow, 1 a new flow each */
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
	/* XDP_DROP until it is due would take the lock of the pages' pool, as the server does for each packet it drops. */
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

	if (!s->step) /* the frame is right as it is */
		return bpf_redirect(s->ifindex, 0);
	/* The frame was sent before, with another port. */
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
