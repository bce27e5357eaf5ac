"""Where packets are lost when more are sent than a method takes."""

from __future__ import annotations

from dataclasses import replace

import matplotlib as mpl
import pandas as pd

from ..text import rounded
from . import style
from .exhibit import Block, Exhibit, Results
from .style import COLUMN_IN, STYLE, Chart
from .sweep_points import lengths, medians, trial_points

# Where a packet can end, in the order of its way: what it is called, its colour.
PLACES = {
    "received": ("received", "#d9d9d9"),
    "link": ("link: the veth's or NIC's ring is full", "#0072b2"),
    "interface": ("server's interface", "#56b4e9"),
    "ring": ("AF_XDP ring is full", "#009e73"),
    "socket": ("raw socket's buffer is full", "#e69f00"),
    "queue": ("queue of a classifying thread is full", "#d55e00"),
    "unparsed": ("not parsed", "#000000"),
}
CAPTION = (
    "Where packets are lost. A bar shows the trials of a method with the highest R_TX: means over repeats, in % of "
    "the packets sent. Bars of two methods are not of the same load: the table's column R_TX has what each was sent."
)
NOTES = (
    "The link loses packets when its ring is full, and the ring is full because the server's CPU is. The server's "
    "program never sees these packets, but they are not free: both CPUs take the lock of the sender's page pool. In a "
    "run of its own, XDP with the net received 6 % less of 10 million packets/s than of 5 million (bpf/README.md, last "
    "section); Fig. 4 shows whether it does so here. "
    "Packets that a socket loses have cost the whole way to it, and this time is missing for those that are received."
)


def table(results: Results) -> pd.DataFrame:
    """Return one line for each method: the point of Fig. 4 with the highest R_TX, live frames first.

    Returns
    -------
    DataFrame
        method, generator, flows, trial_s, r_tx_pps, r_rx_pps, trials; received, link, interface, ring, socket, queue,
        unparsed: where the packets sent ended [%], means over repeats; NaN where a method has no such place.
    """
    points = results.once(trial_points)
    records = results.current("sweep")
    shares = pd.DataFrame(
        [
            {
                place: 100 * n / max(raw["sent_packets"], 1)
                for place, n in {"received": raw["received_packets"], **raw.get("dropped_packets", {})}.items()
            }
            for raw in (record["raw"] for record in records)
        ],
        columns=list(PLACES),
        dtype=float,
    )
    every, lines = pd.concat([points, shares], axis=1), []
    for method in sorted(every["method"].unique(), key=style.place):
        part = every[every["method"] == method]
        part = part[part["trial_s"] == lengths(part)[0]]
        top = part.loc[part["r_tx_pps"].idxmax()]
        same = part[(part["generator"] == top["generator"]) & (part["flows"] == top["flows"])]
        same = same[same["interval_us"].eq(top["interval_us"]) | same["rate_pps"].eq(top["rate_pps"])]
        line = {name: top[name] for name in ("method", "generator", "flows", "trial_s")} | {"trials": len(same)}
        lines.append(line | same[["r_tx_pps", "r_rx_pps", *PLACES]].mean().to_dict())
    names = ["method", "generator", "flows", "trial_s", "trials", "r_tx_pps", "r_rx_pps", *PLACES]
    return pd.DataFrame(lines, columns=names)


def _draw(figure: Chart, frame: pd.DataFrame, names: list[str]) -> None:
    axis, left = figure.subplots(), 0.0
    for place, (label, colour) in PLACES.items():
        width = frame[place].fillna(0)
        if width.max() >= 0.05:
            axis.barh(names, width, left=left, color=colour, edgecolor="0.4", linewidth=0.3, height=0.7, label=label)
        left = left + width
    axis.set(xlim=(0, 100), xlabel="Packets sent [%]")
    axis.invert_yaxis()
    axis.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper center", handlelength=1.2)


def exhibit(results: Results, width_in: float = COLUMN_IN) -> Exhibit:
    """Return the table of where packets are lost, and its figure.

    Parameters
    ----------
    results : Results
        Records of kind "sweep" are used.
    width_in : float
    """
    frame, middle = table(results), results.once(medians)
    names = [style.method_name(method, middle) for method in frame["method"]]
    with mpl.rc_context(STYLE):
        figure = Chart(figsize=(width_in, 0.8 + 0.17 * len(frame)), layout="constrained")
        if len(frame):
            _draw(figure, frame, names)
        else:
            figure.subplots()
    shown = pd.DataFrame(
        {"Method": names, "R_TX [kpps]": [rounded(value / 1e3, ",.0f") for value in frame["r_tx_pps"]]}
    )
    for place in PLACES:
        if frame[place].notna().any():
            shown[f"{place} [%]"] = ["–" if pd.isna(value) else rounded(value, ".1f") for value in frame[place]]
    made = Exhibit.of_chart(results, "sweep", "losses", CAPTION, figure)
    return replace(made, frame=frame, blocks=[Block("", shown)], notes=NOTES)
