"""What detectors find at which share of false alarms, in three tests, and what they do live: a table and a figure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator, StrMethodFormatter

from .. import metrics
from ..config import CLASSES
from ..text import rounded
from .exhibit import Block, Exhibit, Results, no_records, origin
from .style import STYLE, Chart

# Name, colour and dashes of each row.
LOOKS = {
    "dt_paper": ("Tree as in the paper", "#e69f00", "--"),
    "nn_paper": ("NN as in the paper", "#56b4e9", "--"),
    "nn_log2": ("Detector, NN", "#0072b2", "-"),
    "dt_deep": ("Detector, tree", "#009e73", "-"),
    "boosted": ("Boosted trees (bound)", "0.35", ":"),
}
TESTS = {"by_flow": "By flow", "by_time": "By time", "other_recording": "Another recording"}
LEAST = 1e-4  # the axes begin here; what is below stands on it
CAPTION = "What detectors find at a budget of false alarms, on flows that they did not learn"
NOTES = (
    "A flow is flagged at the first packet whose score reaches the threshold. The threshold was chosen for the budget "
    "by flows that were held out, not by the tested ones. By flow: a random third of the flows (Sec. V-A1). By time: "
    "the last 40 % of the flows. The two rows of the paper learn one vector of each flow, the others every packet. "
    "Boosted trees do not fit into the kernel. An incident is a line of the schedule; it is found if one of its flows "
    "is. Packets and ms: medians until a flow is flagged. Means over seeds. Figure, above: attack flows found over "
    "normal flows flagged, at thresholds chosen by the tested flows themselves; the dot is the first budget. Below, "
    "on another recording at that budget: attack flows found by class, by their n-th packet, and within a time of "
    "their first packet. Live: two servers with a detector for a budget of 0.5 % each; off-line: what the same model "
    "says of the capture at the bridge, where packets have other times and another order than at the servers. Of "
    "normal requests, only those are asked that succeed without a filter."
)


def table(results: Results) -> pd.DataFrame:
    """Return one line for each row, test and budget of the records of kind "detector": means over seeds.

    Returns
    -------
    DataFrame
        row, test, budget, seeds; found, found_low, found_high, false_alarms, incidents, packets_to_alarm, ms_to_alarm,
        false_alarms_per_hour; and the share found of each class.
    """
    cases: dict[tuple, list[dict[str, Any]]] = {}
    for record in results.current("detector"):
        for one in record["raw"]["outcomes"]:
            cases.setdefault((record["asked"]["row"], record["asked"]["test"], one["budget"]), []).append(one)
    lines = []
    for (row, test, budget), outcomes in cases.items():
        found = metrics.mean_interval([one["found"] for one in outcomes])
        line = {"row": row, "test": test, "budget": budget, "seeds": len(outcomes), "found": found.middle}
        line |= {"found_low": found.low, "found_high": found.high}
        for name in ("false_alarms", "incidents", "packets_to_alarm", "ms_to_alarm", "false_alarms_per_hour"):
            line[name] = _mean(one[name] for one in outcomes)
        lines.append(
            line | {name: _mean(one["by_class"].get(name) for one in outcomes) for name in _classes_of(outcomes)}
        )
    return pd.DataFrame(lines)


def _classes_of(outcomes: Sequence[dict]) -> list[str]:
    """Return the classes of attacks that one of the outcomes has, in the paper's order."""
    return [name for name in CLASSES if any(name in one["by_class"] for one in outcomes)]


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else float("nan")


def _blocks(frame: pd.DataFrame) -> list[Block]:
    """Return a block for each budget: the rows in each test as lines."""
    blocks = []
    for budget, part in frame.groupby("budget", sort=False):
        lines = []
        for line in part.to_dict("records"):
            cells = {"Test": TESTS[line["test"]], "": LOOKS.get(line["row"], (line["row"],))[0]}
            cells |= {
                "found [%]": rounded(100 * line["found"], ".1f"),
                "false alarms [%]": rounded(100 * line["false_alarms"], ".2f"),
            }
            cells |= {"incidents [%]": _text(100 * line["incidents"], ".1f")}
            cells |= {"packets": _text(line["packets_to_alarm"], ".0f"), "ms": _text(line["ms_to_alarm"], ".1f")}
            classes = list(line)[list(line).index("false_alarms_per_hour") + 1 :]
            lines.append(cells | {name: _text(100 * line[name], ".0f") for name in classes})
        order = list(TESTS.values())
        lines.sort(key=lambda cells: order.index(cells["Test"]))
        blocks.append(Block(f"Budget: {rounded(budget, '.1%')} of normal flows", pd.DataFrame(lines)))
    return blocks


def _text(value: float, form: str) -> str:
    return rounded(value, form) if np.isfinite(value) else "–"


def _percent(share: float | None) -> str:
    """Return a share as text; None is that of no flows."""
    return "–" if share is None else rounded(100 * share, ".1f")


def live(results: Results) -> list[Block]:
    """Return the block of what a detector did before the lab's servers; none without records."""
    lines, used = [], results.current("end_to_end")
    raws = {record["asked"]["action"]: record["raw"] for record in used}
    for record in used:
        raw, asked = record["raw"], record["asked"]
        line = {"Action": asked["action"], "for [s]": f"{asked['seconds']:g}"}
        for kind in ("attack", "normal"):
            line[f"{kind} flows"] = f"{raw['flows'][kind]:,}"
            line |= {f"{kind} flagged [%]": _percent(raw["live"][kind])}
            line |= {"the same off-line [%]" + " " * (kind == "normal"): _percent(raw["offline"][kind])}
        share = metrics.succeeded(raws["count"], raw) if asked["action"] != "count" and "count" in raws else math.nan
        lines.append(line | {"normal requests that succeed [%]": _text(100 * share, ".1f")})
    return [Block("Live, before the lab's servers", pd.DataFrame(lines))] if lines else []


def exhibit(results: Results) -> Exhibit:
    """Return the table and the figure; records of kinds "detector" and "end_to_end" are used."""
    frame, used = table(results), results.current("detector")
    before_servers = results.current("end_to_end")
    with mpl.rc_context(STYLE):
        chart = _chart(used)
        chart.sign(f"detector.jsonl: {origin(used)}" if used else no_records("detector", results.chosen))
    source = f". {origin(used)}; the other recording: {_others(used)}. Records: detector.jsonl."
    caption = CAPTION + (source if used else f": {results.missing('detector')}.")
    if before_servers:
        caption += f" Live: {origin(before_servers)}. Records: end_to_end.jsonl."
    elif used:
        caption += f" Live: {results.missing('end_to_end')}."
    blocks = (_blocks(frame) if used else []) + live(results)
    return Exhibit("detector", caption, frame, blocks, NOTES, chart, bool(used))


def _others(used: list[dict]) -> str:
    return ", ".join(dict.fromkeys(str(record["asked"].get("other")) for record in used))


def _chart(used: list[dict]) -> Chart:
    chart = Chart(figsize=(7.2, 4.6), layout="constrained")
    upper, lower = chart.subplots(2, 3)
    for axis, (test, title) in zip(upper, TESTS.items(), strict=True):
        _curves(axis, [record for record in used if record["asked"]["test"] == test])
        axis.set_title(title)
    upper[0].set_ylabel("Attack flows found [%]")
    last = [record for record in used if record["asked"]["test"] == "other_recording"]
    _classes(lower[0], last)
    _steps(lower[1], last, "by_packet", "Packet of the flow")
    _steps(lower[2], last, "by_ms", "Time since its first packet [ms]")
    lower[0].set_ylabel("Attack flows found [%]")
    handles = [Line2D([], [], color=colour, linestyle=dashes, label=name) for name, colour, dashes in LOOKS.values()]
    chart.legend(handles=handles, loc="outside upper center", ncols=5, columnspacing=1.2)
    return chart


def _of_row(used: list[dict], row: str) -> list[dict]:
    return [record["raw"] for record in used if record["asked"]["row"] == row]


def _curves(axis: Axes, used: list[dict]) -> None:
    """Draw attack flows found over normal flows flagged, for one test."""
    for row, (_, colour, dashes) in LOOKS.items():
        raws = _of_row(used, row)
        if not raws:
            continue
        flagged, found = (
            np.maximum(np.mean([raw["curve"][name] for raw in raws], axis=0), LEAST) for name in ("flagged", "found")
        )
        axis.plot(100 * flagged, 100 * found, color=colour, linestyle=dashes, linewidth=1.1)
        at = [raw["outcomes"][0] for raw in raws]
        dot = [100 * max(np.mean([one[name] for one in at]), LEAST) for name in ("false_alarms", "found")]
        axis.plot(*dot, color=colour, marker="o", markersize=3, linestyle="none")
    _log_axis(axis, "Normal flows flagged [%]")
    axis.set_xlim(100 * LEAST, 100)


def _log_axis(axis: Axes, title: str) -> None:
    """Make x logarithmic, with plain numbers at the decades alone: hundreds of ticks would take a second to place."""
    axis.set(xscale="log", xlabel=title, ylim=(0, 102))
    axis.xaxis.set(major_formatter=StrMethodFormatter("{x:g}"), minor_locator=NullLocator())


def _classes(axis: Axes, used: list[dict]) -> None:
    """Draw the share found of each class."""
    names = _classes_of([record["raw"]["outcomes"][0] for record in used])
    for nth, (row, (_, colour, _)) in enumerate(LOOKS.items()):
        raws = _of_row(used, row)
        if not raws:
            continue
        found = [100 * _mean(raw["outcomes"][0]["by_class"].get(name) for raw in raws) for name in names]
        axis.bar(np.arange(len(names)) + 0.16 * (nth - 2), found, width=0.15, color=colour)
    axis.set_xticks(range(len(names)), [name.replace(" ", "\n") for name in names], rotation=30)
    axis.set_ylim(0, 102)


def _steps(axis: Axes, used: list[dict], key: str, title: str) -> None:
    """Draw the share of attack flows that are flagged by a packet, or within a time."""
    for row, (_, colour, dashes) in LOOKS.items():
        raws = _of_row(used, row)
        if raws:
            share = pd.DataFrame([raw["outcomes"][0][key] for raw in raws]).mean() * 100
            axis.plot(
                share.index.astype(float),
                share,
                color=colour,
                linestyle=dashes,
                linewidth=1.1,
                marker="o",
                markersize=2,
            )
    _log_axis(axis, title)
