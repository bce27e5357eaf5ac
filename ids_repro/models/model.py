"""A model is everything that was made for one task and seed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import TASKS, UserError
from ..native.layouts import Hidden
from .fixed import hidden_of
from .float_tree import FloatTree
from .scaling import MinMax

if TYPE_CHECKING:
    from sklearn.tree import DecisionTreeClassifier

    from ..data.dataset import Dataset
    from .float_mlp import MLP


@dataclass(frozen=True)
class Seen:
    """What a detector was seen to do at its threshold, on the flows by which the threshold was chosen.

    Parameters
    ----------
    budget : float
        Largest share of normal flows that it may flag.
    false_alarms : float
        Share of normal flows that it flags.
    found : float
        Share of attack flows that it flags.
    """

    budget: float
    false_alarms: float
    found: float


@dataclass(frozen=True)
class Model:
    """Everything that was made for one task and seed: the float models and, once quantized, the integer models.

    It holds numbers only. `mlp` and `tree` are made of them when they are first asked for, so that a program which
    needs the integer models alone loads neither PyTorch nor scikit-learn.

    Parameters
    ----------
    task : {"binary", "multi"}
        A key of `config.TASKS`.
    seed : int
        Seed of the split, the weights and the shuffling.
    weights : list of ndarray of shape (M_{l-1}, M_l), float32
        W^(l) of each layer of the float net.
    float_tree : FloatTree
        The float tree.
    scaler : MinMax
        Fitted on the training part.
    history : list of dict
        Loss and validation accuracy of each epoch, from `training.train_mlps`.
    data_sha256 : str
        SHA-256 of the capture and the schedule that the data was made from.
    thresholds : tuple, optional
        What `calibration.thresholds` returned. This and the next two exist only after `pipeline.quantize_model`.
    alpha : tuple of float, optional
        Threshold of each layer's input with which nn_q16 was made.
    twins : dict of str to object, optional
        The integer models by the name of their C struct: "nn_q16" (`IntMlp`), "nn_fused" (`FusedMlp`) and "dt"
        (`IntTree`), of a detector "nn_log2" (`Log2Mlp`) and "dt". The C computes the same, bit for bit. Each has
        ``predict(x)``, ``logits(x)`` and ``to_bytes()``.
    detector : dict of str to Seen, optional
        Of a detector: what each of its integer models was seen to do.
    about : dict of str to (str, int or float)
        What it was trained on and how: "data", "labels", "sampling", "batch_size" and so on.
    """

    task: str
    seed: int
    weights: list[np.ndarray]
    float_tree: FloatTree
    scaler: MinMax
    history: list[dict]
    data_sha256: str
    thresholds: tuple | None = None
    alpha: tuple[float, ...] | None = None
    twins: dict[str, Any] | None = None
    detector: dict[str, Seen] | None = None
    about: dict[str, str | float] = field(default_factory=dict)

    @cached_property
    def mlp(self) -> MLP:
        """The float net in PyTorch."""
        from .float_mlp import MLP

        return MLP.of(self.weights)

    @cached_property
    def tree(self) -> DecisionTreeClassifier:
        """The float tree in scikit-learn."""
        return self.float_tree.fitted(self.seed)

    @property
    def n_classes(self) -> int:
        """Number of classes, 2 or 7."""
        return len(TASKS[self.task])

    @property
    def kept(self) -> np.ndarray:
        """Indices of the features that the net sees: those that are left out have zeros as weights."""
        return np.flatnonzero(np.any(self.weights[0] != 0, axis=1))

    @property
    def shape(self) -> str:
        """How the model differs from the paper's in shape (`shape.Shape`), in words; "" if it does not."""
        return str(self.about.get("shape", ""))

    @property
    def data_hash(self) -> str:
        """What records have as the hash of the data: models of another shape have tables of their own."""
        return " ".join(filter(None, [self.data_sha256, self.shape]))

    def named(self, data: Dataset) -> dict[str, str]:
        """Return what records say of the data: `Dataset.named`, with the shape of the model behind the name."""
        named = data.named()
        return named | {"dataset": ", ".join(filter(None, [named["dataset"], self.shape]))}

    @property
    def hidden(self) -> Hidden:
        """Widths of the net's hidden layers."""
        return hidden_of(self.weights)

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
            from .float_mlp import float_bytes

            return float_bytes(self.weights, self.scaler)
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
