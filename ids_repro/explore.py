"""Draw what notebooks 01 to 03 show: what is in the data, how the training went, and the chosen thresholds."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from .config import CLASSES
from .data.dataset import Dataset
from .data.features import FEATURES, as_float
from .models.calibration import CALIBRATION_METHODS, LEVELS, choose_threshold
from .models.model import Model
from .report.style import STYLE, Chart, as_drawn
from .text import rounded

# Each class has the same colour in every picture.
COLOURS = dict(zip(CLASSES, sns.color_palette("colorblind", len(CLASSES)).as_hex(), strict=True))
# The line of each calibration method. Two thresholds may be equal, so the dashes differ as well as the colours.
LINES = {
    "kl": {"color": "#cc3311", "linestyle": "-"},
    "mse": {"color": "#0173b2", "linestyle": "--"},
    "percentile": {"color": "#029e73", "linestyle": "-."},
    "max": {"color": "#de8f05", "linestyle": ":"},
}
WIDE = 1000  # a feature with a larger range gets a symmetric logarithmic axis


def _frame(data: Dataset) -> pd.DataFrame:
    """Return the features in their own units, and the name of each vector's class."""
    frame = pd.DataFrame(as_float(data.x), columns=FEATURES)
    return frame.assign(label=np.array(CLASSES)[data.label])


def _chart(width: float, height: float) -> Chart:
    return Chart(figsize=(width, height), layout="constrained")


def classes(data: Dataset) -> Figure:
    """Draw the number of flows of each class, on a logarithmic axis.

    Parameters
    ----------
    data : Dataset
        One vector per flow (`Dataset.sample`).
    """
    counts = data.counts()
    with mpl.rc_context(STYLE):
        figure = _chart(5, 0.5 + 0.3 * len(counts))
        axis = figure.subplots()
        bars = axis.barh(list(counts), list(counts.values()), color=[COLOURS[name] for name in counts])
        axis.bar_label(bars, fmt="{:,.0f}", padding=3)
        axis.set(xscale="log")
        axis.set_xlabel(as_drawn(f"flows in the {data.meta['name']}"), parse_math=False)
        axis.margins(x=0.15)
        axis.invert_yaxis()
    return figure


def outcomes(data: Dataset) -> Figure:
    """Draw the numbers of frames by outcome and of flows without a label, on a logarithmic axis.

    Parameters
    ----------
    data : Dataset
        Only its metadata are read.
    """
    counts = {f"frames: {name}": n for name, n in data.meta["frames"].items()}
    counts |= {"flows": data.meta["flows"], "flows without a label": data.meta["flows_without_label"]}
    with mpl.rc_context(STYLE):
        figure = _chart(5, 0.5 + 0.25 * len(counts))
        axis = figure.subplots()
        bars = axis.barh(list(counts), np.maximum(list(counts.values()), 0.5), color="0.6")
        axis.bar_label(bars, [f"{n:,}" for n in counts.values()], padding=3)
        axis.set(xscale="log", xlim=(0.5, None))
        axis.set_xlabel(as_drawn(f"{data.meta['name']}: {data.meta['source']}"), parse_math=False)
        axis.margins(x=0.2)
        axis.invert_yaxis()
    return figure


def timeline(data: Dataset) -> Figure:
    """Draw the first packet of each flow over time, each class in a row of its own.

    Parameters
    ----------
    data : Dataset
        Every packet's vector, or at least those of the first packets.
    """
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
    """Draw the distribution of x1..x12 in each class, as box plots.

    Parameters
    ----------
    data : Dataset
        The vectors to draw.
    """
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
    """Draw the training loss and the validation accuracy over the epochs: a line for each seed, a column for each task.

    Parameters
    ----------
    trained : list of Model
        Float models, from `pipeline.train_all`.
    """
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
    """Draw how the thresholds of one net's layer inputs were chosen (Sec. III-D).

    A column is the input of one layer. Its rows show the histogram, the KL divergence, and the squared error, which
    the methods "kl" and "mse" minimise. Vertical lines show every method's threshold and the one in use.

    Parameters
    ----------
    model : Model
        A quantized model.
    """
    curves = {"kl": "KL divergence [nat]", "mse": "squared error / mean square"}
    with mpl.rc_context(STYLE):
        figure = _chart(9, 6)
        axes = figure.subplots(1 + len(curves), len(model.alpha), sharex="col")
        for layer, (column, t, used) in enumerate(zip(axes.T, model.thresholds[0], model.alpha, strict=True), start=1):
            found = {method: choose_threshold(t.counts, t.edges, method) for method in CALIBRATION_METHODS}
            column[0].stairs(t.counts, t.edges, fill=True, color="0.8")
            column[0].set(title=f"$X^{{({layer})}}$, {model.task}", yscale="log")
            for axis, method in zip(column[1:], curves, strict=True):
                curve = found[method].criterion
                axis.plot(t.edges[LEVELS:], np.where(np.isfinite(curve), curve, np.nan), color="0.3", linewidth=0.8)
                axis.set_yscale("log")
            for axis in column:
                for method, style in LINES.items():
                    alpha = found[method].alpha
                    axis.axvline(alpha, **style, linewidth=1, label=rf"{method}: $\alpha$ = {rounded(alpha, '.3f')}")
                axis.axvline(
                    used, color="black", linewidth=2.5, alpha=0.3, label=rf"used: $\alpha$ = {rounded(used, '.3f')}"
                )
            column[0].legend(fontsize=6, frameon=True, framealpha=0.8, edgecolor="none")
            column[-1].set_xlabel("$|x|$")
        for axis, label in zip(axes[:, 0], ("values", *curves.values()), strict=True):
            axis.set_ylabel(label)
    return figure
