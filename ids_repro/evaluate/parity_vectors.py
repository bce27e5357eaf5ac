"""Feature vectors to compare implementations on: at every boundary, at ties, and random."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from ..data.features import FEATURES
from ..models.model import Model

INT64 = np.iinfo(np.int64)
MAX_FEATURE = 1 << 47  # no feature of a flow reaches it: 1,800 s in us, Q16
PIECE = 50_000  # vectors at once: what is in memory does not grow with n
PAIRS = 200  # random vectors between which a change of class is looked for


def boundary_vectors(model: Model) -> np.ndarray:
    """Vectors at which an off-by-one shows; shape (n, 12), int64, Q16.

    Each feature alone, and all together: at the limits of int64, at zero, at both clips of the normaliser (min - range
    and min + range) and where it begins (min: all features there make every logit 0, a tie), at each threshold of the
    tree; one below and one above each. And where the class of either net changes from one vector to the next.
    """
    low, width = model.scaler.min_, model.scaler.range_
    base = low + width // 2
    limits = [0, MAX_FEATURE - 1, INT64.min, INT64.max]
    values = [[*limits, low[i], low[i] - width[i], low[i] + width[i]] for i in range(len(low))]
    for threshold, feature in zip(model.twins["dt"].threshold, model.twins["dt"].feature, strict=True):
        if threshold < INT64.max:
            values[feature].append(threshold)
    out = [np.full_like(base, limit) for limit in limits] + [low, low - width, low + width]
    for i, centres in enumerate(values):
        for value in {int(c) + step for c in centres for step in (-1, 0, 1)}:
            if INT64.min <= value <= INT64.max:
                out.append(np.where(np.arange(len(base)) == i, value, base))
    pairs = np.split(in_range(model, 2 * PAIRS), 2)
    nets = [twin for name, twin in model.twins.items() if name != "dt"]
    return np.concatenate([np.array(out), *(changes(net.predict, *pairs) for net in nets)])


def changes(what: Callable[[np.ndarray], np.ndarray], left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Halve the way between vectors of two values until they are neighbours: the last of one, the first of the other.

    Parameters
    ----------
    what : callable
        Vectors of shape (n, 12) to values of shape (n,), such as a net's classes.
    left, right : ndarray of shape (n, 12), int64
        Pairs of which the value is the same are left out.

    Returns
    -------
    ndarray of shape (2 m, 12), int64
    """
    value = what(left)
    apart = value != what(right)
    left, right, value = left[apart], right[apart], value[apart]
    while np.any(np.abs(right - left) > 1):
        middle = left + (right - left) // 2
        same = (what(middle) == value)[:, None]
        left, right = np.where(same, middle, left), np.where(same, right, middle)
    return np.concatenate([left, right])


def random_vectors(n: int, seed: int = 0) -> np.ndarray:
    """Vectors whose features are spread evenly over the orders of magnitude up to MAX_FEATURE; shape (n, 12), Q16."""
    rng = np.random.default_rng(seed)
    return (2.0 ** rng.uniform(0, np.log2(MAX_FEATURE), (n, len(FEATURES)))).astype(np.int64)


def in_range(model: Model, n: int, seed: int = 0) -> np.ndarray:
    """Vectors spread evenly over 1.1 times [min - range, min + range]; shape (n, 12), int64, Q16."""
    share = np.random.default_rng(seed).uniform(-1.1, 1.1, (n, len(FEATURES)))
    return model.scaler.min_ + (share * model.scaler.range_).astype(np.int64)


def pieces(model: Model, n: int) -> Iterator[np.ndarray]:
    """Yield n vectors in pieces of shape (at most PIECE, 12): those at boundaries, then random ones of both kinds."""
    x = boundary_vectors(model)[:n]
    for piece in range(-(-n // PIECE)):
        room = min(n - piece * PIECE, PIECE) - len(x)
        x = [x, random_vectors(room // 2, piece), in_range(model, room - room // 2, piece)]
        yield np.concatenate(x)
        x = np.zeros((0, len(FEATURES)), np.int64)


def tied(model: Model) -> Model:
    """Return the model with the classes of its nets in pairs of equal logits, whatever the vector."""
    twins = {name: twin.tied() if hasattr(twin, "tied") else twin for name, twin in model.twins.items()}
    return replace(model, twins=twins)
