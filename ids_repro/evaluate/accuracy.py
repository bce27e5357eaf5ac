"""Accuracy of every implementation: on the models of a profile (Tables II and III), or on any dataset and seeds."""

from __future__ import annotations

import itertools
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from .. import metrics, records
from ..config import MODELS, RESULTS, TASKS, Profile, UserError
from ..data import dataset, packets
from ..data.features import as_float
from ..data.labels.source import label_source, labels_beside
from ..data.packet_table import PacketTable, Trace
from ..data.packets import Capture
from ..implementations import IMPLEMENTATIONS, row_in_c
from ..models import pipeline
from ..models.model import Model
from .replay import classify_in_kernel, kernel_verdicts, load_program
from .rows import KERNEL_PROGRAMS, float_row, predictions


def read(source: Path | str, schedule: Path | str | None = None) -> tuple[dataset.Dataset, Capture | Trace | None]:
    """Read one vector for each flow from a source of packets, and the packets themselves.

    Parameters
    ----------
    source : Path or str
        A packet table (a folder), a capture, or a Parquet file that `data.extract.run` wrote.
    schedule : Path or str, optional
        The label schedule of a capture; see `labels_beside` for the default.

    Returns
    -------
    data : Dataset
        One vector for each flow.
    trace : Capture or Trace or None
        The packets, which can be replayed. None for a Parquet file, which holds vectors only.

    Raises
    ------
    UserError
        If the source or the labels cannot be read.
    """
    source = Path(source)
    if not source.exists():
        raise UserError(f"{source}: there is no such file")
    if source.suffix == ".parquet":
        return dataset.load(source).sample(), None
    labeller = None if source.is_dir() else label_source(schedule or labels_beside(source))
    with tempfile.TemporaryDirectory() as folder:
        data = dataset.extracted(source, Path(folder) / "vectors.parquet", labeller, "last", dataset.name_of(source))
    return data, PacketTable(source).trace() if source.is_dir() else packets.read(source)


def study(
    data: dataset.Dataset, profile: Profile, trace: Capture | Trace | None = None, kernel: bool = True
) -> dict[str, dict[str, dict]]:
    """Train and quantize models with every seed of a profile, and classify the test part by every implementation.

    The kernel rows are the verdicts of the loaded XDP program (`replay.kernel_verdicts`) on the packets of the test
    vectors. Differs: without packets the program gets the vectors.

    Parameters
    ----------
    data : Dataset
        One vector for each flow.
    profile : Profile
        The seeds, and how long to train.
    trace : Capture or Trace, optional
        The packets that the vectors were made from.
    kernel : bool
        Whether to include the kernel rows, which need root.

    Returns
    -------
    dict
        Task to row to score to {"mean", "low", "high"}: `metrics.mean_interval` over the seeds, or None where a single
        seed has none. The scores are "accuracy", "macro_f1", "f1 CLASS" and "agreement", the share of
        equal classes with the row's float model. Kernel rows have "agreement_c" too, with the same integers in C.

    Raises
    ------
    UserError
        If the profile has no seed, or the data has fewer than two classes.
    """
    if not profile.seeds:
        raise UserError("accuracy needs at least 1 seed")
    if len(data.counts()) < 2:
        raise UserError(f"the data has only one class ({data.counts()}): accuracy needs at least two")
    models = _trained(data, profile)
    said = _in_kernel(models, data, trace) if kernel else {}
    found: dict = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for model in models:
        for row, name, value in _test_scores(model, data, said.get((model.task, model.seed), {})):
            found[model.task][row][name].append(value)
    return {
        task: {row: {name: _interval(v) for name, v in scores.items()} for row, scores in rows.items()}
        for task, rows in found.items()
    }


def _trained(data: dataset.Dataset, profile: Profile) -> list[Model]:
    """Train and quantize a model for each task and seed of a profile, and show the progress."""
    with pipeline.training_bar(profile) as bar:
        trained = pipeline.train_tasks(data, profile, bar)
    return [pipeline.quantize_model(model, data) for model in trained]


def _in_kernel(
    models: Sequence[Model], data: dataset.Dataset, trace: Capture | Trace | None
) -> dict[tuple[str, int], dict]:
    """Return the kernel's verdicts on all vectors in the form of `replay.kernel_verdicts`, also without packets."""
    if trace is not None:
        return kernel_verdicts(models, trace, data.packet)
    out: dict[tuple[str, int], dict] = defaultdict(dict)
    for struct, model in itertools.product(KERNEL_PROGRAMS, models):
        with load_program(struct, model) as program:
            out[model.task, model.seed][f"{struct}_kernel"] = classify_in_kernel(program, data.x)[1]
    return out


def _test_scores(
    model: Model, data: dataset.Dataset, kernel: dict[str, np.ndarray]
) -> Iterator[tuple[str, str, float]]:
    """Yield a row, the name of a score and its value, for each row and score of a model on its test part."""
    test, rows = _test_classes(model, data, kernel)
    truth = data.target(model.task)[test]
    for row, classes in rows.items():
        for name, value in _scores(truth, classes, model.task).items():
            yield row, name, value
        yield row, "agreement", float(np.mean(classes == rows[float_row(row)]))
        if IMPLEMENTATIONS[row].where == "kernel":
            yield row, "agreement_c", float(np.mean(classes == rows[row_in_c(row)]))


def _test_classes(
    model: Model, data: dataset.Dataset, kernel: dict[str, np.ndarray]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the indices of a model's test part, and the classes of its vectors by row, the kernel's rows included."""
    _, _, test = dataset.split(data, model.seed)
    return test, predictions(model, data.x[test]) | {row: classes[test] for row, classes in kernel.items()}


def _scores(truth: np.ndarray, found: np.ndarray, task: str) -> dict[str, float]:
    """Return accuracy, macro F1 and the F1 of each class that occurs."""
    matrix = confusion(truth, found, len(TASKS[task]))
    f1 = metrics.per_class(matrix)["f1"]
    out = {"accuracy": metrics.accuracy(matrix), "macro_f1": metrics.macro_f1(matrix)}
    return out | {f"f1 {name}": f1[i] for i, name in enumerate(TASKS[task]) if matrix[i].sum()}


def _interval(values: Sequence[float]) -> dict[str, float | None]:
    ours = metrics.mean_interval(values)
    return {k: None if np.isnan(v) else float(v) for k, v in zip(("mean", "low", "high"), ours[:3], strict=True)}


def confusion(truth: np.ndarray, found: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the confusion matrix.

    Parameters
    ----------
    truth, found : ndarray of shape (n,), int
        True and predicted classes.
    n_classes : int
        2 or 7.

    Returns
    -------
    ndarray of shape (n_classes, n_classes), int64
        The row is the true class, the column the predicted one.
    """
    return np.bincount(truth * n_classes + found.astype(np.int64), minlength=n_classes**2).reshape(n_classes, n_classes)


def evaluate_all(
    data: dataset.Dataset, profile: Profile, kernel: dict | None = None, results: Path = RESULTS, folder: Path = MODELS
) -> list[dict]:
    """Classify the test part by every row of Tables II and III, and record the confusion matrices.

    Parameters
    ----------
    data : Dataset
        The vectors that the models were trained on.
    profile : Profile
        Its seeds name the models.
    kernel : dict, optional
        The kernel's rows: (task, seed) to {row: verdicts of shape (n,) on the vectors of `data`}, as
        `replay.kernel_verdicts` returns them.
    results : Path
        Folder of the records, which are appended to accuracy.jsonl.
    folder : Path
        Folder of the models.

    Returns
    -------
    list of dict
        The records, of kind "accuracy".

    Raises
    ------
    UserError
        If a model is missing or learnt other data; the message says how to make it.
    """
    made = []
    for model in pipeline.load_all(profile, folder, data):
        started = records.now()
        test, rows = _test_classes(model, data, (kernel or {}).get((model.task, model.seed), {}))
        truth = data.target(model.task)[test]
        for row, found in rows.items():
            floats = rows[float_row(row)]
            asked = {"task": model.task, "row": row, "seed": model.seed, "profile": profile.name} | model.named(data)
            raw = {"confusion": confusion(truth, found, model.n_classes).tolist(), "unit": "flows"}
            raw |= {"agreement_with_float": float(np.mean(found == floats))}
            if struct := IMPLEMENTATIONS[row].struct:
                raw["model_bytes"] = len(model.params(struct))
            identity = {"model_sha256": model.sha256(), "data_hash": model.data_hash}
            path = results / "accuracy.jsonl"
            made.append(records.append(path, "accuracy", asked, raw, started=started, identity=identity))
    return made


def validation_scores(trained: list[Model], data: dataset.Dataset) -> pd.DataFrame:
    """Return the accuracy of the float models on their validation parts.

    Parameters
    ----------
    trained : list of Model
        Models that need not be quantized.
    data : Dataset
        The vectors that they were trained on.

    Returns
    -------
    DataFrame
        A line for each model: task, seed, number of flows, and the accuracy of "DT (sklearn)" and "NN (PyTorch)".
    """
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
