"""As released: each departure of the public code from the paper's text, a switch, and what it does to accuracy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from .. import config, metrics, records
from ..data import dataset
from ..data.dataset import Dataset
from ..models import pipeline
from ..models.model import Model
from ..models.scaling import MinMax
from ..report import classification, exhibit
from . import accuracy, packet_by_packet, released_code
from .released_code import Setup

DISCREPANCY = config.RESULTS / "discrepancy.jsonl"
NONE = "none"


@dataclass(frozen=True)
class Switch:
    """One departure of the released code from the paper's text.

    Parameters
    ----------
    text : str
        One sentence that says what the released code does.
    source : str
        Where that is to be seen in its repository.
    data : callable, optional
        Turns (learn, seen), every packet, into what they are with the departure; see `departures.Setup`.
    setup : callable, optional
        Turns a `departures.Setup` into one with the departure.
    """

    text: str
    source: str
    data: Callable[[Dataset, Dataset], tuple[Dataset, Dataset]] | None = None
    setup: Callable[[Setup], Setup] | None = None


TRAIN, QUANTIZE = "fixed-nn/src/train_mlp.py", "fixed-nn/src/quantize.py"
KERNEL, PARAMETERS = "nn-filter/nn_filter_xdp.py", "nn-filter/mlp_params.json"
# In the order in which they act: on data, on net and normaliser, on the arithmetic.
SWITCHES = {
    "direction": Switch(
        "One-way flows: training flows are two-way, the kernel's keys one-way, so that x5 is always 1.",
        KERNEL,
        data=lambda learn, seen: (learn, released_code.one_way(seen)),
    ),
    "time": Switch(
        "Time: milliseconds in training, nanoseconds in the kernel.", KERNEL, data=released_code.in_ms_and_ns
    ),
    "features": Switch(
        "Features: x10 to x12 are means of the deviations so far, and intervals precede directions (trained anew).",
        TRAIN,
        data=lambda learn, seen: (released_code.as_released(learn), released_code.as_released(seen)),
    ),
    "maximum": Switch("Thresholds: the largest magnitude, KL never acts.", QUANTIZE, setup=released_code.maximum),
    "refit": Switch("Scaler: fitted again on the test part, which it normalises.", TRAIN, setup=released_code.refit),
    "scale": Switch(
        "Truncated scale: s = int(2^16 / (max - min)), 0 for a span above 65,536, up to half too small below.",
        PARAMETERS,
        setup=released_code.truncate,
    ),
    "dequantiser": Switch(
        "Dequantiser: 1/(sigma sigma_weight) has 16 fractional bits, which makes it an integer from 1 to 157.",
        PARAMETERS,
        setup=released_code.round_dequant,
    ),
    "clip": Switch(
        "No clip: Eq. (1) clips at 65,536 alpha; from alpha up the int8 wraps (KL's alpha is passed oftener than max).",
        "fixed-nn/src/nn_math.c",
        setup=lambda setup: replace(setup, clip=False),
    ),
    "shift": Switch(
        "No shift: x - min times s, both with 16 fractional bits, is taken as a number with 16.",
        KERNEL,
        setup=lambda setup: replace(setup, shift=False),
    ),
    "argmax": Switch(
        "Argmax from 0: where no logit is above 0, the class is 0.",
        KERNEL,
        setup=lambda setup: replace(setup, from_zero=True),
    ),
}
# The rows of the table: which switches are on. Each alone, then some together.
ROWS: dict[str, tuple[str, ...]] = {
    NONE: (),
    **{name: (name,) for name in SWITCHES},
    "maximum+clip": ("maximum", "clip"),
    "tables": ("features", "maximum", "refit", "dequantiser", "clip"),
    "kernel": tuple(name for name in SWITCHES if name != "refit"),
    "all": tuple(SWITCHES),
}
TEXTS = {name: switch.text for name, switch in SWITCHES.items()} | {
    NONE: "None: the paper's text as implemented here, NN (C) of Tables II and III.",
    "maximum+clip": "Thresholds and no clip: only what exceeds all of the training part wraps.",
    "tables": "All of the user-space programs behind Tables II and III.",
    "kernel": "All of the XDP program, whose scaler is that of the training part.",
    "all": "All together.",
}
HEADS = {"accuracy": "NN (C)", "accuracy_float": "float net", "agreement_with_float": "equal to float"}
NOTES = (
    "NN (C), float net: change of accuracy against the row None of the same seed in percentage points; in that row the "
    "accuracy itself. Equal to float: share of the test part on which NN (C) decides as the float net that has learnt "
    "with the same departure. Means over seeds ± half the width of the 95 % interval (Student's t, wide for few seeds)."
)


def datasets(every: Dataset, on: Iterable[str]) -> tuple[Dataset, Dataset]:
    """Return every packet as the nets learn from it and as the integer net sees it, with these departures on."""
    changes = [SWITCHES[name].data for name in SWITCHES if name in on and SWITCHES[name].data]
    return reduce(lambda both, change: change(*both), changes, (every, every))


def setup(model: Model, learn: Dataset, seen: Dataset, on: Iterable[str]) -> Setup:
    """Return what classifies the test part with these departures on.

    Parameters
    ----------
    model : Model
        Trained on `learn`, in whatever unit of time: the normaliser is fitted here.
    learn, seen : Dataset
        As `datasets` returns them, the sampled vectors only.
    """
    train, _, test = dataset.split(learn, model.seed)
    start = Setup(learn, seen, train, test, model.mlp, model.scaler, model.twins["nn_q16"])
    start = released_code.normalised_by(start, MinMax.fit(learn.x[train]))
    changes = [SWITCHES[name].setup for name in SWITCHES if name in on and SWITCHES[name].setup]
    return reduce(lambda so_far, change: change(so_far), changes, start)


def evaluate_all(everything: Dataset, profile: config.Profile, sampling: str = "last") -> pd.DataFrame:
    """Classify the test part with each departure alone and some together, and record it.

    Parameters
    ----------
    everything : Dataset
        All packets: the departures change how a flow's packets become a vector.
    sampling : {"last", "every"}
        What the models were trained on.

    Returns
    -------
    DataFrame
        `table` of the new records.
    """
    every = packet_by_packet.first_packets(everything)
    by_packet = np.argsort(every.packet)
    at = by_packet[np.searchsorted(every.packet, every.sample(sampling).packet, sorter=by_packet)]
    models, anew, made = pipeline.load_all(profile), [], []
    with tqdm(total=len(ROWS) * len(models), desc="as released", unit="net") as bar:
        for row, on in ROWS.items():
            learn, seen = (data.take(at) for data in datasets(every, on))
            if "features" in on and not anew:
                pairs = tqdm(pipeline.tasks_and_seeds(profile), desc="training anew", unit="model", leave=False)
                anew = [pipeline.quantize_model(pipeline.train_model(learn, *pair, profile), learn) for pair in pairs]
            for base, model in zip(models, anew if "features" in on else models, strict=True):
                made.append(_record(row, base, setup(model, learn, seen, on), profile))
                bar.update()
    return table(made)


def _record(row: str, model: Model, made: Setup, profile: config.Profile) -> dict:
    """Record one row under the model of the row "none" that it will be compared with."""
    started = time.time()
    truth = made.learn.target(model.task)[made.test]
    floats, ints = made.verdicts()
    asked = {"task": model.task, "seed": model.seed, "switch": row, "dataset": made.learn.meta["name"]}
    raw = {
        "accuracy": float(np.mean(ints == truth)),
        "accuracy_float": float(np.mean(floats == truth)),
        "agreement_with_float": float(np.mean(ints == floats)),
        "confusion": accuracy.confusion(truth, ints, model.n_classes).tolist(),
        "confusion_float": accuracy.confusion(truth, floats, model.n_classes).tolist(),
        "unit": "flows",
    }
    asked |= {"profile": profile.name}
    identity = {"model_sha256": model.sha256(), "data_hash": model.data_sha256}
    return records.append(DISCREPANCY, "discrepancy", asked, raw, started=started, identity=identity)


def table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return what each departure does, one number a line.

    Returns
    -------
    DataFrame
        switch, text, source, task, metric, ours, low, high, n, unit, dataset, commit: means over n seeds, 95 %
        intervals. Accuracies are changes against the row "none" of the same model, in points; in that row they are %.
    """
    used = records.current(rows, "discrepancy")
    found = {row: {_model(r): r["raw"] for r in used if r["asked"]["switch"] == row} for row in ROWS}
    facts, lines = classification.circumstances(used), []
    for row, raws in found.items():
        for task in config.TASKS:
            pairs = [(raws[model], found[NONE][model]) for model in raws if model[0] == task and model in found[NONE]]
            for metric in HEADS:
                change = row != NONE and metric != "agreement_with_float"
                values = [raw[metric] - change * none[metric] for raw, none in pairs]
                ours = metrics.mean_interval(100 * np.array(values))
                source = SWITCHES[row].source if row in SWITCHES else ""
                line = {"switch": row, "text": TEXTS[row], "source": source, "task": task}
                line |= {"metric": metric, "ours": ours.middle, "low": ours.low, "high": ours.high, "n": ours.n}
                line |= {"unit": "points" if change else "%"}
                lines.append(line | {name: facts.get(name) for name in ("dataset", "commit")})
    return pd.DataFrame(lines)


def _model(record: Mapping[str, Any]) -> tuple:
    return record["asked"]["task"], record["asked"]["seed"], record["provenance"]["identity"].get("model_sha256")


def blocks(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, pd.DataFrame]]:
    """Return `table` as a person reads it: a titled frame of text, for Markdown and HTML alike."""
    lines: dict[str, dict[str, str]] = {}
    for cell in table(rows).itertuples():
        line = lines.setdefault(cell.switch, {"As released": cell.text})
        line[f"{HEADS[cell.metric]}, {cell.task}"] = _text(cell)
    return [("", pd.DataFrame(lines.values()))]


def _text(cell) -> str:
    if not cell.n:
        return ""
    around = f" ± {cell.high - cell.ours:.2f}" if cell.n > 1 else ""
    return f"{cell.ours:{'+' if cell.unit == 'points' else ''}.2f}{around}" + " %" * (cell.unit == "%")


def caption(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return what was measured, where and with what code."""
    facts = classification.circumstances(records.current(rows, "discrepancy"))
    known = "; ".join(f"{name} {facts[name]}" for name in ("dataset", "profile", "seed", "commit") if name in facts)
    known = f"{known}. Records: discrepancy.jsonl." if facts else classification.NO_RECORDS
    return f"The released code against the paper's text, in accuracy: {known}"


def write(rows: Iterable[Mapping[str, Any]], folder: Path = config.FIGURES) -> pd.DataFrame:
    """Write discrepancies.csv and .md, and return the table."""
    frame = table(rows := list(rows))
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_csv(folder / "discrepancies.csv", index=False)
    (folder / "discrepancies.md").write_text(exhibit.markdown(blocks(rows), caption(rows), NOTES), encoding="utf-8")
    return frame
