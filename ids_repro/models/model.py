"""What one task and seed made, and the file that keeps it."""

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

FORMAT = 1  # of a model file: to be raised when what a field means changes


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
    twins : dict of str to object, optional
        The integer models, which the C equals bit for bit, by the name of their struct: "nn_q16" (`IntMlp`), "nn_fused"
        (`FusedMlp`), "dt" (`IntTree`). Each has ``predict(x)``, ``logits(x)`` and ``to_bytes()``.
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
        """2 or 7."""
        return len(TASKS[self.task])

    def params(self, struct: str) -> bytes:
        """Return a C struct of the model.

        Parameters
        ----------
        struct : str
            A name in `layouts.STRUCTS`: that of a twin, or "nn_float".

        Raises
        ------
        UserError
            If the model is not quantized yet.
        """
        if self.twins is None:
            raise UserError(f"the {self.task} model of seed {self.seed} is not quantized yet: run notebook 03")
        if struct == "nn_float":
            return float_bytes(self.mlp.weights(), self.scaler)
        return self.twins[struct].to_bytes()

    def sha256(self) -> str:
        """Return the SHA-256 of the integer models' structs."""
        return hashlib.sha256(b"".join(map(self.params, self.twins or ("nn_q16",)))).hexdigest()


def model_path(task: str, seed: int, folder: Path = MODELS) -> Path:
    """Where `save` puts a model."""
    return folder / f"{task}-{seed}.joblib"


def save_model(model: Model, folder: Path = MODELS) -> Path:
    """Write a model; it stands under its name only when it is whole."""
    path = model_path(model.task, model.seed, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    joblib.dump({"version": layout_version(model), "model": model}, part)
    part.replace(path)
    return path


def layout_version(model: Model) -> dict:
    """Return what a model file and its reader must agree on: format, sizes of C structs [byte], names of fields."""
    kinds = (Model, MinMax, Threshold, *(type(twin) for twin in (model.twins or {}).values()))
    structs = {name: dtype.itemsize for name, dtype in layouts.STRUCTS.items()}
    return {"format": FORMAT} | structs | {kind.__name__: [field.name for field in fields(kind)] for kind in kinds}


def read_model(path: Path) -> Model:
    """Read whatever model is in a file.

    Raises
    ------
    UserError
        If the file is damaged or of another version of the code.
    """
    again = "run notebooks 02 and 03 again"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", InconsistentVersionWarning)
            found = joblib.load(path)
    except Exception as error:  # a pickle that is cut off or of other code can fail in any way
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
    """Read what `save` wrote.

    Raises
    ------
    UserError
        If there is no such model, or the file is damaged, of another version of the code, or of another model.
    """
    path = model_path(task, seed, folder)
    if not path.is_file():
        raise UserError(f"{path}: there is no such model yet; run notebooks 02 and 03 first, or 'make reproduce'")
    model = read_model(path)
    if (model.task, model.seed) != (task, seed):
        raise UserError(f"{path}: holds the {model.task} model of seed {model.seed}; run notebooks 02 and 03 again")
    return model
