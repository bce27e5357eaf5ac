"""The variants of the one kernel program (bpf/ids.bpf.c): how each is built, and the table of those we compare."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace

import psutil

from ..config import BPF, TASKS, UserError, number
from ..implementations import rows_in
from ..native.layouts import BUCKET, ENTRY, PAPER_NET, WAYS, Hidden, net_flags

HOOKS = ("xdp", "tc")
# IDS_ACTION and IDS_CHURN of bpf/ids.bpf.c, by name.
ACTIONS = {"count": 0, "filter": 1, "sink": 2, "redirect": 3}
CHURN = {"ports": 1, "flows": 2}
REPLAY_FLOWS = 1 << 20  # so many that no bucket of the flow table is full, and no flow of a capture is evicted


@dataclass(frozen=True)
class Variant:
    """One way to build the kernel program.

    Parameters
    ----------
    hook : {"xdp", "tc", "tc_both"}
        What the program is attached to: XDP, the ingress of TC, or its ingress and egress.
    classifier : {"none", "nn", "dt", "empty"}
        The neural net, the decision tree, or neither. "none" extracts the features of flows and classifies nothing.
        "empty" passes every packet without looking at it, which shows what a run of any program costs.
    n_classes : int
        2 or 7.
    action : {"count", "filter", "sink", "redirect"}
        What happens to a packet after it is counted. "count" passes every packet. "sink" drops every packet. "filter"
        drops a packet whose class is not normal, and "redirect" gives such a packet to user space, as a suspect,
        instead of to the stack.
    flows : int
        How many flows the flow table has room for: a power of two from 1,024 to 4,194,304.
    probe : bool
        Whether to build for test runs, in which a struct ids_probe stands before the frame.
    churn : {None, "ports", "flows"}
        For benchmarks only: the program gives every packet a new source port, as hping3 does, or makes it the first
        packet of a flow that was never seen before.
    arithmetic : {"fused", "q16", "log2"}
        How the net calculates: in our arithmetic, in the paper's, or in ours on logarithms of the intervals.
    layout : {"packed", "paper"}
        Where the net in q16 has its parameters. "packed": in one struct, which one look-up finds. "paper": each in a
        map element of its own, with a tail call for each layer, as the paper describes.
    table : {"shared", "lru"}
        The flow table: that of bpf/flow_table.h, or, for comparison, the kernel's map that evicts the least recently
        used flow.
    evidence : bool
        Whether the model is a detector, which flags a flow at a packet whose score reaches its threshold. The verdict
        of a packet is then whether its flow is flagged. The packet that gets its flow flagged is a suspect, whatever
        the action is.
    link : {"ethernet", "bare"}
        What a frame is: an Ethernet frame, or an IP packet, as on a tunnel (`network.facts.link_of`).
    clock : {"kernel", "frame"}
        When a packet arrived: by the kernel's clock, or, in a replay, at the time that its frame brings along as its
        source address (bpf/frame_clock.h).
    hidden : tuple of int
        Widths of the net's hidden layers (`models.model.Model.hidden`); without a net it says nothing.
    """

    hook: str = "xdp"
    classifier: str = "none"
    n_classes: int = 2
    action: str = "count"
    flows: int = 65536
    probe: bool = False
    churn: str | None = None
    arithmetic: str = "fused"
    layout: str = "packed"
    table: str = "shared"
    evidence: bool = False
    link: str = "ethernet"
    clock: str = "kernel"
    hidden: Hidden = PAPER_NET

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))  # JSON makes lists of tuples

    @property
    def programs(self) -> tuple[str, ...]:
        """Names of its programs in C: the one that is attached, and those that it calls, in their order."""
        if self.layout != "paper":
            return ("ids_main",)
        return ("ids_main", *(f"ids_layer{n}" for n in range(2, len(self.hidden) + 1)), "ids_output")

    @property
    def params(self) -> str | None:
        """Name of the struct that it reads, a key of `native.layouts.STRUCTS`; None without a classifier."""
        if self.classifier in ("none", "empty"):
            return None
        return f"nn_{self.arithmetic}" if self.classifier == "nn" else self.classifier

    def flags(self) -> list[str]:
        """Return the compiler flags that build this variant.

        Raises
        ------
        ValueError
            If the layout is the paper's and the classifier is not the net in q16, if a detector lacks a threshold,
            two classes or our flow table, or if a frame has no source address that could be a clock.
        """
        if self.layout == "paper" and self.params != "nn_q16":
            raise ValueError("the paper's layout is that of the net in arithmetic q16")
        if self.evidence and (self.params in (None, "nn_q16") or self.n_classes != 2 or self.table == "lru"):
            raise ValueError("a detector is a tree or a net in fused or log2, of two classes, with our flow table")
        if self.clock == "frame" and (self.link == "bare" or self.probe):
            raise ValueError("a frame's clock is its Ethernet source address, and a probe brings a clock of its own")
        defines = {
            "IDS_CLASSES": self.n_classes,
            "IDS_ACTION": ACTIONS[self.action],
            "IDS_FLOWS": self.flows,
        }
        if self.params:
            defines["IDS_CLASSIFIER"] = self.params  # a name in bpf/classifiers.h
        if self.churn:
            defines["IDS_CHURN"] = CHURN[self.churn]
        switches = {
            "IDS_TSO": platform.machine() == "x86_64",  # a plain store releases a lock
            "IDS_LRU": self.table == "lru",
            "IDS_TC": self.hook != "xdp",
            "IDS_BOTH": self.hook == "tc_both",
            "IDS_BARE": self.link == "bare",
            "IDS_FRAME_CLOCK": self.clock == "frame",
            "IDS_PROBE": self.probe,
            "IDS_EVIDENCE": self.evidence,
            "IDS_EMPTY": self.classifier == "empty",
            "IDS_PAPER": self.layout == "paper",
        }
        chosen = [f"-D{name}" for name, on in switches.items() if on]
        net = net_flags(self.hidden) if self.classifier == "nn" else []
        return [f"-I{BPF}", "-fwrapv", *(f"-D{k}={v}" for k, v in defines.items()), *chosen, *net]


def table_bytes(flows: int) -> int:
    """Return the memory that a flow table of so many flows takes [byte]."""
    return flows // WAYS * (BUCKET.itemsize + WAYS * ENTRY.itemsize)


def require_table(flows: int) -> None:
    """Raise UserError unless so many flows are within the limits of --flows, or as `require_memory` does."""
    number("--flows", flows)
    require_memory(flows)


def require_memory(flows: int) -> None:
    """Raise UserError unless a flow table of so many flows fits into this machine's free memory."""
    free = psutil.virtual_memory().available
    if table_bytes(flows) > free:
        needs = f"{table_bytes(flows) >> 20:,} MB, and this machine has {free >> 20:,} MB free"
        raise UserError(f"a flow table of {flows:,} flows needs {needs}: give a smaller --flows")


# The variants that are measured and compared, by the names that tables give them. `every_variant` adds the hook and
# the number of classes.
VARIANTS = {
    "empty": Variant(classifier="empty"),
    "flow": Variant(),
    "dt": Variant(classifier="dt"),
    "nn_q16_paper": Variant(classifier="nn", arithmetic="q16", layout="paper"),
    "nn_q16_packed": Variant(classifier="nn", arithmetic="q16"),
    "nn_fused_packed": Variant(classifier="nn"),
    "dt_deep": Variant(classifier="dt", evidence=True),
    "nn_log2_packed": Variant(classifier="nn", arithmetic="log2", evidence=True),
    "flow_lru": Variant(table="lru"),
    "nn_fused_lru": Variant(classifier="nn", table="lru"),
}
# Every other implementation that runs in the kernel has a variant too.
for _one in rows_in("kernel").values():
    VARIANTS.setdefault(_one.variant, Variant(classifier=_one.struct))


def every_variant() -> Iterator[tuple[str, Variant]]:
    """Yield each variant of VARIANTS with each hook and number of classes.

    Yields
    ------
    name : str
        Its name in VARIANTS.
    variant : Variant
        With hook "xdp" or "tc", and with 2 or 7 classes; one without a classifier and a detector have 2 only.
    """
    for name, variant in VARIANTS.items():
        for hook in HOOKS:
            for classes in TASKS.values():
                if classes is TASKS["binary"] or (variant.params and not variant.evidence):
                    yield name, replace(variant, hook=hook, n_classes=len(classes))
