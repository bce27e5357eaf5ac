"""Accuracy of every implementation on a dataset over several seeds: Tables II and III without their files."""

from __future__ import annotations

import contextlib
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from . import dataset, extract, labels, metrics, parity, pipeline
from .config import SAMPLE, TASKS, Profile, UserError
from .evaluate import confusion, float_row, predictions
from .kernel import Program
from .variants import TAKES


def read(source: Path | str, schedule: Path | str | None = None) -> dataset.Dataset:
    """Read one vector a flow from whatever holds packets.

    Parameters
    ----------
    source : Path or str
        A packet table (a folder), a capture, or a Parquet file that `extract.run` wrote.
    schedule : Path or str, optional
        Label schedule of a capture; the one beside it, with the suffix .csv, by default.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    source = Path(source)
    if source.suffix == ".parquet":
        return dataset.load(source).sample()
    labeller = None if source.is_dir() else labels.source(schedule or source.with_suffix(".csv"))
    name = "lab capture" if source.resolve() == SAMPLE else source.resolve().name
    with tempfile.TemporaryDirectory() as folder:
        extract.run(source, Path(folder) / "vectors.parquet", labeller, name=name)
        return dataset.load(Path(folder) / "vectors.parquet")


def _scores(truth: np.ndarray, found: np.ndarray, task: str, floats: np.ndarray) -> dict[str, float]:
    matrix = confusion(truth, found, len(TASKS[task]))
    f1 = metrics.per_class(matrix)["f1"]
    out = {"accuracy": metrics.accuracy(matrix), "macro_f1": metrics.macro_f1(matrix)}
    out |= {f"f1 {name}": f1[i] for i, name in enumerate(TASKS[task]) if matrix[i].sum()}
    return out | {"agreement": float(np.mean(found == floats))}


def _in_kernel(programs: dict[str, Program], model: pipeline.Model, x: np.ndarray) -> dict[str, np.ndarray]:
    for classifier, program in programs.items():
        program.set_params(model.params(classifier))
    return {f"{name}_kernel": parity.in_kernel(program, x)[1] for name, program in programs.items()}


def study(data: dataset.Dataset, profile: Profile, kernel: bool = True) -> dict[str, dict[str, dict]]:
    """Train, quantize and classify the test part with every seed of a profile, each by every implementation.

    Parameters
    ----------
    data : Dataset
        One vector a flow.
    kernel : bool
        Also by the loaded XDP programs, which needs root.

    Returns
    -------
    dict
        Task to row to {"accuracy", "macro_f1", "f1 CLASS", ..., "agreement" (with the float row of its family)}, each
        {"mean", "low", "high"}: mean and 95 % interval over the seeds, null without one.

    Raises
    ------
    UserError
        If the data holds fewer than two classes.
    """
    if len(data.counts()) < 2:
        raise UserError(f"there is nothing to tell apart: {data.counts()}")
    found: dict = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    with tqdm(total=len(TASKS) * len(profile.seeds), desc="accuracy", unit="model") as bar:
        for task in TASKS:
            with contextlib.ExitStack() as stack:
                variants = {c: replace(TAKES[c], n_classes=len(TASKS[task]), probe=True) for c in TAKES if kernel}
                programs = {c: stack.enter_context(Program(variant)) for c, variant in variants.items()}
                for seed in profile.seeds:
                    model = pipeline.quantize_model(pipeline.train_model(data, task, seed, profile), data)
                    _, _, test = dataset.split(data, seed)
                    truth, x = data.target(task)[test], data.x[test]
                    rows = predictions(model, x) | _in_kernel(programs, model, x)
                    for row, classes in rows.items():
                        floats = rows[float_row(row)]
                        for name, value in _scores(truth, classes, task, floats).items():
                            found[task][row][name].append(value)
                    bar.update()
    return {
        task: {row: {name: _interval(v) for name, v in scores.items()} for row, scores in rows.items()}
        for task, rows in found.items()
    }


def _interval(values: Sequence[float]) -> dict[str, float | None]:
    ours = metrics.mean_interval(values)
    return {k: None if np.isnan(v) else float(v) for k, v in zip(("mean", "low", "high"), ours[:3], strict=True)}
