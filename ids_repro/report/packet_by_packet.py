"""Accuracy by packet index, and how many packets pass until a flow is flagged: a figure and a table, from records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from ..implementations import label
from ..record_schema import PACKETS
from .exhibit import Exhibit, Results
from .style import STYLE, Chart

# How each row is drawn: colour and dashes.
LOOKS = {
    "nn_pytorch": ("#949494", "-"),
    "nn_q16_c": ("#0173b2", "--"),
    "nn_fused_c": ("#56b4e9", ":"),
    "dt_c": ("#de8f05", "-"),
    "dt_deep": ("#029e73", "-"),
}
# Few flows are long. Accuracy beyond the tenth packet is therefore pooled over several packets, in steps that look
# equal on the logarithmic axis.
POOLS = np.array([*range(11), 12, 15, 19, 24, 30, 38, 48, 61, 78, PACKETS])
TITLES, PALE = {"binary": "Binary", "multi": "Multi-class"}, 0.4
CAPTION = (
    "Each of the first 100 packets of the test flows is judged, as in the kernel. Above: accuracy on that packet; the "
    "grey area is the share of flows with so many packets. Below: the share of flows of which a packet was judged not "
    "normal by then; attack flows in full colour, normal flows (false alarms) pale. The detector says at each packet "
    "whether the flow is flagged. Lines are means over seeds; shades reach from the least to the most."
)


def exhibit(results: Results) -> Exhibit:
    """Return the figure of accuracy over packet index and of flows flagged over packets seen."""
    return Exhibit.of_chart(results, "per_packet", "per_packet", CAPTION, figure(results))


def alarms(raw: Mapping[str, Any], kind: str) -> np.ndarray:
    """Return the share of the "attack" or "normal" flows with an alarm by packet 1, 2, ..., 100, in %; shape (100,)."""
    return 100 * np.cumsum(raw[f"{kind}_first_alarm"]) / max(raw[f"{kind}_flows"], 1)


def table(results: Results) -> pd.DataFrame:
    """Return one line a task and row: %, means over seeds.

    Returns
    -------
    DataFrame
        task, row, accuracy over all packets; the attack flows flagged by packet 1, 3, 10 and 100; the normal flows
        ever flagged. Without records: empty.
    """
    lines = []
    for record in results.current("per_packet"):
        raw, asked = record["raw"], record["asked"]
        line = {
            "task": asked["task"],
            "row": asked["row"],
            "accuracy": 100 * sum(raw["right"]) / max(sum(raw["packets"]), 1),
        }
        line |= {f"flagged by packet {n}": alarms(raw, "attack")[n - 1] for n in (1, 3, 10, PACKETS)}
        lines.append(line | {"false alarm in flow": alarms(raw, "normal")[-1]})
    return pd.DataFrame(lines).groupby(["task", "row"], sort=False).mean().reset_index() if lines else pd.DataFrame()


def figure(results: Results) -> Chart:
    """Draw accuracy over packet index and flows flagged over packets seen: means over seeds, least to most."""
    used = results.current("per_packet")
    with mpl.rc_context(STYLE):
        chart = Chart(figsize=(7.2, 4.6), layout="constrained")
        axes = chart.subplots(2, 2, sharex=True, sharey=True)
        for (upper, lower), (task, title) in zip(axes.T, TITLES.items(), strict=True):
            _panel(upper, lower, [record for record in used if record["asked"]["task"] == task])
            upper.set_title(title)
            lower.set(xlabel="Packet of the flow", xscale="log", xlim=(1, PACKETS), ylim=(0, 102))
            lower.set_xticks([1, 2, 5, 10, 20, 50, 100], [1, 2, 5, 10, 20, 50, 100])
            lower.xaxis.set_minor_locator(NullLocator())
        axes[0, 0].set_ylabel("Accuracy on that packet [%]")
        axes[1, 0].set_ylabel("Flows flagged by then [%]")
        handles, names = axes[0, 0].get_legend_handles_labels()
        handles += [Line2D([], [], color="0.2"), Line2D([], [], color="0.2", alpha=PALE)]
        look = {"loc": "outside upper center", "ncols": 7, "columnspacing": 1.2, "handlelength": 1.8}
        chart.legend(handles, [*names, "below: attack flows", "normal flows"], **look)
    return chart


def _panel(upper: Axes, lower: Axes, used: list[dict]) -> None:
    """Draw one task: accuracy on the upper axes, flows flagged on the lower ones."""
    x, pools = np.arange(1, PACKETS + 1), np.sqrt((POOLS[:-1] + 1) * POOLS[1:])
    for row, (colour, dashes) in LOOKS.items():
        raws = [record["raw"] for record in used if record["asked"]["row"] == row]
        if not raws:
            continue
        right, packets = (
            np.add.reduceat(np.array([raw[key] for raw in raws], float), POOLS[:-1], axis=1)
            for key in ("right", "packets")
        )
        share = 100 * np.divide(right, packets, where=packets > 0, out=np.full_like(right, np.nan))
        attack, normal = (np.array([alarms(raw, kind) for raw in raws]) for kind in ("attack", "normal"))
        for axis, at, values, alpha in ((upper, pools, share, 1), (lower, x, attack, 1), (lower, x, normal, PALE)):
            look = {"color": colour, "linestyle": dashes, "linewidth": 1.2, "alpha": alpha, "label": label(row)}
            axis.plot(at, values.mean(axis=0), **look)
            axis.fill_between(at, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.12, linewidth=0)
    if used:
        flows = np.array(used[-1]["raw"]["packets"])
        upper.fill_between(x, 100 * flows / max(flows[0], 1), color="0.93", zorder=0, label="flows this long")
