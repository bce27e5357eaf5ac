"""Train what scores a packet for a detector: its tree, on counts in leaves, and its net, on logarithms of intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..config import CLASSES, NORMAL, Profile
from ..data.dataset import Dataset
from ..data.features import as_float
from ..native import library
from ..native.layouts import PAPER_NET, Hidden
from .fixed import RANGE_END
from .float_tree import FloatTree
from .int_mlp_log2 import quantize_log2, with_log2
from .int_tree import quantize_tree
from .scaling import MinMax
from .shape import DETECTOR, Shape, of_all_features

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Settings:
    """How a detector is trained.

    Parameters
    ----------
    shape : Shape
        Of the net and the tree.
    least_in_leaf : int
        Training vectors that each leaf of the tree must have.
    epochs, batch_size : int
        Of the net.
    learning_rate : float
        Highest step size of the net's training; see ``one_cycle`` in `training.train_mlps`.
    paper_steps : int
        Least number of updates of the paper's net, where it is tested beside a detector.
    """

    shape: Shape = DETECTOR
    least_in_leaf: int = 20
    epochs: int = 40
    batch_size: int = 256
    learning_rate: float = 1e-2
    paper_steps: int = 15_000

    @classmethod
    def of(cls, profile: Profile) -> Settings:
        """Return the settings that a profile asks for."""
        return cls(epochs=profile.detector_epochs, paper_steps=profile.min_steps)

    def about(self) -> dict[str, str | float]:
        """Return what a detector's file says of how it was trained."""
        unlike, skip = self.shape.unlike(DETECTOR), ("shape", "paper_steps")
        settings = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in skip}
        return {"depth": self.shape.tree_depth} | settings | ({"shape": unlike} if unlike else {})


class Fitted(NamedTuple):
    """What was trained to score packets.

    Attributes
    ----------
    score : callable
        Takes features of shape (n, 12), int64, Q16, and returns a score for each vector.
    twin : IntTree or Log2Mlp, optional
        The integer model.
    floats : dict
        The fields of `Model` that hold the float model.
    """

    score: Callable[[np.ndarray], np.ndarray]
    twin: Any = None
    floats: dict[str, Any] = {}  # noqa: RUF012, which takes a NamedTuple's default for a class variable


class Fit(NamedTuple):
    """How something is trained to score packets.

    Attributes
    ----------
    train : callable
        Takes vectors (`Dataset`), a seed, `Settings` and a callable that gets the share done; returns `Fitted`.
    again : bool
        Whether what is kept is trained again on all flows, so that it is another model than those that the threshold
        was chosen by. The scores of trees are counts of vectors, which compare; the logits of two nets do not.
    """

    train: Callable[[Dataset, int, Settings, Progress], Fitted]
    again: bool = False


def scores(struct: str, params: bytes, x: np.ndarray, hidden: Hidden = PAPER_NET) -> np.ndarray:
    """Return the score of each vector, logit 1 - logit 0, by the C of an integer model.

    Parameters
    ----------
    struct : str
        Name of the integer model, a key of `Model.detector`.
    params : bytes
        Its struct.
    x : ndarray of shape (n, 12), int64
        Features, Q16.
    hidden : tuple of int
        Widths of the hidden layers of the model's net.

    Returns
    -------
    ndarray of shape (n,), int64
    """
    logits, _ = library.predict(struct, params, 2, x, hidden=hidden)
    return logits[:, 1] - logits[:, 0]


def fitted_twin(struct: str, twin: Any, floats: dict[str, Any], hidden: Hidden = PAPER_NET) -> Fitted:
    """Return an integer model as `Fitted`: its C scores, for a net with hidden layers of these widths."""
    return Fitted(partial(scores, struct, twin.to_bytes(), hidden=hidden), twin, floats)


def _fit_tree(part: Dataset, seed: int, settings: Settings, progress: Progress) -> Fitted:
    from .training import train_tree  # it loads PyTorch, and who only runs a detector needs none

    kept, depth = settings.shape.kept, settings.shape.tree_depth
    x = as_float(part.x[:, kept])
    fitted = train_tree(x, part.target("binary"), seed, depth, settings.least_in_leaf, criterion="entropy")
    tree = FloatTree.of(fitted).over(kept)
    kinds = np.zeros((len(tree.values), len(CLASSES)))  # attacks of each class at each node
    for label in set(np.unique(part.label)) - {NORMAL}:
        path = fitted.decision_path(x[part.label == label].astype(np.float32))
        kinds[:, label] = np.asarray(path.sum(axis=0)).ravel()
    kinds[kinds.sum(axis=1) == 0] = kinds[0]
    progress(1.0)
    return fitted_twin("dt", quantize_tree(tree, 2, kinds.argmax(axis=1)), {"float_tree": tree})


def _fit_net(part: Dataset, seed: int, settings: Settings, progress: Progress) -> Fitted:
    from .training import train_mlp

    kept, hidden = settings.shape.kept, settings.shape.hidden
    x, y = with_log2(part.x)[:, kept], part.target("binary")
    scaler = MinMax.fit(x, constant=RANGE_END // 2)  # where packets of one direction arrive, "dir" is constant
    inputs, epochs = scaler.transform(x), settings.epochs
    net, history = train_mlp(
        inputs,
        y,
        (inputs, y),  # no part is held out for the choice of the epoch: with one cycle the last is the best
        2,
        seed,
        epochs,
        settings.batch_size,
        lambda done, *_: progress(done / epochs),
        settings.learning_rate,
        one_cycle=True,
        hidden=hidden,
    )
    weights = of_all_features([w.astype(np.float32) for w in net.weights()], kept)
    scaler = scaler.over(kept, RANGE_END - 1)
    floats = {"weights": weights, "scaler": scaler, "history": history}
    return fitted_twin("nn_log2", quantize_log2(weights, scaler), floats, hidden)


# The two parts of a detector, by the names of their structs.
FIT = {"nn_log2": Fit(_fit_net), "dt": Fit(_fit_tree, again=True)}
