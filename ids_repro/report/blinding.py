"""Whether a flood of new flows blinds the detector: how many packets of other flows still find their flow's state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.lines import Line2D

from ..text import rounded
from .exhibit import Block, Exhibit, Results, no_records, origin
from .style import COLUMN_IN, STYLE, Chart

NAMES = {"shared": "our flow table", "lru": "the kernel's LRU map"}
COLOURS = {"shared": "#0072b2", "lru": "#d55e00"}
DASHES = ("-", "--", ":")  # of the sizes, the smallest first
LEAST = 0.01  # share [%] below which the axis is linear, so that 0 has a place
NOTES = (
    "1,000 flows in the background have begun with a packet and its answer; their mean gaps reach from 10 ms to "
    "10 s. Then a flood of new flows begins. A packet of the background finds its flow's state if it is not treated as "
    "the first of a flow. Every packet goes through the loaded TC program by a test run with a clock of its own: this "
    "is made-up traffic. Flagged: the share of the attacks' packets that the net (fused, two classes) does not call "
    "normal, in the middle of a capture, which passes at its own pace while the flood does."
)


def table(results: Results) -> pd.DataFrame:
    """Return one line for each table, size and flood of the records of kind "blinding".

    Returns
    -------
    DataFrame
        table, flows, rate_pps, packets, answered, flood_s; share_found of the background's packets during the flood;
        known, started, evicted_unproven, evicted_proven: packets of background and flood (0 of the LRU map,
        which does not say).
    """
    names = ("table", "flows", "rate_pps", "packets", "answered", "flood_s")
    return pd.DataFrame(
        {name: record["asked"][name] for name in names}
        | {"share_found": record["raw"]["share_found"]}
        | record["raw"]["found_packets"]
        for record in results.current("blinding")
    )


def kind(packets: int, answered: bool) -> str:
    """Return in words what the flows of a flood are."""
    if packets == 1:
        return "one packet per flow"
    return f"{packets} packets per flow" + ", answers forged" * bool(answered)


def _blocks(frame: pd.DataFrame) -> list[Block]:
    """Return a block for each size of the table: the floods as lines, the tables as columns."""
    blocks = []
    for flows, part in frame.groupby("flows"):
        lines: dict[tuple, dict[str, str]] = {}
        for line in part.itertuples():
            of = kind(line.packets, line.answered)
            text = lines.setdefault((line.rate_pps, of), {"Flood [packets/s]": f"{line.rate_pps:,}", "of": of})
            text[f"{NAMES[line.table]}: found [%]"] = rounded(100 * line.share_found, ".3f")
        blocks.append(Block(f"Room for {flows:,} flows", pd.DataFrame(lines.values()).fillna("")))
    return blocks


def flagged_percent(record: Mapping[str, Any]) -> float:
    """Return how many of the packets of attacks are flagged, by a record of kind "blinded_verdicts" [%]."""
    packets, flagged = (sum(record["raw"][name].values()) for name in ("packets", "flagged"))
    return 100 * flagged / max(packets, 1)


def _verdicts(results: Results) -> list[Block]:
    """Return the block of what a flood does to verdicts, from records of kind "blinded_verdicts"; none without any."""
    lines = []
    for record in results.current("blinded_verdicts"):
        asked, packets, flagged = record["asked"], record["raw"]["packets"], record["raw"]["flagged"]
        share = {name: 100 * flagged.get(name, 0) / packets[name] for name in packets if packets[name]}
        line = {"Flow table": NAMES[asked["table"]], "Flood [packets/s]": f"{asked['rate_pps']:,}"}
        line |= {"of": kind(asked["packets"], asked["answered"]), "for [s]": f"{asked['flood_s']:g}"}
        line |= {"attack packets": f"{sum(packets.values()):,}"}
        line |= {"flagged [%]": rounded(flagged_percent(record), ".1f")}
        lines.append(line | {name: rounded(value, ".1f") for name, value in share.items()})
    return [Block("Packets of attacks that are flagged [%]", pd.DataFrame(lines).fillna("–"))] if lines else []


def _draw(figure: Chart, frame: pd.DataFrame) -> None:
    """Draw the share of packets that do not find their flow: over the rate, and for each kind of the fastest flood."""
    by_rate, by_kind = figure.subplots(1, 2, sharey=True, width_ratios=(1.2, 1))
    frame = frame.assign(lost=100 * (1 - frame["share_found"]))
    frame["kind"] = [f"{line.packets}" + ", forged" * line.answered for line in frame.itertuples()]
    sizes, kinds = sorted(frame["flows"].unique()), list(dict.fromkeys(frame.sort_values("packets")["kind"]))
    fastest = frame[frame["rate_pps"] == frame["rate_pps"].max()]
    for (table_kind, flows), part in frame.groupby(["table", "flows"]):
        dashes = DASHES[sizes.index(flows) % len(DASHES)]
        look = {"color": COLOURS[table_kind], "linestyle": dashes, "marker": "o", "markersize": 2.6, "linewidth": 1}
        one = part[part["packets"] == 1].sort_values("rate_pps")
        by_rate.plot(one["rate_pps"] / 1e6, one["lost"], clip_on=False, **look)
        some = fastest.loc[fastest.index.intersection(part.index)].sort_values("packets")
        by_kind.plot([kinds.index(kind) for kind in some["kind"]], some["lost"], clip_on=False, **look)
    by_rate.set_yscale("symlog", linthresh=LEAST, linscale=0.4)
    by_rate.set_ylim(0, 100)
    by_rate.set_yticks([0, LEAST, 0.1, 1, 10, 100], ["0", f"{LEAST:g}", "0.1", "1", "10", "100"])
    by_rate.set(xlabel="One packet per flow [Mpps]", ylabel="Packets that lost their flow [%]")
    by_kind.set_xticks(range(len(kinds)), kinds)
    by_kind.set(xlabel=f"Packets per flow, {fastest['rate_pps'].max() / 1e6:g} Mpps", xlim=(-0.3, len(kinds) - 0.7))
    handles = [Line2D([], [], color=COLOURS[name], label=NAMES[name]) for name in NAMES]
    handles += [
        Line2D([], [], color="0.35", linestyle=DASHES[at % len(DASHES)], label=f"{n:,} flows")
        for at, n in enumerate(sizes)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)


def exhibit(results: Results, width_in: float = COLUMN_IN) -> Exhibit:
    """Return the table of the share of packets that find their flow's state in a flood, and the figure of the others.

    Parameters
    ----------
    results : Results
        Records of kinds "blinding" and "blinded_verdicts" are used.
    width_in : float
    """
    frame, used = table(results), results.current("blinding")
    with mpl.rc_context(STYLE):
        figure = Chart(figsize=(width_in, 2.4), layout="constrained")
        if used:
            _draw(figure, frame)
        else:
            figure.subplots()
        figure.sign(f"blinding.jsonl: {origin(used)}" if used else no_records("blinding", results.chosen))
    seconds = ", ".join(f"{value:g}" for value in sorted(set(frame["flood_s"]))) if used else ""
    caption = "Share of the packets of background flows that find their flow's state during a flood of new flows"
    source = (
        f" of {seconds} s. {origin(used)}. Records: blinding.jsonl." if used else f": {results.missing('blinding')}."
    )
    if used:
        verdicts = results.current("blinded_verdicts")
        data = origin(verdicts, ("dataset", "labels")) if verdicts else results.missing("blinded_verdicts")
        source += f" Verdicts: {data}."
    blocks = (_blocks(frame) if used else []) + _verdicts(results)
    return Exhibit("blinding", caption + source, frame, blocks, NOTES, figure, bool(used))
