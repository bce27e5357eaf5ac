/*
 * The paced traffic generator. BPF_PROG_TEST_RUN with live frames runs this program over and over on frames that start
 * as copies of one template. Each run waits until a packet is due and sends it. If the wait is too long, the run
 * returns XDP_DROP, which sends nothing. The program touches a frame and its page as little as possible, because each
 * touch costs the server a cache miss or a lock. With GEN_FRAMES it replays so many packets of a capture, over and over.
 */
#include <uapi/linux/bpf.h>
#include <linux/types.h>

#include "flow.h"
#include "frame_clock.h"

#define GEN_IP_CHECK (14 + 10) /* offsets in a frame of Ethernet, IPv4 and TCP without options */
#define GEN_SADDR (14 + 12)
#define GEN_SPORT (14 + 20)
#define GEN_CHECK (14 + 20 + 16)
#ifdef GEN_FRAMES
#define GEN_LEAST IDS_REPLAYED_HEAD
#else
#define GEN_LEAST (14 + 20 + 20)
#endif
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
	__u32 ip_sum;	/* unfolded sum of all that IPv4's checksum covers except the source address */
	__u32 tcp_sum;	/* of all that TCP's covers except the source address and the source port */
	__u32 saddr;	/* source address of the next packet: first the client's own, then those of GEN_SOURCES */
	__u32 port;	/* source port of the next packet */
	__u32 new;	/* 0 keeps one flow; 1 makes every packet a new flow */
	__u64 at;	/* of a replay: the next packet */
	__u64 pass_us;	/* how much later the capture begins again */
	__u64 shift_us; /* how much later it has begun */
};

BPF_ARRAY(state, struct gen_state, 1); /* only one CPU runs this */

static __always_inline __u16 gen_checksum(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ids_ntoh16((__u16)~sum);
}

/* Wait until a packet is due, and return whether it is. */
static __always_inline int gen_is_due(struct gen_state *s)
{
	__u64 now_ns = 0, now = 0;
	__u32 i;

	/* Wait here: returning XDP_DROP would take the page-pool lock, which the server also takes for each drop. */
	for (i = 0; i < GEN_LOOKS; i++) {
		now_ns = bpf_ktime_get_ns();
		now = now_ns << GEN_FRACTION;
		if (now >= s->due)
			break;
	}
	if (now < s->due)
		return 0;
	if (!s->due)
		s->first_ns = now_ns;
	s->due = (s->due + GEN_LAG < now ? now : s->due) + s->gap;
	s->last_ns = now_ns;
	s->left--;
	s->sent++;
	return 1;
}

#ifdef GEN_FRAMES
BPF_F_TABLE("array", __u32, struct ids_replayed, frames, GEN_FRAMES, BPF_F_MMAPABLE);

/* Make the template the capture's next packet. After the last comes the first, so much later that no flow goes on. */
static __always_inline int gen_next(struct xdp_md *ctx, __u8 *data, struct gen_state *s)
{
	__u32 at = s->at, size = ctx->data_end - ctx->data;
	struct ids_replayed *next = frames.lookup(&at);

	if (!next)
		return 0;
	__builtin_memcpy(data, next->head, IDS_REPLAYED_HEAD);
	ids_put_clock(data, next->at_us + s->shift_us);
	if (++s->at == GEN_FRAMES) {
		s->at = 0;
		s->shift_us += s->pass_us;
	}
	return !bpf_xdp_adjust_tail(ctx, (int)next->len - (int)size);
}
#else
/* Make the template the next SYN. */
static __always_inline int gen_next(struct xdp_md *ctx, __u8 *data, struct gen_state *s)
{
	__u32 saddr;

	if (!s->new) /* one flow: the frame needs no change */
		return 1;
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
	return 1;
}
#endif

int trafficgen(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	int zero = 0;
	struct gen_state *s = state.lookup(&zero);

	if (!s || !s->left || data + GEN_LEAST > end || !gen_is_due(s))
		return XDP_DROP;
	return gen_next(ctx, data, s) ? bpf_redirect(s->ifindex, 0) : XDP_DROP;
}
