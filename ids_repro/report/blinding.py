"""Whether a flood of new flows blinds the detector: how many packets of other flows still find their flow's state."""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd
from matplotlib.lines import Line2D

from .exhibit import Block, Exhibit, Results, no_records, origin
from .style import COLUMN_IN, STYLE, Chart

NAMES = {"shared": "our flow table", "lru": "the kernel's LRU map"}
COLOURS = {"shared": "#0072b2", "lru": "#d55e00"}
DASHES = ("-", "--", ":")  # of the sizes, the smallest first
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


def _kind(packets: int, answered: bool) -> str:
    if packets == 1:
        return "one packet a flow"
    return f"{packets} packets a flow" + ", answers forged" * answered


def _blocks(frame: pd.DataFrame) -> list[Block]:
    """Return a block for each size of the table: the floods as lines, the tables as columns."""
    blocks = []
    for flows, part in frame.groupby("flows"):
        lines: dict[tuple, dict[str, str]] = {}
        for line in part.itertuples():
            kind = _kind(line.packets, line.answered)
            text = lines.setdefault((line.rate_pps, kind), {"Flood [packets/s]": f"{line.rate_pps:,}", "of": kind})
            text[f"{NAMES[line.table]}: found [%]"] = f"{100 * line.share_found:.3f}"
        blocks.append(Block(f"Room for {flows:,} flows", pd.DataFrame(lines.values()).fillna("")))
    return blocks


def _verdicts(results: Results) -> list[Block]:
    """Return the block of what a flood does to verdicts, from records of kind "blinded_verdicts"; none without any."""
    lines = []
    for record in results.current("blinded_verdicts"):
        asked, packets, flagged = record["asked"], record["raw"]["packets"], record["raw"]["flagged"]
        share = {name: 100 * flagged[name] / packets[name] for name in packets if packets[name]}
        line = {"Flow table": NAMES[asked["table"]], "Flood [packets/s]": f"{asked['rate_pps']:,}"}
        line |= {"of": _kind(asked["packets"], asked["answered"]), "for [s]": f"{asked['flood_s']:g}"}
        line |= {"attack packets": f"{sum(packets.values()):,}"}
        line |= {"flagged [%]": f"{100 * sum(flagged.values()) / max(sum(packets.values()), 1):.1f}"}
        lines.append(line | {name: f"{value:.1f}" for name, value in share.items()})
    return [Block("Packets of attacks that are flagged [%]", pd.DataFrame(lines).fillna("–"))] if lines else []


def exhibit(results: Results, width_in: float = COLUMN_IN) -> Exhibit:
    """Return the figure and the table of the share of packets that find their flow's state, over the rate of a flood.

    Parameters
    ----------
    results : Results
        Records of kinds "blinding" and "blinded_verdicts" are used.
    width_in : float
    """
    frame, used = table(results), results.current("blinding")
    with mpl.rc_context(STYLE):
        figure = Chart(figsize=(width_in, 2.4), layout="constrained")
        axis = figure.subplots()
        handles = []
        if used:
            one = frame[frame["packets"] == 1]
            sizes = sorted(one["flows"].unique())
            for (kind, flows), part in one.groupby(["table", "flows"]):
                part = part.sort_values("rate_pps")
                dashes = DASHES[sizes.index(flows) % len(DASHES)]
                look = {"color": COLOURS[kind], "linestyle": dashes, "marker": "o", "markersize": 2.6, "linewidth": 1}
                axis.plot(part["rate_pps"] / 1e6, 100 * part["share_found"], **look)
            handles = [Line2D([], [], color=COLOURS[kind], label=NAMES[kind]) for kind in NAMES]
            looks = zip(sizes, DASHES, strict=False)
            handles += [Line2D([], [], color="0.35", linestyle=d, label=f"{n:,} flows") for n, d in looks]
            figure.legend(handles=handles, loc="outside upper center", ncols=3)
        axis.set(
            xlabel="Flood of new flows [million packets/s]", ylabel="Packets that find their flow [%]", ylim=(0, 103)
        )
        figure.sign(f"blinding.jsonl: {origin(used)}" if used else no_records("blinding"))
    seconds = ", ".join(f"{value:g}" for value in sorted(set(frame["flood_s"]))) if used else ""
    caption = "Share of the packets of background flows that find their flow's state during a flood of new flows"
    source = f" of {seconds} s. {origin(used)}. Records: blinding.jsonl." if used else f": {no_records('blinding')}."
    blocks = (_blocks(frame) if used else []) + _verdicts(results)
    return Exhibit("blinding", caption + source, frame, blocks, NOTES, figure, bool(used))
