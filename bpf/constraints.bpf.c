/*
 * The constraints of Table I as XDP programs. -D chooses one; IDS_ALTERNATIVE makes it what one would write instead, where
 * that is another program. ids_repro/kernel/constraints.py gives them to the kernel; none is ever attached.
 */
#include <uapi/linux/bpf.h>
#include <linux/types.h>

#if defined(IDS_LOOP) /* Collatz's problem: nobody knows a bound */
int program(struct xdp_md *ctx)
{
	__u32 n = ctx->rx_queue_index + 1, steps = 0;

#pragma clang loop unroll(disable)
#ifdef IDS_ALTERNATIVE
	for (; n != 1 && steps < 64; steps++)
#else
	for (; n != 1; steps++)
#endif
		n = n & 1 ? 3 * n + 1 : n / 2;
	return steps & 1 ? XDP_PASS : XDP_DROP;
}

#elif defined(IDS_FLOAT)
int program(struct xdp_md *ctx)
{
#ifdef IDS_ALTERNATIVE /* 1.5 with 16 fractional bits */
	return ((__u64)ctx->rx_queue_index * 98304 >> 16) > 3 ? XDP_PASS : XDP_DROP;
#else
	return ctx->rx_queue_index * 1.5f > 3 ? XDP_PASS : XDP_DROP;
#endif
}

#elif defined(IDS_GLOBAL)
#ifdef IDS_ALTERNATIVE
BPF_ARRAY(counter, __u64, 1);
#else
__u64 counter;
#endif
int program(struct xdp_md *ctx)
{
#ifdef IDS_ALTERNATIVE
	int zero = 0;
	__u64 *n = counter.lookup(&zero);

	return n && ++*n > 3 ? XDP_PASS : XDP_DROP;
#else
	return ++counter > 3 ? XDP_PASS : XDP_DROP;
#endif
}

#elif defined(IDS_VARIADIC)
static int sum(int n, ...)
{
	__builtin_va_list list;
	int total;

	__builtin_va_start(list, n);
	total = __builtin_va_arg(list, int);
	__builtin_va_end(list);
	return total;
}

int program(struct xdp_md *ctx)
{
	return sum(1, (int)ctx->rx_queue_index) > 3 ? XDP_PASS : XDP_DROP;
}

#elif defined(IDS_THREAD)
static int work(void *data)
{
	return *(__u8 *)data;
}

int program(struct xdp_md *ctx)
{
#ifdef IDS_ALTERNATIVE
	__u8 data = ctx->rx_queue_index;

	return work(&data) ? XDP_PASS : XDP_DROP;
#else
	__u8 data = ctx->rx_queue_index;
	int kthread_run(int (*f)(void *), void *data, const char *name);

	return kthread_run(work, &data, "worker") ? XDP_PASS : XDP_DROP;
#endif
}

#elif defined(IDS_BOUNDS)
int program(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data;

#ifdef IDS_ALTERNATIVE
	if ((void *)(data + 1) > (void *)(long)ctx->data_end)
		return XDP_PASS;
#endif
	return data[0] ? XDP_PASS : XDP_DROP;
}

#elif defined(IDS_INSTRUCTIONS) /* so many times around a loop of nine instructions */
int program(struct xdp_md *ctx)
{
	__u32 i, sum = 0;

#pragma clang loop unroll(disable)
	for (i = 0; i < IDS_INSTRUCTIONS; i++)
		sum += bpf_get_prandom_u32();
	return sum ? XDP_PASS : XDP_DROP;
}

#elif defined(IDS_BRANCHES) /* so many in a row, each of which could go both ways */
#define IDS_TEXT(x) #x
#define IDS_REPEAT(n) ".rept " IDS_TEXT(n) "\n if %[v] == 1 goto +0\n .endr\n"

int program(struct xdp_md *ctx)
{
	__u32 v = ctx->rx_queue_index;

	asm volatile(IDS_REPEAT(IDS_BRANCHES) : [v] "+r"(v));
	return v ? XDP_PASS : XDP_DROP;
}

#elif defined(IDS_STACK)
struct room {
	__u8 bytes[600];
};
#ifdef IDS_ALTERNATIVE
BPF_PERCPU_ARRAY(place, struct room, 1);
#endif

int program(struct xdp_md *ctx)
{
	int i, zero = 0;
#ifdef IDS_ALTERNATIVE
	volatile struct room *room = place.lookup(&zero);

	if (!room)
		return XDP_PASS;
#else
	volatile struct room here, *room = &here;
#endif
#pragma clang loop unroll(disable)
	for (i = zero; i < sizeof(room->bytes); i++)
		room->bytes[i] = i;
	return room->bytes[ctx->rx_queue_index & 255] ? XDP_PASS : XDP_DROP;
}

#elif defined(IDS_TAIL_CALLS) /* it calls itself as often as the kernel lets it */
BPF_PROG_ARRAY(again, 1);
BPF_ARRAY(runs, __u64, 1);

int program(struct xdp_md *ctx)
{
	int zero = 0;
	__u64 *n = runs.lookup(&zero);

	if (n)
		++*n;
	again.call(ctx, 0);
	return XDP_PASS;
}
#endif
