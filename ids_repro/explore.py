"""Pictures for notebooks 01 to 03: what is in the data, how training went, where the thresholds fell."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from .calibrate import LEVELS
from .config import CLASSES
from .dataset import Dataset, as_float
from .features import FEATURES
from .pipeline import Model
from .plots import STYLE, Chart

# One colour a class, everywhere.
COLOURS = dict(zip(CLASSES, sns.color_palette("colorblind", len(CLASSES)).as_hex(), strict=True))
WIDE = 1000  # a feature that spans more is drawn on a symmetric logarithmic axis


def _frame(data: Dataset) -> pd.DataFrame:
    frame = pd.DataFrame(as_float(data.x), columns=FEATURES)
    return frame.assign(label=np.array(CLASSES)[data.label])


def _chart(width: float, height: float) -> Chart:
    return Chart(figsize=(width, height), layout="constrained")


def classes(data: Dataset) -> Figure:
    """Draw how many vectors each class has, on a logarithmic axis."""
    counts = data.counts()
    with mpl.rc_context(STYLE):
        figure = _chart(5, 0.5 + 0.3 * len(counts))
        axis = figure.subplots()
        bars = axis.barh(list(counts), list(counts.values()), color=[COLOURS[name] for name in counts])
        axis.bar_label(bars, fmt="{:,.0f}", padding=3)
        axis.set(xscale="log", xlabel=f"flows in the {data.meta['name']}")
        axis.margins(x=0.15)
        axis.invert_yaxis()
    return figure


def timeline(data: Dataset) -> Figure:
    """Draw each flow's first packet over time, one line a class."""
    first = data.take(data.index == 0)
    seconds = (first.time_us - first.time_us.min()) / 1e6
    present = list(first.counts())
    with mpl.rc_context(STYLE):
        figure = _chart(7, 0.6 + 0.3 * len(present))
        axis = figure.subplots()
        rng = np.random.default_rng(0)
        for row, name in enumerate(present):
            at = seconds[first.label == CLASSES.index(name)]
            axis.plot(at, row + rng.uniform(-0.3, 0.3, len(at)), ".", color=COLOURS[name], markersize=1.5, alpha=0.6)
        axis.set(yticks=range(len(present)), yticklabels=present, xlabel="time since the first packet [s]")
        axis.invert_yaxis()
    return figure


def features(data: Dataset) -> Figure:
    """Draw the distribution of x1..x12 for each class."""
    frame, present = _frame(data), list(data.counts())
    with mpl.rc_context(STYLE):
        figure = _chart(9, 6)
        for axis, name in zip(figure.subplots(3, 4).ravel(), FEATURES, strict=True):
            sns.boxplot(
                frame,
                x=name,
                y="label",
                hue="label",
                order=present,
                palette=COLOURS,
                ax=axis,
                fliersize=0.5,
                linewidth=0.6,
            )
            if frame[name].max() - frame[name].min() > WIDE:
                axis.set_xscale("symlog")
                axis.set_xlim(left=0)
                axis.xaxis.get_major_locator().set_params(numticks=4)
            axis.set(title=f"$x_{{{FEATURES.index(name) + 1}}}$ {name}", xlabel="", ylabel="")
            axis.tick_params(labelleft=axis.get_subplotspec().is_first_col())
    return figure


def learning_curves(trained: list[Model]) -> Figure:
    """Draw loss and validation accuracy over the epochs, one line a seed, one column a task."""
    tasks = list(dict.fromkeys(model.task for model in trained))
    with mpl.rc_context(STYLE):
        figure = _chart(7, 4)
        axes = figure.subplots(2, len(tasks), sharex=True, squeeze=False)
        for model in trained:
            column = axes[:, tasks.index(model.task)]
            for axis, key in zip(column, ("loss", "accuracy"), strict=True):
                axis.plot(
                    [h["epoch"] for h in model.history], [h[key] for h in model.history], label=f"seed {model.seed}"
                )
        for axis, task in zip(axes[0], tasks, strict=True):
            axis.set(title=task, yscale="log", ylabel="cross-entropy, training")
            axis.legend()
        for axis in axes[1]:
            axis.set(xlabel="epoch", ylabel="accuracy, validation")
    return figure


def calibration(model: Model) -> Figure:
    """Draw each layer's input: its histogram, the KL divergence of every threshold, the least, and the one used."""
    with mpl.rc_context(STYLE):
        figure = _chart(8, 4)
        axes = figure.subplots(2, len(model.thresholds[0]), sharex="col")
        for layer, (above, below, t) in enumerate(zip(*axes, model.thresholds[0], strict=True), start=1):
            above.stairs(t.counts, t.edges, fill=True, color="0.6")
            above.set(title=f"$X^{{({layer})}}$, {model.task}", yscale="log")
            below.plot(t.edges[LEVELS:], np.where(np.isfinite(t.divergence), t.divergence, np.nan), linewidth=0.8)
            below.set(xlabel="$|x|$", yscale="log")
            for axis in (above, below):
                axis.axvline(t.alpha, color="#cc3311", linewidth=0.8, label=rf"KL: $\alpha$ = {t.alpha:.3f}")
                if model.alpha[layer - 1] != t.alpha:
                    used = model.alpha[layer - 1]
                    axis.axvline(used, color="#0173b2", linewidth=0.8, label=rf"used: $\alpha$ = {used:.3f}")
            above.legend()
        axes[0, 0].set_ylabel("values")
        axes[1, 0].set_ylabel("KL divergence [nat]")
    return figure
