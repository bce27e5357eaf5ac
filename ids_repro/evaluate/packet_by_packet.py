"""Per packet, not per flow: accuracy by packet index, and how many packets until an attack is first flagged."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from tqdm.auto import tqdm

from .. import config, records
from ..data import dataset
from ..implementations import IMPLEMENTATIONS
from ..models import pipeline
from ..native.layouts import FIRST_PACKETS
from ..report import classification, style
from .rows import predictions

PER_PACKET = config.RESULTS / "per_packet.jsonl"
# The kernel's verdicts equal those of user-space C bit for bit (`parity.compare`), so that these rows stand for both.
ROWS = {row: IMPLEMENTATIONS[row].label for row in ("nn_pytorch", "nn_q16_c", "nn_fused_c", "dt_c")}
COLOURS, DASHES = ("#949494", "#0173b2", "#56b4e9", "#de8f05"), ("-", "--", ":", "-")
# Few flows are long: accuracy beyond the tenth packet is that of several packets, as many as look alike on the axis.
POOLS = np.array([*range(11), 12, 15, 19, 24, 30, 38, 48, 61, 78, 100])
TITLES, PALE = {"binary": "Binary", "multi": "Multi-class"}, 0.4


def first_packets(everything: dataset.Dataset) -> dataset.Dataset:
    """Return each flow's first 100 packets.

    Raises
    ------
    UserError
        If packets are missing: the dataset was made with one vector a flow.
    """
    every = everything.sample("every")
    _, counts = np.unique(every.flow, return_counts=True)
    last = every.sample("last")
    if not np.array_equal(last.index[np.argsort(last.flow)] + 1, counts):
        raise config.UserError("this dataset does not hold every packet of its flows: make it with notebook 01")
    return every


def tally(every: dataset.Dataset, truth: np.ndarray, found: np.ndarray, normal: int) -> dict[str, Any]:
    """Count right verdicts by packet index, and flows by the packet that first made an alarm.

    Parameters
    ----------
    every : Dataset
        First packets of flows (`first_packets`).
    truth, found : ndarray of shape (n,), int
        Their classes.
    normal : int
        The class that is no alarm.

    Returns
    -------
    dict
        "packets", "right": lists of 100 counts. For "attack" and "normal" flows: "..._flows", and "..._first_alarm",
        100 counts of flows whose first packet judged not normal has that index.
    """
    out = {"packets": every.index, "right": every.index[found == truth]}
    out = {name: np.bincount(values, minlength=FIRST_PACKETS).tolist() for name, values in out.items()}
    alarm_at = np.where(found != normal, every.index, FIRST_PACKETS)
    for kind, chosen in (("attack", truth != normal), ("normal", truth == normal)):
        flows, at = np.unique(every.flow[chosen], return_inverse=True)
        first = np.full(len(flows), FIRST_PACKETS)
        np.minimum.at(first, at, alarm_at[chosen])
        counts = np.bincount(first, minlength=FIRST_PACKETS + 1)[:FIRST_PACKETS]
        out |= {f"{kind}_flows": len(flows), f"{kind}_first_alarm": counts.tolist()}
    return out


def evaluate_all(everything: dataset.Dataset, profile: config.Profile) -> pd.DataFrame:
    """Classify each of the first 100 packets of the test flows, record the counts and return `table` of them.

    No flow here was trained on: the split by whole flows is that of the training.
    """
    every, made = first_packets(everything), []
    for model in tqdm(pipeline.load_all(profile), desc="packet by packet", unit="model"):
        started = time.time()
        some = every.take(dataset.split(every, model.seed)[2])
        truth, found = some.target(model.task), predictions(model, some.x)
        for row in ROWS:
            raw = tally(some, truth, found[row], config.NORMAL if model.task == "multi" else 0)
            asked = {"task": model.task, "row": row, "seed": model.seed, "dataset": every.meta["name"]}
            asked |= {"profile": profile.name}
            identity = {"model_sha256": model.sha256(), "data_hash": model.data_sha256}
            made.append(records.append(PER_PACKET, "per_packet", asked, raw, started=started, identity=identity))
    return table(made)


def alarms(raw: Mapping[str, Any], kind: str) -> np.ndarray:
    """Share of the "attack" or "normal" flows with an alarm by packet 1, 2, ..., 100, in %; shape (100,)."""
    return 100 * np.cumsum(raw[f"{kind}_first_alarm"]) / max(raw[f"{kind}_flows"], 1)


def table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return accuracy, attack flows flagged by packet 1, 3, 10, 100, and normal ones ever: %, means over seeds."""
    lines = []
    for record in records.current(rows, "per_packet"):
        raw, asked = record["raw"], record["asked"]
        line = {"task": asked["task"], "row": asked["row"], "accuracy": 100 * sum(raw["right"]) / sum(raw["packets"])}
        line |= {f"flagged by packet {n}": alarms(raw, "attack")[n - 1] for n in (1, 3, 10, FIRST_PACKETS)}
        lines.append(line | {"false alarm in flow": alarms(raw, "normal")[-1]})
    return pd.DataFrame(lines).groupby(["task", "row"], sort=False).mean().reset_index() if lines else pd.DataFrame()


def figure(rows: Iterable[Mapping[str, Any]]) -> Figure:
    """Return accuracy over packet index and flows flagged over packets seen: means over seeds, least to most."""
    used = records.current(rows, "per_packet")
    with mpl.rc_context(style.STYLE):
        chart = style.Chart(figsize=(7.2, 4.6), layout="constrained")
        axes = chart.subplots(2, 2, sharex=True, sharey=True)
        for (upper, lower), (task, title) in zip(axes.T, TITLES.items(), strict=True):
            _panel(upper, lower, [record for record in used if record["asked"]["task"] == task])
            upper.set_title(title)
            lower.set(xlabel="Packet of the flow", xscale="log", xlim=(1, FIRST_PACKETS), ylim=(0, 102))
            lower.set_xticks([1, 2, 5, 10, 20, 50, 100], [1, 2, 5, 10, 20, 50, 100])
        axes[0, 0].set_ylabel("Accuracy on that packet [%]")
        axes[1, 0].set_ylabel("Flows flagged by then [%]")
        handles, names = axes[0, 0].get_legend_handles_labels()
        handles += [Line2D([], [], color="0.2"), Line2D([], [], color="0.2", alpha=PALE)]
        look = {"loc": "outside upper center", "ncols": 7, "columnspacing": 1.2, "handlelength": 1.8}
        chart.legend(handles, [*names, "below: attack flows", "normal flows"], **look)
        style.footer(chart, used, "per_packet", classification.NO_RECORDS)
    return chart


def _panel(upper: Axes, lower: Axes, used: list[dict]) -> None:
    x, pools = np.arange(1, FIRST_PACKETS + 1), np.sqrt((POOLS[:-1] + 1) * POOLS[1:])
    for (row, name), colour, dashes in zip(ROWS.items(), COLOURS, DASHES, strict=True):
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
            axis.plot(at, values.mean(axis=0), color=colour, linestyle=dashes, linewidth=1.2, alpha=alpha, label=name)
            axis.fill_between(at, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.12, linewidth=0)
    if used:
        flows = np.array(used[-1]["raw"]["packets"])
        upper.fill_between(x, 100 * flows / flows[0], color="0.93", zorder=0, label="flows this long")


def write(rows: Iterable[Mapping[str, Any]], folder: Path = config.FIGURES) -> Figure:
    """Write per_packet.svg and .png, and return the figure."""
    chart = figure(rows)
    style.save(chart, "per_packet", folder)
    return chart
