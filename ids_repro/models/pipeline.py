"""Make the models of a profile: train one for each task and seed, save them, quantize them, and save them again."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from .. import parallel
from ..config import MODELS, PROFILES, SAMPLE, SAMPLE_LABELS, TASKS, Profile, UserError, number
from ..data import dataset
from ..progress import show_progress
from .calibration import thresholds
from .float_models import train_model, train_models, train_tasks
from .model import Model
from .model_file import load_model, read_model, save_model
from .shape import PAPER, Shape
from .twins import TWINS


def tasks_and_seeds(profile: Profile) -> list[tuple[str, int]]:
    """Return every pair of task and seed that a profile trains."""
    return [(task, seed) for task in TASKS for seed in profile.seeds]


def _train_one(job: tuple[dataset.Dataset, str, int, Profile, Shape]) -> Model:
    return train_model(*job)


def training_bar(profile: Profile) -> tqdm:
    """Return a progress bar for `train_tasks`: of every task and seed of a profile."""
    shape = "{l_bar}{bar}| {n:.1f}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
    return show_progress(total=len(tasks_and_seeds(profile)), desc="training", unit="model", bar_format=shape)


def train_all(
    data: dataset.Dataset,
    profile: Profile,
    scheduler: str | None = None,
    folder: Path = MODELS,
    shape: Shape = PAPER,
) -> list[Model]:
    """Train and save a model for each task and seed of a profile, and show a progress bar.

    Parameters
    ----------
    data : Dataset
        One vector per flow.
    profile : Profile
        Its seeds, and how long to train.
    scheduler : str, optional
        Address of a Dask scheduler; see `parallel.run`. By default this process trains the nets of a task at once.
    folder : Path
        Where the models are saved.
    shape : Shape
        See `train_tasks`.

    Raises
    ------
    UserError
        As `train_model` does.
    """
    pairs = tasks_and_seeds(profile)
    if scheduler:
        trained = parallel.run(_train_one, [(data, *pair, profile, shape) for pair in pairs], scheduler, "training")
    else:
        with training_bar(profile) as bar:
            trained = train_tasks(data, profile, bar, shape)
    for model in trained:
        save_model(model, folder)
    return trained


def train_apart(data: dataset.Dataset, profile: Profile, shape: Shape = PAPER) -> list[Model]:
    """Train as `train_tasks` does, each task in a process of its own; the models are not saved."""
    jobs = [(data, task, profile, shape) for task in TASKS]
    return [model for trained in parallel.run(_train_task, jobs, title="training") for model in trained]


def _train_task(job: tuple[dataset.Dataset, str, Profile, Shape]) -> list[Model]:
    data, task, profile, shape = job
    return train_models(data, task, profile.seeds, profile, shape=shape)


def quantize_model(model: Model, data: dataset.Dataset, input_alpha: float | None = 1.0, method: str = "kl") -> Model:
    """Calibrate a model on its training part and make the integer models (Sec. IV-B, step u2).

    Differs: the threshold of X^(1) is alpha = 1, not the method's. X^(1) is min-max normalised, so its range is known
    and alpha = 1 loses nothing. The KL divergence of its histogram says nothing about outliers. It is least at a spike
    that one frequent value makes, such as a packet's length or TCP's protocol number, and a threshold there would clip
    most ports. The method chooses all other thresholds; the paper's method is KL.

    Parameters
    ----------
    model : Model
        A trained model.
    data : Dataset
        The vectors that it was trained on.
    input_alpha : float, optional
        Threshold of X^(1). If it is None, the method chooses this one too.
    method : str
        A key of `calibration.CALIBRATION_METHODS`.

    Returns
    -------
    Model
        The same model with `thresholds`, `alpha` and `twins`.

    Raises
    ------
    UserError
        If a weight is not finite, there is no such method, `input_alpha` is no number within its LIMITS, or the integer
        arithmetic could overflow.
    """
    if input_alpha is not None:
        input_alpha = number("input_alpha", input_alpha)
    train, _, _ = dataset.split(data, model.seed)
    weights = model.mlp.weights()
    inputs = model.mlp.inputs(model.scaler.transform(data.x[train]))
    inputs[0], seen = inputs[0][:, model.kept], [weights[0][model.kept], *weights[1:]]
    found = thresholds(inputs, seen, method)
    alpha = [t.alpha for t in found[0]]
    if input_alpha is not None:
        alpha[0] = input_alpha
    calibrated = replace(model, thresholds=found, alpha=tuple(alpha))
    return replace(calibrated, twins={name: twin.quantize(calibrated) for name, twin in TWINS.items()})


def quantize_all(
    data: dataset.Dataset,
    profile: Profile,
    input_alpha: float | None = 1.0,
    method: str = "kl",
    folder: Path = MODELS,
) -> list[Model]:
    """Quantize every trained model of a profile and save it again, and show a progress bar.

    Parameters
    ----------
    data : Dataset
        The vectors that the models were trained on.
    profile : Profile
        Its seeds say which models.
    input_alpha, method
        See `quantize_model`.
    folder : Path
        Where the models are read and saved.

    Raises
    ------
    UserError
        As `quantize_model` and `load_all` do.
    """
    trained = show_progress(load_all(profile, folder, data), desc="calibrating", unit="model")
    done = [quantize_model(model, data, input_alpha, method) for model in trained]
    for model in done:
        save_model(model, folder)
    return done


def load_all(profile: Profile, folder: Path = MODELS, data: dataset.Dataset | None = None) -> list[Model]:
    """Read the saved model of each task and seed of a profile.

    Parameters
    ----------
    profile : Profile
        Its seeds say which models.
    folder : Path
        Where they are.
    data : Dataset, optional
        What they must have learnt.

    Raises
    ------
    UserError
        As `model_file.load_model` does, or if a model learnt other data or has another shape than the first.
    """
    models = [load_model(task, seed, folder) for task, seed in tasks_and_seeds(profile)]
    for model in models:
        if data is not None and model.data_sha256 != data.meta["sha256"]:
            which = f"the saved {model.task} model of seed {model.seed}"
            raise UserError(f"{which} did not learn the data set {data.meta['name']!r}: run notebooks 02 and 03 again")
    for model in models:
        if (model.hidden, model.shape) != (models[0].hidden, models[0].shape):
            both = f"{models[0].task}-{models[0].seed} and {model.task}-{model.seed}"
            raise UserError(f"the saved models {both} have not one shape: run notebooks 02 and 03 again")
    return models


def any_model(task: str, folder: Path = MODELS) -> Model:
    """Return some quantized model of a task, for checks to which it does not matter which one.

    It is the first saved model. If that is not quantized or none is saved, a model is trained on the lab capture now.
    Nothing is saved.

    Parameters
    ----------
    task : {"binary", "multi"}
        A key of `config.TASKS`.
    folder : Path
        Where models are looked for.

    Raises
    ------
    UserError
        If the file of the first saved model cannot be read.
    """
    saved = sorted(folder.glob(f"{task}-*.npz"))
    model = read_model(saved[0]) if saved else None
    if model is not None and model.twins is not None:
        return model
    with tempfile.TemporaryDirectory() as temporary:
        data = dataset.prepare(SAMPLE, SAMPLE_LABELS, Path(temporary) / "lab.parquet").sample()
    return quantize_model(train_model(data, task, 0, PROFILES["smoke"]), data)
