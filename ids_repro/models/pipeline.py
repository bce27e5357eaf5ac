"""The stages that make models: train and quantize, for every task and seed of a profile, saved between the two."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from .. import parallel
from ..config import MODELS, PROFILES, SAMPLE, TASKS, Profile, UserError
from ..data import dataset
from ..data.features import as_float
from .calibration import thresholds
from .int_mlp import IntMlp, quantize_mlp
from .int_mlp_fused import quantize_fused
from .int_tree import quantize_tree
from .model import Model, load_model, read_model, save_model
from .scaling import MinMax
from .training import train_mlp, train_tree


def _q16(model: Model) -> IntMlp:
    alpha_w = [np.array([t.alpha for t in columns]) for columns in model.thresholds[1]]
    return quantize_mlp(model.mlp.weights(), model.scaler, list(model.alpha), alpha_w)


# How each integer model is made from a calibrated model, by the name of its C struct.
TWINS = {
    "nn_q16": _q16,
    "nn_fused": lambda model: quantize_fused(model.mlp.weights(), model.scaler),
    "dt": lambda model: quantize_tree(model.tree),
}


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

    Raises
    ------
    UserError
        If the task has one class only, a class is missing from the training part, a feature is constant in it, or the
        loss leaves the numbers.
    """
    train, validation, _ = dataset.split(data, seed)
    epochs = max(profile.epochs, -(-profile.min_steps // -(-len(train) // profile.batch_size)))
    y = data.target(task)
    _require_classes(y, train, task)
    scaler = MinMax.fit(data.x[train])

    begun = bar.n if bar is not None else 0

    def progress(done: float, loss: float, accuracy: float) -> None:
        if bar is not None:
            bar.set_postfix(task=task, seed=seed, loss=f"{loss:.4f}", validation=f"{accuracy:.4f}")
            bar.update(begun + done / epochs - bar.n)

    held_out = scaler.transform(data.x[validation]), y[validation]
    inputs = scaler.transform(data.x[train])
    mlp, history = train_mlp(inputs, y[train], held_out, len(TASKS[task]), seed, epochs, profile.batch_size, progress)
    tree = train_tree(as_float(data.x[train]), y[train], seed)
    return Model(task, seed, mlp, tree, scaler, history, data.meta["sha256"])


def _require_classes(y: np.ndarray, train: np.ndarray, task: str) -> None:
    there, learnt = (set(np.unique(part).tolist()) for part in (y, y[train]))
    for missing in sorted(there - learnt):
        raise UserError(f"no {TASKS[task][missing]!r} is in the training part: add flows of it, or take its flows out")
    if len(there) < 2:
        raise UserError(f"the {task} task has only {TASKS[task][there.pop()]!r} to learn: add flows of another class")


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
        trained = parallel.run(_train_one, [(data, *pair, profile) for pair in pairs], scheduler, "training")
    else:
        shape = "{l_bar}{bar}| {n:.1f}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
        with tqdm(total=len(pairs), desc="training", unit="model", bar_format=shape) as bar:
            trained = [train_model(data, task, seed, profile, bar) for task, seed in pairs]
    for model in trained:
        save_model(model)
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
    found = thresholds(model.mlp.inputs(model.scaler.transform(data.x[train])), weights, method)
    alpha = [t.alpha for t in found[0]]
    if input_alpha is not None:
        alpha[0] = input_alpha
    calibrated = replace(model, thresholds=found, alpha=tuple(alpha))
    return replace(calibrated, twins={name: quantize(calibrated) for name, quantize in TWINS.items()})


def quantize_all(
    data: dataset.Dataset, profile: Profile, input_alpha: float | None = 1.0, method: str = "kl"
) -> list[Model]:
    """Quantize and save every trained pair of the profile, with a progress bar; see `quantize_model`."""
    pairs = tqdm(tasks_and_seeds(profile), desc="calibrating", unit="model")
    done = [quantize_model(load_model(task, seed), data, input_alpha, method) for task, seed in pairs]
    for model in done:
        save_model(model)
    return done


def load_all(profile: Profile, folder: Path = MODELS) -> list[Model]:
    """Read every quantized pair of the profile."""
    return [load_model(task, seed, folder) for task, seed in tasks_and_seeds(profile)]


def any_model(task: str) -> Model:
    """Return a quantized model of a task: the first that was saved, or one trained now on the lab capture.

    Nothing is saved: this is for checks that need some real model, whichever.
    """
    saved = sorted(MODELS.glob(f"{task}-*.joblib"))
    model = read_model(saved[0]) if saved else None
    if model is not None and model.twins is not None:
        return model
    with tempfile.TemporaryDirectory() as folder:
        data = dataset.prepare(SAMPLE, SAMPLE.with_suffix(".csv"), Path(folder) / "lab.parquet").sample()
    return quantize_model(train_model(data, task, 0, PROFILES["smoke"]), data)
