"""The variants of the one kernel program, as a table, and the layouts of what it shares with user space."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..config import BPF, TASKS
from ..implementations import rows_in

HOOKS = ("xdp", "tc")
ACTIONS = {"count": 0, "filter": 1, "sink": 2, "redirect": 3}
CHURN = {"ports": 1, "flows": 2}


@dataclass(frozen=True)
class Variant:
    """One way to build the kernel program.

    Parameters
    ----------
    hook : {"xdp", "tc"}
    classifier : {"none", "nn", "dt", "empty"}
        "none" is flow extraction only; "empty" passes every packet unseen: what a run of any program costs.
    n_classes : int
        2 or 7.
    action : {"count", "filter", "sink", "redirect"}
        Pass everything, drop what is not normal, drop everything after counting, or give what is not normal to user
        space instead of the stack.
    flows : int
        Entries of the flow table (LRU).
    probe : bool
        Build for test runs: the frame follows a struct ids_probe.
    churn : {None, "ports", "flows"}
        For benchmarks: every packet has a new source port, as hping3 makes them, or is of a flow never seen before.
    arithmetic : {"fused", "q16"}
        Of the net: ours or the paper's.
    layout : {"packed", "paper"}
        Of the net in q16: one struct and one look-up, or, as the paper describes, a map element a parameter and a tail
        call a layer.
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

    @property
    def params(self) -> str | None:
        """The struct of a model that it takes, a name in `layouts.STRUCTS`; None without a classifier."""
        if self.classifier in ("none", "empty"):
            return None
        return f"nn_{self.arithmetic}" if self.classifier == "nn" else self.classifier

    def flags(self) -> list[str]:
        """Compiler flags of this variant."""
        if self.layout == "paper" and self.params != "nn_q16":
            raise ValueError("the paper's layout is that of the net in arithmetic q16")
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
            "IDS_TC": self.hook == "tc",
            "IDS_PROBE": self.probe,
            "IDS_EMPTY": self.classifier == "empty",
            "IDS_PAPER": self.layout == "paper",
        }
        chosen = [f"-D{name}" for name, on in switches.items() if on]
        return [f"-I{BPF}", "-fwrapv", *(f"-D{k}={v}" for k, v in defines.items()), *chosen]


# What the package measures and compares, by the names of its tables; a hook and a number of classes complete each.
VARIANTS = {
    "empty": Variant(classifier="empty"),
    "flow": Variant(),
    "dt": Variant(classifier="dt"),
    "nn_q16_paper": Variant(classifier="nn", arithmetic="q16", layout="paper"),
    "nn_q16_packed": Variant(classifier="nn", arithmetic="q16"),
    "nn_fused_packed": Variant(classifier="nn"),
}
# Every other implementation that runs in the kernel.
for _one in rows_in("kernel").values():
    VARIANTS.setdefault(_one.variant, Variant(classifier=_one.struct))


def every_variant() -> Iterator[tuple[str, Variant]]:
    """Each name with each hook and number of classes: "nn_fused_packed", Variant("tc", "nn", 7), ..."""
    for name, variant in VARIANTS.items():
        for hook in HOOKS:
            for classes in TASKS.values():
                if variant.params or classes is TASKS["binary"]:
                    yield name, replace(variant, hook=hook, n_classes=len(classes))
