"""What a packet costs in the kernel, from records: a table of the variants, and a figure over the flow table's size."""

from __future__ import annotations

import math
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import StrMethodFormatter

from .. import metrics
from ..text import rounded
from .exhibit import Block, Exhibit, Results, origin
from .style import COLUMN_IN, STYLE, Chart

# What a trial of kind "kernel_cost" may run on, and what the kernel and the compiler say of a loaded program.
TRAFFIC = ("one_flow", "new_flows")
SIZES = ("verified_insns", "xlated_bytes", "jited_bytes", "stack_bytes")
NOTES = (
    "Time per packet, by BPF_PROG_TEST_RUN in interleaved rounds: median and, in brackets, the quartiles. Beyond flow: "
    "the median less that of the variant flow (on TC: flow_tc), which only extracts features. Verified instructions: "
    "how many the verifier walked. A row without sizes runs in user space."
)
# How the figure draws each kind of traffic and each classifier.
DASHES = {
    "one_flow": ("-", "one flow"),
    "new_ports": (":", "a new port per packet (hping3)"),
    "new_flows": ("--", "a new flow per packet"),
}
CLASSIFIERS = {
    "flow": ("#009e73", "o", "flow extraction"),
    "flow_lru": ("#d55e00", "s", "flow extraction, LRU map"),
    "nn_fused_packed": ("#0072b2", "^", "NN fused"),
}


def exhibit(results: Results) -> Exhibit:
    """Return the table of what a packet costs in each variant of the kernel program."""
    used, frame = results.current("kernel_cost"), table(results)
    where = f"{origin(used)}. Records: kernel_cost.jsonl." if used else results.missing("kernel_cost")
    caption = f"What a packet costs in the kernel: {where}"
    return Exhibit("kernel_cost", caption, frame, [Block("", _text(frame))], NOTES)


def table(results: Results) -> pd.DataFrame:
    """Return what a packet costs in each variant of the kernel program, one line per variant.

    Parameters
    ----------
    results : Results
        Records of kind "kernel_cost" are used: asked "variant" and "traffic"; raw "ns_per_packet" of each round and,
        of a program in the kernel, its SIZES.

    Returns
    -------
    DataFrame
        variant; for each of TRAFFIC ..._ns, ..._ns_low, ..._ns_high (median and quartiles over rounds), ..._rounds and
        ..._beyond_ns, what a classifier adds to "flow"; SIZES. NaN: not measured. Variants in the order of measuring.
    """
    lines: dict[str, dict[str, Any]] = {}
    for record in results.current("kernel_cost"):
        variant, traffic, raw = record["asked"]["variant"], record["asked"]["traffic"], record["raw"]
        ours = metrics.median_quartiles(raw["ns_per_packet"])
        line = lines.setdefault(variant, {"variant": variant})
        line |= {f"{traffic}_ns{end}": value for end, value in zip(("", "_low", "_high"), ours[:3], strict=True)}
        line |= {f"{traffic}_rounds": ours.n} | {size: raw[size] for size in SIZES if size in raw}
    parts = ("ns", "ns_low", "ns_high", "rounds", "beyond_ns")
    columns = ["variant", *(f"{traffic}_{part}" for traffic in TRAFFIC for part in parts), *SIZES]
    frame = pd.DataFrame(lines.values(), columns=columns)
    adds = frame["verified_insns"].notna() & ~frame["variant"].isin(["empty", "flow", "empty_tc", "flow_tc"])
    for traffic in TRAFFIC:
        base = {hook: lines.get(f"flow{hook}", {}).get(f"{traffic}_ns", float("nan")) for hook in ("", "_tc")}
        own = frame["variant"].str.contains("_tc").map({True: base["_tc"], False: base[""]})
        frame[f"{traffic}_beyond_ns"] = (frame[f"{traffic}_ns"] - own).where(adds)
    return frame


def _text(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `table` as text: times with their quartiles, sizes; nothing where it does not apply."""

    def time(line, traffic: str) -> str:
        middle, low, high = (getattr(line, f"{traffic}_ns{end}") for end in ("", "_low", "_high"))
        return (
            f"{rounded(middle, '.1f')} [{rounded(low, '.1f')}, {rounded(high, '.1f')}]" if math.isfinite(middle) else ""
        )

    def count(value: float, sign: str = "") -> str:
        return rounded(value, f"{sign},.0f") if math.isfinite(value) else ""

    return pd.DataFrame(
        {
            "Variant": line.variant,
            "One flow [ns]": time(line, "one_flow"),
            "beyond flow": count(line.one_flow_beyond_ns, "+"),
            "A new flow per packet [ns]": time(line, "new_flows"),
            "beyond flow ": count(line.new_flows_beyond_ns, "+"),
            "Verified instructions": count(line.verified_insns),
            "Translated [B]": count(line.xlated_bytes),
            "After JIT [B]": count(line.jited_bytes),
            "Stack [B]": count(line.stack_bytes),
        }
        for line in frame.itertuples()
    )


def flow_churn(results: Results, width_in: float = COLUMN_IN) -> Exhibit:
    """Return the figure of ns per packet over the entries of the flow table: one flow, new ports, new flows.

    Parameters
    ----------
    results : Results
        Records of kind "flow_churn" are used: asked "flows_entries", "traffic" (a name in DASHES) and "classifier";
        raw "ns_per_packet" of each round.
    width_in : float
    """
    lines = [
        {name: record["asked"][name] for name in ("flows_entries", "traffic", "classifier")}
        | metrics.median_quartiles(record["raw"]["ns_per_packet"])._asdict()
        for record in results.current("flow_churn")
    ]
    with mpl.rc_context(STYLE):
        figure = Chart(figsize=(width_in, 2.3), layout="constrained")
        axis = figure.subplots()
        names, kinds = {}, {}
        for (classifier, traffic), part in pd.DataFrame(lines).groupby(["classifier", "traffic"]) if lines else ():
            part = part.sort_values("flows_entries")
            colour, marker, name = CLASSIFIERS.get(classifier, ("0.5", "x", classifier))
            dashes, kind = DASHES[traffic]
            around = np.array([part["middle"] - part["low"], part["high"] - part["middle"]])
            look = {"marker": marker, "markersize": 3, "linewidth": 1, "elinewidth": 0.6, "capsize": 1.2}
            axis.errorbar(part["flows_entries"], part["middle"], yerr=around, color=colour, linestyle=dashes, **look)
            names[name] = Line2D([], [], color=colour, marker=marker, markersize=3, label=name)
            kinds[kind] = Line2D([], [], color="0.35", linestyle=dashes, label=kind)
        axis.set(xlabel="Entries of the flow table", ylabel="Time per packet [ns]", ylim=(0, None))
        axis.set_xscale("log", base=2)
        axis.set_xticks(sorted({line["flows_entries"] for line in lines}))
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        if lines:
            figure.legend(handles=[*names.values(), *kinds.values()], loc="outside upper center", ncols=2)
    caption = "Cost of a packet over the size of the flow table: medians over rounds, whiskers at the quartiles."
    return Exhibit.of_chart(results, "flow_churn", "flow_churn", caption, figure)
