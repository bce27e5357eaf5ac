"""The methods that the sweep compares, as a table: the lines of Fig. 4 and the panels of Fig. 5.

A new method is a new line in `METHODS`, and a name and a look in `report.style`. A new place where packets are taken
is a new mode here and, in `receivers`, what takes them there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..config import UserError
from ..kernel.variants import REPLAY_FLOWS, Variant
from ..native.layouts import PAPER_NET, Hidden
from ..records import current_name


@dataclass(frozen=True)
class Method:
    """Where packets are taken, and what classifies them.

    Parameters
    ----------
    mode : {"none", "xdp_drv", "xdp_skb", "tc", "rawsock", "afxdp", "dpdk"}
        Where packets are taken: nowhere (the stack gets them all), by a kernel program at native XDP, generic XDP or
        TC's ingress, or by a receiver in user space from an AF_PACKET or AF_XDP socket, or from a driver of DPDK.
    classifier : {"none", "nn", "dt"}
        What classifies them; see `kernel.variants.Variant`. With "none" a kernel program only extracts flows.
    arithmetic : {"fused", "q16", "log2"}
        Of the net in a kernel program: nn_fused, nn_q16 or nn_log2. The receivers in user space run nn_fused.
    layout : {"packed", "paper"}
        Of the net in a kernel program; see `kernel.variants.Variant`.
    all_cpus : bool
        Of a raw socket: one classifying thread for each CPU, see `receivers.raw_socket_cpus`. Otherwise one thread
        receives and classifies, on the server's CPU.
    table : {"shared", "lru"}
        The flow table of a kernel program; see `kernel.variants.Variant`.
    busy_poll : bool
        Of an AF_XDP socket: the receiver polls it all the time, and its calls do the driver's work, where they can.
    detector : bool
        Whether its model is a detector's (`models.detector`): a deep tree, or the net in log2. The verdict of a packet
        is then whether its flow is flagged.
    replays : bool
        Whether a sweep also replays a capture to it, at the profile's `replay_pps`.
    extra : bool
        Whether "all" leaves it out, because it would make a first look longer or needs more than `make system`.
    """

    mode: str
    classifier: str = "none"
    arithmetic: str = "fused"
    layout: str = "packed"
    all_cpus: bool = False
    table: str = "shared"
    busy_poll: bool = False
    detector: bool = False
    replays: bool = False
    extra: bool = False

    @property
    def in_kernel(self) -> bool:
        """Whether a kernel program classifies. Only that can take the time of a packet from its frame, in a replay."""
        return self.mode in ("xdp_drv", "xdp_skb", "tc")

    def variant(self, n_classes: int, hidden: Hidden = PAPER_NET, replay: bool = False) -> Variant:
        """Return the kernel program of a method. It counts every packet and then drops it.

        Parameters
        ----------
        n_classes : int
            2 or 7.
        hidden : tuple of int
            Widths of the hidden layers of the model's net.
        replay : bool
            Whether a frame brings the time of its packet. The flow table then has room for all flows of a capture.
        """
        hook = "tc" if self.mode == "tc" else "xdp"
        net = {"arithmetic": self.arithmetic, "layout": self.layout, "hidden": hidden}
        made = Variant(hook, self.classifier, n_classes, "sink", table=self.table, evidence=self.detector, **net)
        return replace(made, clock="frame", flows=REPLAY_FLOWS) if replay else made


METHODS = {
    "no_filter": Method("none"),
    "xdp_drv_flow": Method("xdp_drv"),
    "xdp_drv_nn_fused": Method("xdp_drv", "nn", replays=True),
    "xdp_drv_nn_q16_paper": Method("xdp_drv", "nn", "q16", "paper"),
    "xdp_drv_dt": Method("xdp_drv", "dt", replays=True),
    "tc_nn_fused": Method("tc", "nn"),
    "xdp_skb_nn_fused": Method("xdp_skb", "nn"),
    "afxdp_nn_fused": Method("afxdp", "nn"),
    "rawsock1_nn_fused": Method("rawsock", "nn"),
    "rawsockN_nn_fused": Method("rawsock", "nn", all_cpus=True),
    "xdp_drv_nn_fused_lru": Method("xdp_drv", "nn", table="lru", extra=True),
    "xdp_drv_dt_deep": Method("xdp_drv", "dt", detector=True, replays=True, extra=True),
    "xdp_drv_nn_log2": Method("xdp_drv", "nn", "log2", detector=True, replays=True, extra=True),
    "afxdp_busy_nn_fused": Method("afxdp", "nn", busy_poll=True, extra=True),
    "dpdk_nn_fused": Method("dpdk", "nn", extra=True),
}


def choose_methods(methods: str | Sequence[str]) -> list[str]:
    """Return the names of the chosen methods, in the order given.

    Parameters
    ----------
    methods : str or sequence of str
        Names in METHODS, as a sequence or as one string with commas between them. "every" is all of them, "all" all
        but those that are `extra`. Names of earlier versions (`records.RENAMED`) are accepted too.

    Raises
    ------
    UserError
        If there is no such method.
    """
    if isinstance(methods, str):
        groups = {"every": [*METHODS], "all": [name for name, method in METHODS.items() if not method.extra]}
        methods = groups.get(methods) or [name.strip() for name in methods.split(",")]
    methods = [current_name(name) for name in methods]
    unknown = [name for name in methods if name not in METHODS]
    if unknown:
        raise UserError(f"there is no method {unknown[0]!r}: use {', '.join(METHODS)}")
    return methods
