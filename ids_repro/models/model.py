"""A model is everything that was made for one task and seed. This module also writes and reads its file."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import joblib
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.tree import DecisionTreeClassifier

from ..config import MODELS, TASKS, UserError
from ..native import layouts
from .calibration import Threshold
from .float_mlp import MLP, float_bytes
from .scaling import MinMax

FORMAT = 1  # of a model file; raise it when the meaning of a field changes


@dataclass(frozen=True)
class Model:
    """Everything that was made for one task and seed: the float models and, once quantized, the integer models.

    Parameters
    ----------
    task : {"binary", "multi"}
        A key of `config.TASKS`.
    seed : int
        Seed of the split, the weights and the shuffling.
    mlp : MLP
        The float net.
    tree : DecisionTreeClassifier
        The float tree.
    scaler : MinMax
        Fitted on the training part.
    history : list of dict
        Loss and validation accuracy of each epoch, from `training.train_mlp`.
    data_sha256 : str
        SHA-256 of the capture and the schedule that the data was made from.
    thresholds : tuple, optional
        What `calibration.thresholds` returned. This and the next two exist only after `pipeline.quantize_model`.
    alpha : tuple of float, optional
        Threshold of each layer's input with which nn_q16 was made.
    twins : dict of str to object, optional
        The integer models by the name of their C struct: "nn_q16" (`IntMlp`), "nn_fused" (`FusedMlp`) and "dt"
        (`IntTree`). The C computes the same, bit for bit. Each has ``predict(x)``, ``logits(x)`` and ``to_bytes()``.
    """

    task: str
    seed: int
    mlp: MLP
    tree: DecisionTreeClassifier
    scaler: MinMax
    history: list[dict]
    data_sha256: str
    thresholds: tuple | None = None
    alpha: tuple[float, ...] | None = None
    twins: dict[str, Any] | None = None

    @property
    def n_classes(self) -> int:
        """Number of classes, 2 or 7."""
        return len(TASKS[self.task])

    def params(self, struct: str) -> bytes:
        """Return the parameters of a classifier as the struct that C reads.

        Parameters
        ----------
        struct : str
            Name of the classifier, a key of `layouts.STRUCTS`.

        Returns
        -------
        bytes
            The struct ids_NAME.

        Raises
        ------
        UserError
            If the model is not quantized yet.
        """
        self._require_twins()
        if struct == "nn_float":
            return float_bytes(self.mlp.weights(), self.scaler)
        return self.twins[struct].to_bytes()

    def sha256(self) -> str:
        """Return the SHA-256 of the structs of all integer models.

        Raises
        ------
        UserError
            If the model is not quantized yet.
        """
        self._require_twins()
        return hashlib.sha256(b"".join(map(self.params, self.twins))).hexdigest()

    def _require_twins(self) -> None:
        if self.twins is None:
            raise UserError(f"the {self.task} model of seed {self.seed} is not quantized yet: run notebook 03")


def model_path(task: str, seed: int, folder: Path = MODELS) -> Path:
    """Return where `save_model` writes the model of a task and seed."""
    return folder / f"{task}-{seed}.joblib"


def save_model(model: Model, folder: Path = MODELS) -> Path:
    """Write a model into a folder and return its path.

    The file gets its name when it is complete, so no reader ever finds half a model.
    """
    path = model_path(model.task, model.seed, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    joblib.dump({"version": layout_version(model), "model": model}, part)
    part.replace(path)
    return path


def layout_version(model: Model) -> dict:
    """Return what a model file and the code that reads it must agree on.

    Returns
    -------
    dict
        The format; the size of each C struct [byte]; and the names of the fields of each class in the file.
    """
    kinds = (Model, MinMax, Threshold, *(type(twin) for twin in (model.twins or {}).values()))
    structs = {name: struct.dtype.itemsize for name, struct in layouts.STRUCTS.items()}
    return {"format": FORMAT} | structs | {kind.__name__: [field.name for field in fields(kind)] for kind in kinds}


def read_model(path: Path) -> Model:
    """Read the model in a file, whatever its task and seed.

    Raises
    ------
    UserError
        If the file is damaged, holds no model, or was written by another version of the code.
    """
    again = "run notebooks 02 and 03 again"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", InconsistentVersionWarning)
            found = joblib.load(path)
    except Exception as error:  # a pickle that is cut off or from other code can fail in any way
        raise UserError(f"{path}: cannot be read as a model ({type(error).__name__}: {error}); {again}") from None
    theirs, model = (found.get("version", {}), found.get("model")) if isinstance(found, dict) else ({}, found)
    if not isinstance(model, Model):
        raise UserError(f"{path}: holds no model; {again}")
    for name, ours in layout_version(model).items():
        if theirs.get(name) != ours:
            made = f"its {name} is {theirs.get(name, 'not given')}, this one's {ours}"
            raise UserError(f"{path}: a model of another version of ids_repro ({made}); {again}")
    return model


def load_model(task: str, seed: int, folder: Path = MODELS) -> Model:
    """Read the model of a task and seed that `save_model` wrote.

    Raises
    ------
    UserError
        If there is no such model, or the file is damaged, holds another model, or was written by another version of the
        code.
    """
    path = model_path(task, seed, folder)
    if not path.is_file():
        raise UserError(f"{path}: there is no such model yet; run notebooks 02 and 03 first, or 'make reproduce'")
    model = read_model(path)
    if (model.task, model.seed) != (task, seed):
        raise UserError(f"{path}: holds the {model.task} model of seed {model.seed}; run notebooks 02 and 03 again")
    return model
