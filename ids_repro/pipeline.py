"""The stages between data and tables: train, quantize, evaluate, time; each for every task and seed of a profile."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import torch
from sklearn.tree import DecisionTreeClassifier
from tqdm.auto import tqdm

from . import calibrate, dataset, export, models, native, quantize, records
from .config import MODELS, RESULTS, TASKS, Profile, UserError

ACCURACY, INFERENCE = RESULTS / "accuracy.jsonl", RESULTS / "inference.jsonl"


@dataclass(frozen=True)
class Model:
    """Everything that one task and seed made: the float pair, and after `quantize_model` the integer pair.

    Parameters
    ----------
    task : {"binary", "multi"}
    seed : int
        Of the split, the weights and the shuffling.
    mlp, tree : MLP, DecisionTreeClassifier
        The float models.
    scaler : dataset.MinMax
        Fitted on the training part.
    history : list of dict
        Loss and validation accuracy of each epoch.
    data_sha256 : str
        Of the capture and schedule behind it.
    thresholds : tuple, optional
        From `calibrate.thresholds`.
    int_mlp, int_tree : IntMlp, IntTree, optional
        The integer models.
    """

    task: str
    seed: int
    mlp: models.MLP
    tree: DecisionTreeClassifier
    scaler: dataset.MinMax
    history: list[dict]
    data_sha256: str
    thresholds: tuple | None = None
    int_mlp: quantize.IntMlp | None = None
    int_tree: quantize.IntTree | None = None

    @property
    def n_classes(self) -> int:
        """2 or 7."""
        return len(TASKS[self.task])

    def params(self, classifier: str) -> bytes:
        """The C struct of "nn" or "dt"."""
        return export.mlp_bytes(self.int_mlp) if classifier == "nn" else export.tree_bytes(self.int_tree)

    def sha256(self) -> str:
        """Hash of both integer models."""
        return hashlib.sha256(self.params("nn") + self.params("dt")).hexdigest()


def model_path(task: str, seed: int, folder: Path = MODELS) -> Path:
    """Where `save` puts a model."""
    return folder / f"{task}-{seed}.joblib"


def save(model: Model, folder: Path = MODELS) -> Path:
    """Write a model; it stands under its name only when it is whole."""
    path = model_path(model.task, model.seed, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    joblib.dump(model, part)
    part.replace(path)
    return path


def load(task: str, seed: int, folder: Path = MODELS) -> Model:
    """Read what `save` wrote.

    Raises
    ------
    UserError
        If there is no such model.
    """
    path = model_path(task, seed, folder)
    if not path.is_file():
        raise UserError(f"{path}: there is no such model yet; run notebooks 02 and 03 first, or 'make reproduce'")
    return joblib.load(path)


def tasks_and_seeds(profile: Profile) -> list[tuple[str, int]]:
    """Every pair that the profile trains."""
    return [(task, seed) for task in TASKS for seed in profile.seeds]


def train_model(data: dataset.Dataset, task: str, seed: int, profile: Profile, bar: tqdm | None = None) -> Model:
    """Train the float pair on one task with one seed.

    Parameters
    ----------
    data : Dataset
        The vectors to learn from (`Dataset.sample`).
    bar : tqdm, optional
        Advanced by one each epoch; shows loss and validation accuracy.
    """
    train, validation, _ = dataset.split(data, seed)
    y = data.target(task)
    scaler = dataset.MinMax.fit(data.x[train])

    def progress(epoch: int, loss: float, accuracy: float) -> None:
        if bar is not None:
            bar.set_postfix(task=task, seed=seed, loss=f"{loss:.4f}", validation=f"{accuracy:.4f}")
            bar.update()

    held_out = scaler.transform(data.x[validation]), y[validation]
    inputs = scaler.transform(data.x[train])
    mlp, history = models.train_mlp(
        inputs, y[train], held_out, len(TASKS[task]), seed, profile.epochs, profile.batch_size, progress
    )
    tree = models.train_tree(dataset.as_float(data.x[train]), y[train], seed)
    return Model(task, seed, mlp, tree, scaler, history, data.meta["sha256"])


def train_all(data: dataset.Dataset, profile: Profile) -> list[Model]:
    """Train and save every pair of the profile, with a progress bar."""
    pairs = tasks_and_seeds(profile)
    with tqdm(total=len(pairs) * profile.epochs, desc="training", unit="epoch") as bar:
        trained = [train_model(data, task, seed, profile, bar) for task, seed in pairs]
    for model in trained:
        save(model)
    return trained


def quantize_model(model: Model, data: dataset.Dataset) -> Model:
    """Calibrate on the training part and make the integer pair (Sec. IV-B, step u2)."""
    train, _, _ = dataset.split(data, model.seed)
    weights = model.mlp.weights()
    found = calibrate.thresholds(model.mlp.inputs(model.scaler.transform(data.x[train])), weights)
    alpha, alpha_w = [t.alpha for t in found[0]], [np.array([t.alpha for t in column]) for column in found[1]]
    int_mlp = quantize.quantize_mlp(weights, model.scaler, alpha, alpha_w)
    return replace(model, thresholds=found, int_mlp=int_mlp, int_tree=quantize.quantize_tree(model.tree))


def quantize_all(data: dataset.Dataset, profile: Profile) -> list[Model]:
    """Quantize and save every trained pair of the profile, with a progress bar."""
    pairs = tqdm(tasks_and_seeds(profile), desc="calibrating", unit="model")
    done = [quantize_model(load(task, seed), data) for task, seed in pairs]
    for model in done:
        save(model)
    return done


def load_all(profile: Profile) -> list[Model]:
    """Read every quantized pair of the profile."""
    return [load(task, seed) for task, seed in tasks_and_seeds(profile)]


def predictions(model: Model, x: np.ndarray) -> dict[str, np.ndarray]:
    """Classes of feature vectors by every user-space row of Tables II and III.

    Parameters
    ----------
    x : ndarray of shape (n, 12), int64
        Features, Q16.

    Returns
    -------
    dict of str to ndarray of shape (n,)
        By row: dt_sklearn, nn_pytorch, dt_c, nn_c_q16.
    """
    return {
        "dt_sklearn": model.tree.predict(dataset.as_float(x)),
        "nn_pytorch": model.mlp.predict(model.scaler.transform(x)),
        "dt_c": native.predict_tree(model.params("dt"), x),
        "nn_c_q16": native.predict_mlp(model.params("nn"), model.n_classes, x)[1],
    }


def confusion(truth: np.ndarray, found: np.ndarray, n_classes: int) -> np.ndarray:
    """Confusion matrix of shape (n_classes, n_classes): rows true, columns predicted."""
    return np.bincount(truth * n_classes + found.astype(np.int64), minlength=n_classes**2).reshape(n_classes, n_classes)


def evaluate_all(data: dataset.Dataset, profile: Profile, kernel: dict | None = None) -> pd.DataFrame:
    """Classify the test part by every row of Tables II and III, and record the confusion matrices.

    Parameters
    ----------
    data : Dataset
        What the models were trained on.
    kernel : dict, optional
        More rows: (task, seed) to {row: verdicts of shape (n,) on the vectors of `data`} (`replay.verdicts`).

    Returns
    -------
    DataFrame
        task, seed, row, accuracy, and agreement with the float row of the same family.
    """
    out = []
    for model in load_all(profile):
        started = time.time()
        _, _, test = dataset.split(data, model.seed)
        truth = data.target(model.task)[test]
        rows = predictions(model, data.x[test])
        rows |= {name: found[test] for name, found in (kernel or {}).get((model.task, model.seed), {}).items()}
        for row, found in rows.items():
            floats = rows["dt_sklearn" if row.startswith("dt") else "nn_pytorch"]
            asked = {"task": model.task, "row": row, "seed": model.seed, "dataset": data.meta["name"]}
            asked |= {"profile": profile.name}
            raw = {"confusion": confusion(truth, found, model.n_classes).tolist(), "unit": "flows"}
            raw |= {"agreement_with_float": float(np.mean(found == floats))}
            identity = {"model_sha256": model.sha256(), "data_hash": model.data_sha256}
            records.append(ACCURACY, "accuracy", asked, raw, started=started, identity=identity)
            out.append(asked | {"accuracy": np.mean(found == truth), "agreement": raw["agreement_with_float"]})
    return pd.DataFrame(out)


def _timed(model: Model, x: np.ndarray) -> Iterator[tuple[str, str, int, callable]]:
    """Everything that is timed on one model: (row, how, inferences a call, call)."""
    floats, scaled = dataset.as_float(x), model.scaler.transform(x)
    one, one_scaled = floats[:1], torch.as_tensor(scaled[:1], dtype=torch.float32)
    nn, dt, n = model.params("nn"), model.params("dt"), model.n_classes

    @torch.no_grad()
    def pytorch() -> None:
        model.mlp(one_scaled).argmax(dim=1)

    yield "dt_sklearn", "python_single", 1, lambda: model.tree.predict(one)
    yield "nn_pytorch", "python_single", 1, pytorch
    yield "dt_c", "ctypes_single", 1, lambda: native.predict_tree(dt, x[:1])
    yield "nn_c_q16", "ctypes_single", 1, lambda: native.predict_mlp(nn, n, x[:1])
    yield "dt_c", "c_loop", len(x), lambda: native.predict_tree(dt, x)
    yield "nn_c_q16", "c_loop", len(x), lambda: native.predict_mlp(nn, n, x)


def time_all(data: dataset.Dataset, profile: Profile, calls: int = 50) -> pd.DataFrame:
    """Measure the inference time of the first seed's models, in interleaved rounds, and record every round.

    One sample at a time from Python is what the paper measured (Sec. V-A1); the C in a loop over packets, compiled
    with -O2, is what a packet costs.

    Returns
    -------
    DataFrame
        task, row, how, and the median [ns] over the rounds.
    """
    out = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for model in (load(task, profile.seeds[0]) for task in TASKS):
        started, timed = time.time(), list(_timed(model, data.x[:10000]))
        ns = {case[:2]: [] for case in timed}
        for _ in tqdm(range(profile.timing_rounds), desc=f"timing, {model.task}", unit="round"):
            for row, how, size, call in timed:
                repeat = calls if size == 1 else 1
                begin = time.perf_counter_ns()
                for _ in range(repeat):
                    call()
                ns[row, how].append((time.perf_counter_ns() - begin) / (repeat * size))
        for (row, how), values in ns.items():
            asked = {"task": model.task, "row": row, "how": how}
            asked |= {"dataset": data.meta["name"], "profile": profile.name}
            identity = {"model_sha256": model.sha256(), "data_hash": model.data_sha256}
            raw = {"ns_per_inference": values}
            records.append(INFERENCE, "inference", asked, raw, started=started, identity=identity)
            out.append({"task": model.task, "row": row, "how": how, "median_ns": float(np.median(values))})
    torch.set_num_threads(threads)
    return pd.DataFrame(out)
