"""The methods of Figs. 4 and 5, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..config import UserError
from ..kernel.variants import Variant
from ..records import current_name


@dataclass(frozen=True)
class Method:
    """One line of Fig. 4.

    Parameters
    ----------
    mode : {"none", "xdp_drv", "xdp_skb", "tc", "rawsock", "afxdp"}
        Where packets are taken.
    classifier : {"none", "nn", "dt"}
    arithmetic, layout : str
        Of the net in a kernel program; see `variants.Variant`. User space runs arithmetic fused.
    all_cpus : bool
        Of a raw socket: one classifying thread for each CPU of the machine, instead of one CPU for everything.
    """

    mode: str
    classifier: str = "none"
    arithmetic: str = "fused"
    layout: str = "packed"
    all_cpus: bool = False

    def variant(self, n_classes: int) -> Variant:
        """The kernel program, whose action is to count and then drop every packet."""
        hook = "tc" if self.mode == "tc" else "xdp"
        return Variant(hook, self.classifier, n_classes, action="sink", arithmetic=self.arithmetic, layout=self.layout)


METHODS = {
    "no_filter": Method("none"),
    "xdp_drv_flow": Method("xdp_drv"),
    "xdp_drv_nn_fused": Method("xdp_drv", "nn"),
    "xdp_drv_nn_q16_paper": Method("xdp_drv", "nn", "q16", "paper"),
    "xdp_drv_dt": Method("xdp_drv", "dt"),
    "tc_nn_fused": Method("tc", "nn"),
    "xdp_skb_nn_fused": Method("xdp_skb", "nn"),
    "afxdp_nn_fused": Method("afxdp", "nn"),
    "rawsock1_nn_fused": Method("rawsock", "nn"),
    "rawsockN_nn_fused": Method("rawsock", "nn", all_cpus=True),
}


def choose_methods(methods: str | Sequence[str]) -> list[str]:
    """Return names in METHODS: those of a sequence, or of one string with commas between them; "all" for all.

    Names of earlier versions (`records.RENAMED`) are taken too.

    Raises
    ------
    UserError
        If there is no such method.
    """
    if isinstance(methods, str):
        methods = list(METHODS) if methods == "all" else [name.strip() for name in methods.split(",")]
    methods = [current_name(name) for name in methods]
    unknown = [name for name in methods if name not in METHODS]
    if unknown:
        raise UserError(f"there is no method {unknown[0]!r}: use {', '.join(METHODS)}")
    return methods
