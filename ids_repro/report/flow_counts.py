"""The numbers of flows beside the paper's, and beside those that the released models were trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..published import flow_counts, published
from ..text import rounded
from .exhibit import Results
from .verdicts import DIFFERS, HOLDS, NOT_COMPARABLE, Answer, unmeasured


def of_classes() -> list[dict]:
    """Return what is known of the flows of each class in the form of claims: the paper does not give their numbers."""
    trained = published()["training_flows"]
    return [
        {"kind": "class_flows", "of": name, "value": n, "unit": "flows", "source": trained["source"]}
        for name, n in trained["classes"].items()
    ]


def answer(claim: Mapping[str, Any], results: Results) -> Answer:
    """Return what the newest record of kind "flows" says; it is judged if the data is the paper's."""
    dataset, found = published()["dataset"], results.current("flows")
    if not found:
        return unmeasured()
    asked, counts = found[-1]["asked"], found[-1]["raw"]["flows_by_class"]
    count = next(count for count in flow_counts(counts) if count.of == claim["of"])
    if asked["dataset"] != dataset:
        return Answer(count.ours, NOT_COMPARABLE, f"of {dataset}; ours are of the {asked['dataset']}", used=found[-1:])
    reason = f"{rounded(count.ours / count.paper - 1, '+.2%')}; labels {asked['labels']}"
    reason += f", flow rules {asked['flow_rules']}"
    if claim["kind"] == "class_flows":
        reason += f"; 8/15 of {counts.get(claim['of'], 0):,}"
    return Answer(count.ours, HOLDS if count.same else DIFFERS, reason, used=found[-1:])
