"""The stages that make models: train and quantize, for every task and seed of a profile, saved between the two."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.tree import DecisionTreeClassifier
from tqdm.auto import tqdm

from . import calibrate, dataset, export, fused, models, quantize, tasks
from .config import MODELS, PROFILES, SAMPLE, TASKS, Profile, UserError


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
    alpha : tuple of float, optional
        Threshold of each layer's input that the integer net was made with.
    int_mlp, int_tree, int_fused : IntMlp, IntTree, FusedMlp, optional
        The integer models: the net in arithmetic q16, the tree, the net in arithmetic fused.
    """

    task: str
    seed: int
    mlp: models.MLP
    tree: DecisionTreeClassifier
    scaler: dataset.MinMax
    history: list[dict]
    data_sha256: str
    thresholds: tuple | None = None
    alpha: tuple[float, ...] | None = None
    int_mlp: quantize.IntMlp | None = None
    int_tree: quantize.IntTree | None = None
    int_fused: fused.FusedMlp | None = None

    @property
    def n_classes(self) -> int:
        """2 or 7."""
        return len(TASKS[self.task])

    def params(self, classifier: str) -> bytes:
        """The C struct of "nn" (arithmetic q16), "nn_fused", "dt" or "nn_float"; UserError before `quantize_model`."""
        if self.int_mlp is None:
            raise UserError(f"the {self.task} model of seed {self.seed} is not quantized yet: run notebook 03")
        return {
            "nn": lambda: export.mlp_bytes(self.int_mlp),
            "nn_fused": lambda: export.fused_bytes(self.int_fused),
            "nn_float": lambda: export.float_bytes(self.mlp.weights(), self.scaler),
            "dt": lambda: export.tree_bytes(self.int_tree),
        }[classifier]()

    def sha256(self) -> str:
        """Hash of the integer models."""
        return hashlib.sha256(b"".join(map(self.params, ("nn", "nn_fused", "dt")))).hexdigest()


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
        Advances from 0 to 1 over the epochs; shows loss and validation accuracy.
    """
    train, validation, _ = dataset.split(data, seed)
    epochs = max(profile.epochs, -(-profile.min_steps // -(-len(train) // profile.batch_size)))
    y = data.target(task)
    scaler = dataset.MinMax.fit(data.x[train])

    def progress(epoch: int, loss: float, accuracy: float) -> None:
        if bar is not None:
            bar.set_postfix(task=task, seed=seed, loss=f"{loss:.4f}", validation=f"{accuracy:.4f}")
            bar.update(1 / epochs)

    held_out = scaler.transform(data.x[validation]), y[validation]
    inputs = scaler.transform(data.x[train])
    mlp, history = models.train_mlp(
        inputs, y[train], held_out, len(TASKS[task]), seed, epochs, profile.batch_size, progress
    )
    tree = models.train_tree(dataset.as_float(data.x[train]), y[train], seed)
    return Model(task, seed, mlp, tree, scaler, history, data.meta["sha256"])


def _train_one(job: tuple[dataset.Dataset, str, int, Profile]) -> Model:
    return train_model(*job)


def train_all(data: dataset.Dataset, profile: Profile, scheduler: str | None = None) -> list[Model]:
    """Train and save every pair of the profile, with a progress bar.

    Parameters
    ----------
    scheduler : str, optional
        Address of a Dask scheduler (`tasks.run`); one pair after the other in this process by default.
    """
    pairs = tasks_and_seeds(profile)
    if scheduler:
        trained = tasks.run(_train_one, [(data, *pair, profile) for pair in pairs], scheduler, "training")
    else:
        shape = "{l_bar}{bar}| {n:.1f}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
        with tqdm(total=len(pairs), desc="training", unit="model", bar_format=shape) as bar:
            trained = [train_model(data, task, seed, profile, bar) for task, seed in pairs]
    for model in trained:
        save(model)
    return trained


def quantize_model(model: Model, data: dataset.Dataset, input_alpha: float | None = 1.0, method: str = "kl") -> Model:
    """Calibrate on the training part and make the integer pair (Sec. IV-B, step u2).

    Differs: X^(1) is min-max normalised, so its range is known, and alpha = 1 loses nothing. The KL divergence of its
    histogram says nothing about outliers: it is least at a spike that one frequent value makes, such as a packet's
    length or TCP's protocol number, and there it clips most ports away. All other thresholds are the method's, in the
    paper KL's.

    Parameters
    ----------
    data : Dataset
        What the model was trained on.
    input_alpha : float, optional
        Threshold of X^(1); None takes the method's there too.
    method : str
        A name in `calibrate.METHODS`.
    """
    train, _, _ = dataset.split(data, model.seed)
    weights = model.mlp.weights()
    found = calibrate.thresholds(model.mlp.inputs(model.scaler.transform(data.x[train])), weights, method)
    alpha = [t.alpha for t in found[0]]
    if input_alpha is not None:
        alpha[0] = input_alpha
    alpha_w = [np.array([t.alpha for t in columns]) for columns in found[1]]
    return replace(
        model,
        thresholds=found,
        alpha=tuple(alpha),
        int_mlp=quantize.quantize_mlp(weights, model.scaler, alpha, alpha_w),
        int_tree=quantize.quantize_tree(model.tree),
        int_fused=fused.quantize_fused(weights, model.scaler),
    )


def quantize_all(
    data: dataset.Dataset, profile: Profile, input_alpha: float | None = 1.0, method: str = "kl"
) -> list[Model]:
    """Quantize and save every trained pair of the profile, with a progress bar; see `quantize_model`."""
    pairs = tqdm(tasks_and_seeds(profile), desc="calibrating", unit="model")
    done = [quantize_model(load(task, seed), data, input_alpha, method) for task, seed in pairs]
    for model in done:
        save(model)
    return done


def load_all(profile: Profile) -> list[Model]:
    """Read every quantized pair of the profile."""
    return [load(task, seed) for task, seed in tasks_and_seeds(profile)]


def validation_scores(trained: list[Model], data: dataset.Dataset) -> pd.DataFrame:
    """Accuracy of the float models on their validation parts, one line a model."""
    lines = []
    for model in trained:
        _, at, _ = dataset.split(data, model.seed)
        truth, x = data.target(model.task)[at], data.x[at]
        scores = {
            "DT (sklearn)": np.mean(model.tree.predict(dataset.as_float(x)) == truth),
            "NN (PyTorch)": np.mean(model.mlp.predict(model.scaler.transform(x)) == truth),
        }
        lines.append({"task": model.task, "seed": model.seed, "flows": len(at)} | scores)
    return pd.DataFrame(lines)


def any_model(task: str) -> Model:
    """Return a quantized model of a task: the first that was saved, or one trained now on the lab capture.

    Nothing is saved: this is for checks that need some real model, whichever.
    """
    saved = sorted(MODELS.glob(f"{task}-*.joblib"))
    model = joblib.load(saved[0]) if saved else None
    if model is not None and model.int_mlp is not None:
        return model
    with tempfile.TemporaryDirectory() as folder:
        data = dataset.prepare(SAMPLE, SAMPLE.with_suffix(".csv"), Path(folder) / "lab.parquet").sample()
    return quantize_model(train_model(data, task, 0, PROFILES["smoke"]), data)
