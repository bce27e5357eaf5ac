/* The kernel side of AF_XDP: redirect every packet of a queue to the socket that bpf/user/afxdp.c put into the map. */
#include <uapi/linux/bpf.h>

BPF_XSKMAP(sockets, 1);

int afxdp(struct xdp_md *ctx)
{
	return sockets.redirect_map(ctx->rx_queue_index, XDP_PASS);
}
