"""Figs. 4 and 5 from the records of a sweep; the paper's marks come from published.json."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import EngFormatter, NullLocator

from .. import config, records
from ..published import claim, published
from . import style
from .exhibit import Exhibit, Results
from .style import COLUMN_IN, GENERATORS, METHODS, STYLE, Chart
from .sweep_points import CPU, LINE, medians, shades

ALL = tuple(METHODS)
FIG4 = {
    "(a) Classifiers": style.methods_of("4a"),
    "(b) Packet processing mechanisms": style.methods_of("4b"),
}
FIG5A, FIG5B = style.methods_of("5a"), style.methods_of("5b")
FIG5 = {"fig5a": FIG5A, "fig5b": FIG5B}
PAPER_TICK = 0.06  # length of the mark of the paper's rate, as a share of the axis
CPU_COLOURS = dict(zip(CPU, ("#0072b2", "#e69f00", "#d55e00", "#ededed", "#555555"), strict=True))
CAPTIONS = {
    "fig4": (
        "Fig. 4. Receiving rate over sending rate. The left panels show the paper's range, the right ones all rates; "
        "their grey corner is the left panel. Ticks on the x axis: up to where the paper loses nothing. Medians over "
        "repeats; whiskers reach from the least to the most. A rate that a search tried has one trial. A "
        "marker's shape says which generator sent; it is filled if each packet started a new flow, hollow if all "
        f"belonged to one flow. Trials of another length than most are pale. {style.NETS} The paper has neither AF_XDP "
        "nor DPDK."
    ),
    "fig5a": (
        "Fig. 5a. CPU utilisation of the server over sending rate, classifiers in the kernel. Areas are medians over "
        "repeats of the generator that sent the fastest; a rate that a search tried has one trial. Markers are the "
        "busy share in each generator's trials. All are medians of their own, so areas and markers need not agree. "
        "Trials of another length than most are pale."
    ),
    "fig5b": "Fig. 5b. The same as Fig. 5a, classifiers in user space.",
}


def exhibits(results: Results, width_in: float = COLUMN_IN, methods: str = "all") -> list[Exhibit]:
    """Return Figs. 4, 5a and 5b.

    Parameters
    ----------
    results : Results
        Records of kind "sweep" are used.
    width_in : float
        Of each figure.
    methods : str
        Which to draw, with commas between them, or "all".

    Raises
    ------
    UserError
        If there is no such method.
    """
    chosen = ALL if methods == "all" else [records.current_name(name.strip()) for name in methods.split(",")]
    unknown = [name for name in chosen if name not in ALL]
    if unknown:
        raise config.UserError(f"there is no method {unknown[0]!r} to draw: use {', '.join(ALL)}")
    charts = {"fig4": fig4(results, width_in, chosen)}
    charts |= {name: fig5(results, shown, width_in, chosen) for name, shown in FIG5.items()}
    replayed = style.REPLAY * ("replay" in set(results.once(medians)["flows"]))
    captions = {name: f"{text} {replayed}".rstrip() for name, text in CAPTIONS.items()}
    return [Exhibit.of_chart(results, "sweep", name, captions[name], chart) for name, chart in charts.items()]


def fig4(results: Results, width_in: float = COLUMN_IN, methods: Sequence[str] = ALL) -> Chart:
    """Draw Fig. 4: R_RX over the measured R_TX, for the classifiers and for the mechanisms.

    The left panels have the paper's range. The right ones have everything that was measured; their grey corner is the
    left panel. Points are medians over repeats, whiskers reach from the least to the most. Ticks on the axis are
    the rates up to which the paper saw no loss (Sec. V-B2), in the colour of the method.

    Parameters
    ----------
    results : Results
    width_in : float
        Of the whole figure.
    methods : sequence of str
        Only these.
    """
    middle = results.once(medians).query("method in @methods")
    with mpl.rc_context(STYLE):
        figure = Chart(figsize=(width_in, 4.5), layout="constrained")
        for part, (title, shown) in zip(figure.subfigures(2, 1), FIG4.items(), strict=True):
            _throughput(part, middle, [method for method in shown if method in methods])
            part.suptitle(title, fontsize=7)
        handles = [
            Line2D(
                [],
                [],
                color=METHODS[method].colour,
                linestyle=METHODS[method].dashes,
                label=style.method_name(method, middle),
            )
            for method in dict.fromkeys(sum(FIG4.values(), ()))
            if len(middle) == 0 or method in set(middle["method"])
        ]
        look = {"ncols": 2, "columnspacing": 1, "handlelength": 2.6, "labelspacing": 0.3}
        figure.legend(handles=[*handles, *_marks(middle)], loc="outside upper center", **look)
    return figure


def fig5(results: Results, shown: Sequence[str], width_in: float = COLUMN_IN, methods: Sequence[str] = ALL) -> Chart:
    """Draw one part of Fig. 5: usr, sys, soft and idle of the server's CPU over R_TX, a panel a method.

    Areas are medians of the generator that sent the fastest, of trials of the length that most have, with straight
    lines between the rates that were measured.
    Points are the busy share (usr, sys and soft) in each generator's trials.

    Parameters
    ----------
    results : Results
    shown : sequence of str
        FIG5A or FIG5B.
    width_in, methods
        See `fig4`.
    """
    shown = [method for method in shown if method in methods]
    middle = results.once(medians).query("method in @methods")
    n_lines = max(-(-len(shown) // 2), 1)
    with mpl.rc_context(STYLE):
        figure = Chart(figsize=(width_in, 0.8 + 1.05 * n_lines), layout="constrained")
        axes = figure.subplots(n_lines, 2, sharex=True, sharey=True, squeeze=False).ravel()
        for axis, method in zip(axes, shown, strict=False):
            _cpu(axis, middle[middle["method"] == method], shades(middle))
            axis.set_title(style.method_name(method, middle), fontsize=6.5)
        _label_columns(axes, len(shown))
        figure.legend(
            handles=_cpu_handles(middle), loc="outside upper center", ncols=3, columnspacing=1, handlelength=1.2
        )
        rates = middle["r_tx_pps"] if len(middle) else np.array([1e4, 1e6])
        axes[0].set(xscale="log", xlim=(rates.min() / 1.2, 1.2 * rates.max()))  # all panels share it
        axes[0].xaxis.set(major_formatter=EngFormatter(sep=""), minor_locator=NullLocator())
        figure.supylabel("CPU utilisation [%]", fontsize=7)
    return figure


def _throughput(part: SubFigure, middle: pd.DataFrame, methods: Sequence[str]) -> None:
    """Draw one part of Fig. 4: the paper's range on the left, everything on the right."""
    limit = claim("max_rate")["value"]
    top = [max(limit, 1.04 * middle[name].max()) for name in ("r_tx_pps", "r_rx_max_pps")]
    axes, clear = part.subplots(1, 2), shades(middle)
    for axis, unit_pps, unit, (x, y) in zip(axes, (1e3, 1e6), ("kpps", "Mpps"), ((limit, limit), top), strict=True):
        axis.axline((0, 0), slope=1, color="0.75", linewidth=0.7, zorder=0)
        for method in methods:
            for kind, line in middle[middle["method"] == method].groupby(list(LINE[1:])):
                _line(axis, method, kind, line, unit_pps, clear[kind[-1]])
        axis.set(xlim=(0, x / unit_pps), ylim=(0, y / unit_pps))
        axis.set(xlabel=f"$R_{{\\mathrm{{TX}}}}$ [{unit}]", ylabel=f"$R_{{\\mathrm{{RX}}}}$ [{unit}]")
    ticks: dict[float, int] = {}  # one upon another where rates are equal
    for method, rate_pps in _paper_rates(methods).items():
        foot = PAPER_TICK * ticks.setdefault(rate_pps, 0)
        ticks[rate_pps] += 1
        look = {"color": METHODS[method].colour, "linewidth": 2, "solid_capstyle": "butt"}
        x, transform = [rate_pps / 1e3] * 2, axes[0].get_xaxis_transform()
        axes[0].plot(x, [foot, foot + PAPER_TICK], transform=transform, **look)
    if max(top) > limit:
        axes[1].add_patch(Rectangle((0, 0), limit / 1e6, limit / 1e6, facecolor="0.9", edgecolor="none", zorder=-1))


def _line(axis: Axes, method: str, kind: tuple, part: pd.DataFrame, unit_pps: float, alpha: float) -> None:
    _, colour, dashes, _ = METHODS[method]
    generator, flows, _ = kind
    around = np.abs(part[["r_rx_min_pps", "r_rx_max_pps"]].sub(part["r_rx_pps"], axis=0)).to_numpy().T
    axis.errorbar(
        part["r_tx_pps"] / unit_pps,
        part["r_rx_pps"] / unit_pps,
        yerr=around / unit_pps,
        color=colour,
        linestyle=dashes,
        linewidth=1,
        markersize=2.6,
        markeredgewidth=0.6,
        **style.marker(generator, flows, colour),
        elinewidth=0.6,
        capsize=1,
        alpha=alpha,
    )


def _marks(middle: pd.DataFrame) -> list[Line2D]:
    """Return the entries of the legend that are not a method's: the diagonal, the paper's rates, what sent."""
    look = {"color": "0.35", "linestyle": "", "markersize": 3.5}
    marks = [Line2D([], [], color="0.75", linewidth=0.8, label="$R_{\\mathrm{RX}} = R_{\\mathrm{TX}}$")]
    tick = {"marker": "|", "markeredgewidth": 2, "markersize": 6, "color": "0.35", "linestyle": ""}
    marks.append(Line2D([], [], label="paper: no loss up to", **tick))
    for generator, flows in middle[["generator", "flows"]].drop_duplicates().itertuples(index=False):
        label = "sent by " + GENERATORS[generator][1] + ", one flow" * (flows == "one")
        label = style.FLOWS[flows] if flows == "replay" else label
        marks.append(Line2D([], [], label=label, **style.marker(generator, flows, "0.35"), **look))
    if middle["trial_s"].nunique() > 1:
        marks += [
            Line2D([], [], color="0.35", alpha=alpha, label=f"trials of {trial_s:g} s")
            for trial_s, alpha in shades(middle).items()
        ]
    return marks


def _paper_rates(methods: Sequence[str]) -> dict[str, float]:
    claims = published()["claims"]
    return {c["method"]: c["value"] for c in claims if c["kind"] == "no_loss" and c["method"] in methods}


def _cpu(axis: Axes, part: pd.DataFrame, clear: dict[float, float]) -> None:
    axis.set(ylim=(0, 100), yticks=(0, 50, 100), xscale="log")
    if part.empty:
        axis.text(0.5, 0.5, "no records yet", transform=axis.transAxes, ha="center", va="center", color="0.4")
        return
    clearest = part[part["trial_s"] == max(part["trial_s"].unique(), key=clear.get)]
    kind = list(LINE[1:])
    fastest = clearest.loc[clearest["r_tx_pps"].idxmax(), kind]
    area = part[(part[kind] == fastest).all(axis=1)]
    axis.stackplot(area["r_tx_pps"], area[list(CPU)].to_numpy().T, colors=CPU_COLOURS.values(), linewidth=0)
    for (generator, flows, trial_s), line in part.groupby(kind):
        look = {
            "alpha": clear[trial_s],
            "color": "black",
            "markersize": 2.2,
            "markeredgewidth": 0.5,
            "linestyle": "",
            "clip_on": False,
        }
        look |= style.marker(generator, flows, "black")
        axis.plot(line["r_tx_pps"], line["usr"] + line["sys"] + line["soft"], **look)


def _label_columns(axes: np.ndarray, n: int) -> None:
    """Label the x axis below the last panel of each of the two columns; n places of `axes` hold a panel."""
    text = "$R_{\\mathrm{TX}}$ [pps]"
    for axis in axes[max(n - 1 - (n % 2 == 0), 0) : n]:
        axis.tick_params(labelbottom=True)
        axis.set_xlabel(text)
    for axis in axes[n:]:
        axis.yaxis.set_visible(False)
        axis.spines[:].set_visible(False)
        # An empty place bears the labels of the panel above it: below that panel they would push the rows apart.
        axis.tick_params(which="both", length=0, labelbottom=False, labeltop=n > 2)
        axis.text(0.5, 1, text * (n > 2), transform=axis.transAxes, ha="center", va="top")


def _cpu_handles(middle: pd.DataFrame) -> list[Artist]:
    areas = [
        Patch(facecolor=colour, edgecolor="0.6", linewidth=0.3, label=name) for name, colour in CPU_COLOURS.items()
    ]
    return [*areas, *_marks(middle)[2:]]
