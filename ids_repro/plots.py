"""Figs. 4 and 5 from the records of a sweep; the paper's marks come from published.json."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from . import config, metrics, records, tables

# Sec. V-B1, in the order of Fig. 5. {n}: the workers of the records; the paper has 24.
METHODS = {
    "no_filter": "No Filter",
    "xdp_drv_flow": "XDP_DRV (Flow Extraction)",
    "xdp_drv_nn": "XDP_DRV (NN)",
    "xdp_drv_dt": "XDP_DRV (DT)",
    "tc_nn": "TC (NN)",
    "xdp_skb_nn": "XDP_SKB (NN)",
    "rawsock1_nn": "1-core Rawsocket (NN)",
    "rawsockN_nn": "{n}-core Rawsocket (NN)",
}
PANELS = {
    "(a) Classifiers": ("no_filter", "xdp_drv_flow", "xdp_drv_dt", "xdp_drv_nn"),
    "(b) Packet processing mechanisms": (
        "no_filter",
        "xdp_drv_nn",
        "xdp_skb_nn",
        "tc_nn",
        "rawsock1_nn",
        "rawsockN_nn",
    ),
}
FIG5 = {
    "(a)": ("no_filter", "xdp_drv_flow", "xdp_drv_nn", "xdp_drv_dt", "xdp_skb_nn", "tc_nn"),
    "(b)": ("rawsock1_nn", "rawsockN_nn"),
}
CPU_COLOURS = ("#0173b2", "#de8f05", "#cc3311", "#e9e9e9")
# Place in seaborn's colour-blind palette, which readers of any colour vision tell apart, and line style.
LOOKS = {
    "no_filter": (None, "-"),
    "xdp_drv_flow": (2, "-"),
    "xdp_drv_nn": (0, "-"),
    "xdp_drv_dt": (1, "-"),
    "tc_nn": (9, "--"),
    "xdp_skb_nn": (3, "-."),
    "rawsock1_nn": (4, ":"),
    "rawsockN_nn": (7, (0, (5, 1, 1, 1))),
}
MARKERS = "os^Dv"
NO_RECORDS = "no records yet: run notebook 05"
STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "svg.hashsalt": "ids_repro",
    "svg.fonttype": "path",
    "savefig.dpi": 200,
}


def method_name(method: str, trials: pd.DataFrame | None = None) -> str:
    """Return the paper's name of a method, with the number of cores its trials really had."""
    workers = [] if trials is None else trials.loc[trials["method"] == method, "workers"]
    return METHODS.get(method, method).format(n=f"{max(workers):.0f}" if len(workers) else "N")


class Chart(Figure):
    """A figure that a notebook shows without pyplot, which would keep it open."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        with mpl.rc_context(STYLE):
            self.savefig(file, format="png")
        return file.getvalue()


def fig4(rows: Iterable[Mapping[str, Any]]) -> Figure:
    """Return Fig. 4: R_RX over the measured R_TX in kpps, for the classifiers and for the mechanisms.

    Medians over repeats with whiskers from the least to the most, one marker a generator. Triangles on the axis are
    the rates up to which the paper saw no loss (Sec. V-B2), in the colour of the method.
    """
    rows = list(rows)
    middle = metrics.medians(metrics.points(rows))
    with mpl.rc_context(STYLE):
        figure = Chart(figsize=(7.2, 3.9), layout="constrained")
        axes = figure.subplots(1, 2, sharex=True, sharey=True)
        top = 1.05 * max(
            [middle["r_tx_pps"].max(), *_paper_rates().values()] if len(middle) else _paper_rates().values()
        )
        for axis, (title, methods) in zip(axes, PANELS.items(), strict=True):
            _throughput(axis, middle, methods)
            axis.set(title=title, xlabel="Sending rate $R_{TX}$ [kpps]", xlim=(0, top / 1e3), ylim=(0, top / 1e3))
        axes[0].set_ylabel("Receiving rate $R_{RX}$ [kpps]")
        footer(figure, rows)
    return figure


def fig5(rows: Iterable[Mapping[str, Any]]) -> Figure:
    """Return Fig. 5: usr, sys, soft and idle of the server's CPU in % over R_TX in kpps, a panel a method.

    Ticks under the areas are the rates that were measured; between them the areas are straight lines.
    """
    rows = list(rows)
    middle = metrics.medians(metrics.points(rows))
    with mpl.rc_context(STYLE):
        figure = Chart(figsize=(7.2, 5.2), layout="constrained")
        axes = figure.subplots(3, 3, sharex=True, sharey=True).ravel()
        panels = [(part, method) for part, methods in FIG5.items() for method in methods]
        for axis, (part, method) in zip(axes, panels, strict=False):
            _cpu(axis, middle[middle["method"] == method])
            axis.set_title(f"{part} {method_name(method, middle)}")
            axis.tick_params(labelbottom=True)
        axes[0].set_xlim(0, 1.03 * middle["r_tx_pps"].max() / 1e3 if len(middle) else 1)
        axes[-1].set_axis_off()
        axes[-1].legend(handles=_cpu_handles(), loc="center", fontsize=8, title="CPU of the server")
        for axis in axes[6:8]:
            axis.set_xlabel("Sending rate $R_{TX}$ [kpps]")
        figure.supylabel("CPU utilisation [%]", fontsize=8)
        footer(figure, rows)
    return figure


def save(figure: Figure, name: str, folder: Path = config.FIGURES) -> list[Path]:
    """Write a figure as .svg (the same bytes for the same records) and .png, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{kind}" for kind in ("svg", "png")]
    with mpl.rc_context(STYLE):
        figure.savefig(paths[0], metadata={"Date": None, "Creator": None})
        figure.savefig(paths[1], metadata={"Software": None})
    return paths


def write(rows: Iterable[Mapping[str, Any]], folder: Path = config.FIGURES) -> dict[str, Figure]:
    """Write fig4 and fig5 as .svg and .png, and return the figures by those names."""
    rows = list(rows)
    figures = {"fig4": fig4(rows), "fig5": fig5(rows)}
    for name, figure in figures.items():
        save(figure, name, folder)
    return figures


def _colour(method: str) -> str:
    place = LOOKS[method][0]
    return "#222222" if place is None else sns.color_palette("colorblind").as_hex()[place]


def _paper_rates() -> dict[str, float]:
    claims = tables.published()["claims"]
    return {claim["method"]: claim["value"] for claim in claims if claim["kind"] == "no_loss"}


def _throughput(axis: Axes, middle: pd.DataFrame, methods: Sequence[str]) -> None:
    axis.axline((0, 0), slope=1, color="0.75", linewidth=0.8, zorder=0)
    handles = []
    generators = list(dict.fromkeys(middle["generator"]))
    for method in methods:
        style = {"color": _colour(method), "linestyle": LOOKS[method][1], "linewidth": 1.2, "markersize": 3.5}
        for generator, part in middle[middle["method"] == method].groupby("generator"):
            around = np.abs(part[["r_rx_min_pps", "r_rx_max_pps"]].sub(part["r_rx_pps"], axis=0)).to_numpy().T / 1e3
            marker = MARKERS[generators.index(generator) % len(MARKERS)]
            x, y = part["r_tx_pps"] / 1e3, part["r_rx_pps"] / 1e3
            axis.errorbar(x, y, yerr=around, marker=marker, elinewidth=0.7, capsize=1.5, **style)
        if (middle["method"] == method).any():
            handles.append(Line2D([], [], label=method_name(method, middle), **style))
    shown = [(method, rate) for method, rate in _paper_rates().items() if method in methods]
    for index, (method, rate) in enumerate(shown):
        level = 0.022 * [earlier for _, earlier in shown[:index]].count(rate)
        style = {"color": _colour(method), "markersize": 5, "clip_on": False, "zorder": 5}
        axis.plot(rate / 1e3, level, marker="^", transform=axis.get_xaxis_transform(), **style)
    _throughput_legend(axis, handles, generators)


def _throughput_legend(axis: Axes, handles: list[Line2D], generators: Sequence[str]) -> None:
    plain = {"color": "0.4", "linestyle": "", "markersize": 4}
    handles.append(Line2D([], [], color="0.75", linewidth=0.8, label="$R_{RX} = R_{TX}$"))
    handles.append(Line2D([], [], marker="^", label="paper: no loss up to", **plain))
    for index, generator in enumerate(generators):
        handles.append(Line2D([], [], marker=MARKERS[index % len(MARKERS)], label=f"sent by {generator}", **plain))
    axis.legend(handles=handles, loc="upper left")


def _cpu(axis: Axes, part: pd.DataFrame) -> None:
    axis.set(ylim=(0, 100), yticks=(0, 50, 100))
    if part.empty:
        axis.text(0.5, 0.5, NO_RECORDS, transform=axis.transAxes, ha="center", va="center", color="0.4", fontsize=7)
        return
    part = part.sort_values("r_tx_pps")
    x = part["r_tx_pps"].to_numpy() / 1e3
    if len(part) > 1:
        axis.stackplot(x, part[list(metrics.CPU)].to_numpy().T, colors=CPU_COLOURS, linewidth=0)
    else:
        bottom = 0.0
        for name, colour in zip(metrics.CPU, CPU_COLOURS, strict=True):
            axis.bar(x, part[name], width=20, bottom=bottom, color=colour)
            bottom = bottom + part[name].to_numpy()
    axis.plot(x, np.zeros(len(x)), "|", color="black", markersize=5, clip_on=False, zorder=5)


def _cpu_handles() -> list[Line2D]:
    handles = [
        Line2D([], [], marker="s", linestyle="", markersize=7, color=colour, label=name, markeredgecolor="0.6")
        for name, colour in reversed(list(zip(metrics.CPU, CPU_COLOURS, strict=True)))
    ]
    return [*handles, Line2D([], [], marker="|", linestyle="", color="black", markersize=5, label="measured rate")]


def footer(figure: Figure, rows: Iterable[Mapping[str, Any]], kind: str = "sweep", without: str = NO_RECORDS) -> None:
    """Write under a figure where its numbers come from, or `without` if there are no records of that kind."""
    facts = tables.circumstances(records.current(rows, kind))
    known = "; ".join(f"{name} {facts[name]}" for name in ("profile", "machine", "kernel", "commit") if name in facts)
    text = f"{kind}.jsonl: {known}" if facts else without
    figure.supxlabel(text, fontsize=5.5, color="0.45", x=0.01, ha="left")
