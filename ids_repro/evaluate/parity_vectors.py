"""Feature vectors on which to compare implementations: at every boundary, and random ones; models with tied logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from ..data.features import FEATURES
from ..models.model import Model
from ..native.layouts import TREE_LEAF

INT64 = np.iinfo(np.int64)
MAX_FEATURE = 1 << 47  # No feature of a flow reaches this. The largest is a duration of 1,800 s in us, Q16.
PIECE = 50_000  # vectors that are made at a time, so that memory does not grow with their number
PAIRS = 200  # pairs of random vectors between which a change of class is looked for


def boundary_vectors(model: Model) -> np.ndarray:
    """Return vectors at which an implementation that is off by one differs.

    One feature at a time takes each of these values, the value below it and the value above it, while the others are
    in the middle of their ranges:

    - the limits of int64, zero and MAX_FEATURE - 1;
    - min - range and min + range, where the normaliser clips;
    - min, where the normalised value is 0;
    - each threshold that the tree has for that feature.

    All features together take each of these values but the thresholds. With all of them at min every logit is 0, which
    is a tie. Last come neighbouring vectors between which the class of a net changes (`changes`).

    Parameters
    ----------
    model : Model
        A quantized model.

    Returns
    -------
    ndarray of shape (n, 12), int64
        Features, Q16.
    """
    low, width = model.scaler.min_, model.scaler.range_
    base = low + width // 2
    limits = [0, MAX_FEATURE - 1, INT64.min, INT64.max]
    values = [[*limits, low[i], low[i] - width[i], low[i] + width[i]] for i in range(len(low))]
    for threshold, feature in zip(model.twins["dt"].threshold, model.twins["dt"].feature, strict=True):
        if feature != TREE_LEAF:
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
    """Find, by bisection between the vectors of each pair, two neighbours of which the values differ.

    Parameters
    ----------
    what : callable
        Takes vectors of shape (n, 12) and returns values of shape (n,), such as a net's classes.
    left, right : ndarray of shape (n, 12), int64
        The pairs. Those of which both vectors have the same value are left out.

    Returns
    -------
    ndarray of shape (2 m, 12), int64
        First the m neighbours that have the value of `left`, then the m others. No feature of two neighbours differs
        by more than 1.
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
    """Return random vectors whose features have every order of magnitude below MAX_FEATURE equally often.

    Parameters
    ----------
    n : int
        Number of vectors.
    seed : int
        Seed of the random numbers.

    Returns
    -------
    ndarray of shape (n, 12), int64
        Features, Q16.
    """
    rng = np.random.default_rng(seed)
    return (2.0 ** rng.uniform(0, np.log2(MAX_FEATURE), (n, len(FEATURES)))).astype(np.int64)


def in_range(model: Model, n: int, seed: int = 0) -> np.ndarray:
    """Return random vectors whose features are uniform over min ± 1.1 range of the model's normaliser.

    Parameters
    ----------
    model : Model
        Whose normaliser is taken.
    n : int
        Number of vectors.
    seed : int
        Seed of the random numbers.

    Returns
    -------
    ndarray of shape (n, 12), int64
        Features, Q16.
    """
    share = np.random.default_rng(seed).uniform(-1.1, 1.1, (n, len(FEATURES)))
    return model.scaler.min_ + (share * model.scaler.range_).astype(np.int64)


def pieces(model: Model, n: int, size: int = PIECE) -> Iterator[np.ndarray]:
    """Make n vectors: those of `boundary_vectors`, then as many of `random_vectors` as of `in_range`.

    Parameters
    ----------
    model : Model
        A quantized model.
    n : int
        Number of vectors.
    size : int
        Number of vectors in a piece; the last piece may have fewer.

    Yields
    ------
    ndarray of shape (at most size, 12), int64
        Features, Q16.
    """
    x = boundary_vectors(model)[:n]
    for piece in range(-(-n // size)):
        room = min(n - piece * size, size) - len(x)
        x = [x, random_vectors(room // 2, piece), in_range(model, room - room // 2, piece)]
        yield np.concatenate(x)
        x = np.zeros((0, len(FEATURES)), np.int64)


def tied(model: Model) -> Model:
    """Return the model with nets whose classes have equal logits in pairs, whatever the vector."""
    twins = {name: twin.tied() if hasattr(twin, "tied") else twin for name, twin in model.twins.items()}
    return replace(model, twins=twins)
