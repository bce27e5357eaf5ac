"""What one task and seed made, and the file that keeps it."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass, fields
from pathlib import Path

import joblib
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.tree import DecisionTreeClassifier

from ..config import MODELS, TASKS, UserError
from ..native import layouts
from .calibration import Threshold
from .float_mlp import MLP, float_bytes
from .int_mlp import IntMlp, mlp_bytes
from .int_mlp_fused import FusedMlp, fused_bytes
from .int_tree import IntTree, tree_bytes
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
    int_mlp, int_tree, int_fused : IntMlp, IntTree, FusedMlp, optional
        The integer models: the net in arithmetic q16, the tree, the net in arithmetic fused.
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
    int_mlp: IntMlp | None = None
    int_tree: IntTree | None = None
    int_fused: FusedMlp | None = None

    @property
    def n_classes(self) -> int:
        """2 or 7."""
        return len(TASKS[self.task])

    def params(self, classifier: str) -> bytes:
        """The C struct of "nn_q16", "nn_fused", "dt" or "nn_float"; UserError before `quantize_model`."""
        if self.int_mlp is None:
            raise UserError(f"the {self.task} model of seed {self.seed} is not quantized yet: run notebook 03")
        return {
            "nn_q16": lambda: mlp_bytes(self.int_mlp),
            "nn_fused": lambda: fused_bytes(self.int_fused),
            "nn_float": lambda: float_bytes(self.mlp.weights(), self.scaler),
            "dt": lambda: tree_bytes(self.int_tree),
        }[classifier]()

    def sha256(self) -> str:
        """Hash of the integer models."""
        return hashlib.sha256(b"".join(map(self.params, ("nn_q16", "nn_fused", "dt")))).hexdigest()


def model_path(task: str, seed: int, folder: Path = MODELS) -> Path:
    """Where `save` puts a model."""
    return folder / f"{task}-{seed}.joblib"


def save_model(model: Model, folder: Path = MODELS) -> Path:
    """Write a model; it stands under its name only when it is whole."""
    path = model_path(model.task, model.seed, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    joblib.dump({"version": layout_version(), "model": model}, part)
    part.replace(path)
    return path


def layout_version() -> dict:
    """What a model file and the code that reads it have to agree on: format, C structs [byte], and names of fields."""
    kinds = (Model, MinMax, Threshold, IntMlp, IntTree, FusedMlp)
    structs = {name: getattr(layouts, name).itemsize for name in ("MLP_Q16", "MLP_FUSED", "MLP_FLOAT", "TREE")}
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
    theirs = found.get("version", {}) if isinstance(found, dict) else {}
    for name, ours in layout_version().items():
        if theirs.get(name) != ours:
            made = f"its {name} is {theirs.get(name, 'not given')}, this one's {ours}"
            raise UserError(f"{path}: a model of another version of ids_repro ({made}); {again}")
    return found["model"]


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
