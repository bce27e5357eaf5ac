"""Accuracy of every implementation on a dataset over several seeds: Tables II and III without their files."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from .. import metrics, records
from ..config import RESULTS, SAMPLE, TASKS, Profile, UserError
from ..data import dataset, extract, packets
from ..data.features import as_float
from ..data.labels.source import label_source
from ..data.packet_table import PacketTable, Trace
from ..data.packets import Capture
from ..implementations import IMPLEMENTATIONS, row_in_c
from ..models import pipeline
from ..models.model import Model
from ..models.pipeline import load_all
from .replay import classify_in_kernel, kernel_verdicts, load_program
from .rows import KERNEL_PROGRAMS, float_row, predictions

ACCURACY = RESULTS / "accuracy.jsonl"


def read(source: Path | str, schedule: Path | str | None = None) -> tuple[dataset.Dataset, Capture | Trace | None]:
    """Read one vector a flow from whatever holds packets, and the packets themselves.

    Parameters
    ----------
    source : Path or str
        A packet table (a folder), a capture, or a Parquet file that `extract.run` wrote.
    schedule : Path or str, optional
        Label schedule of a capture; the one beside it, with the suffix .csv, by default.

    Returns
    -------
    data : Dataset
    trace : Capture or Trace or None
        What can be replayed; None of a Parquet file, which holds vectors.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    source = Path(source)
    if source.suffix == ".parquet":
        return dataset.load(source).sample(), None
    labeller = None if source.is_dir() else label_source(schedule or source.with_suffix(".csv"))
    name = "lab capture" if source.resolve() == SAMPLE else source.resolve().name
    with tempfile.TemporaryDirectory() as folder:
        extract.run(source, Path(folder) / "vectors.parquet", labeller, name=name)
        data = dataset.load(Path(folder) / "vectors.parquet")
    return data, PacketTable(source).trace() if source.is_dir() else packets.read(source)


def _scores(truth: np.ndarray, found: np.ndarray, task: str, floats: np.ndarray) -> dict[str, float]:
    matrix = confusion(truth, found, len(TASKS[task]))
    f1 = metrics.per_class(matrix)["f1"]
    out = {"accuracy": metrics.accuracy(matrix), "macro_f1": metrics.macro_f1(matrix)}
    out |= {f"f1 {name}": f1[i] for i, name in enumerate(TASKS[task]) if matrix[i].sum()}
    return out | {"agreement": float(np.mean(found == floats))}


def _in_kernel(models: Sequence[Model], x: np.ndarray) -> dict[tuple[str, int], dict]:
    """Verdicts of the kernel on vectors without packets, as `parity.verdicts` returns them."""
    out: dict[tuple[str, int], dict] = defaultdict(dict)
    for classifier, model in itertools.product(KERNEL_PROGRAMS, models):
        with load_program(classifier, model.n_classes) as program:
            program.set_params(model.params(classifier))
            out[model.task, model.seed][f"{classifier}_kernel"] = classify_in_kernel(program, x)[1]
    return out


def study(
    data: dataset.Dataset, profile: Profile, trace: Capture | Trace | None = None, kernel: bool = True
) -> dict[str, dict[str, dict]]:
    """Train, quantize and classify the test part with every seed of a profile, each by every implementation.

    The kernel rows are the loaded XDP program's own verdicts: all packets are replayed through it with their own clock,
    and the verdict on each test flow's vector is taken. Differs: without packets it is given the vectors.

    Parameters
    ----------
    data : Dataset
        One vector a flow.
    trace : Capture or Trace, optional
        The packets that the vectors were made from.
    kernel : bool
        Also by the kernel, which needs root.

    Returns
    -------
    dict
        Task to row to {"accuracy", "macro_f1", "f1 CLASS", ..., "agreement" (with the float row of its family)} and in
        kernel rows "agreement_c" (with the row of the same integers in C), each {"mean", "low", "high"}: mean and 95 %
        interval over the seeds, null without one.

    Raises
    ------
    UserError
        If there is no seed, or the data holds fewer than two classes.
    """
    if not profile.seeds:
        raise UserError("accuracy needs at least 1 seed")
    if len(data.counts()) < 2:
        raise UserError(f"there is nothing to tell apart: {data.counts()}")
    pairs = tqdm(pipeline.tasks_and_seeds(profile), desc="training", unit="model")
    models = [pipeline.quantize_model(pipeline.train_model(data, *pair, profile), data) for pair in pairs]
    said = {} if not kernel else kernel_verdicts(models, trace, data.packet) if trace else _in_kernel(models, data.x)
    found: dict = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for model in models:
        _, _, test = dataset.split(data, model.seed)
        truth, rows = data.target(model.task)[test], predictions(model, data.x[test])
        rows |= {row: classes[test] for row, classes in said.get((model.task, model.seed), {}).items()}
        for row, classes in rows.items():
            scores = _scores(truth, classes, model.task, rows[float_row(row)])
            if IMPLEMENTATIONS[row].where == "kernel":
                scores["agreement_c"] = float(np.mean(classes == rows[row_in_c(row)]))
            for name, value in scores.items():
                found[model.task][row][name].append(value)
    return {
        task: {row: {name: _interval(v) for name, v in scores.items()} for row, scores in rows.items()}
        for task, rows in found.items()
    }


def _interval(values: Sequence[float]) -> dict[str, float | None]:
    ours = metrics.mean_interval(values)
    return {k: None if np.isnan(v) else float(v) for k, v in zip(("mean", "low", "high"), ours[:3], strict=True)}


def confusion(truth: np.ndarray, found: np.ndarray, n_classes: int) -> np.ndarray:
    """Confusion matrix of shape (n_classes, n_classes): rows true, columns predicted."""
    return np.bincount(truth * n_classes + found.astype(np.int64), minlength=n_classes**2).reshape(n_classes, n_classes)


def evaluate_all(data: dataset.Dataset, profile: Profile, kernel: dict | None = None) -> list[dict]:
    """Classify the test part by every row of Tables II and III, and record the confusion matrices.

    Parameters
    ----------
    data : Dataset
        What the models were trained on.
    kernel : dict, optional
        More rows: (task, seed) to {row: verdicts of shape (n,) on the vectors of `data`} (`parity.verdicts`).

    Returns
    -------
    list of dict
        The records, of kind "accuracy".
    """
    made = []
    for model in load_all(profile):
        started = time.time()
        _, _, test = dataset.split(data, model.seed)
        truth = data.target(model.task)[test]
        rows = predictions(model, data.x[test])
        rows |= {name: found[test] for name, found in (kernel or {}).get((model.task, model.seed), {}).items()}
        for row, found in rows.items():
            floats = rows[float_row(row)]
            asked = {"task": model.task, "row": row, "seed": model.seed, "dataset": data.meta["name"]}
            asked |= {"profile": profile.name}
            raw = {"confusion": confusion(truth, found, model.n_classes).tolist(), "unit": "flows"}
            raw |= {"agreement_with_float": float(np.mean(found == floats))}
            identity = {"model_sha256": model.sha256(), "data_hash": model.data_sha256}
            made.append(records.append(ACCURACY, "accuracy", asked, raw, started=started, identity=identity))
    return made


def validation_scores(trained: list[Model], data: dataset.Dataset) -> pd.DataFrame:
    """Accuracy of the float models on their validation parts, one line a model."""
    lines = []
    for model in trained:
        _, at, _ = dataset.split(data, model.seed)
        truth, x = data.target(model.task)[at], data.x[at]
        scores = {
            "DT (sklearn)": np.mean(model.tree.predict(as_float(x)) == truth),
            "NN (PyTorch)": np.mean(model.mlp.predict(model.scaler.transform(x)) == truth),
        }
        lines.append({"task": model.task, "seed": model.seed, "flows": len(at)} | scores)
    return pd.DataFrame(lines)
