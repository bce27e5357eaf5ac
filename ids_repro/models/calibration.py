"""Quantization thresholds alpha: what range of a tensor the int8 values are spread over (Sec. III-D)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..config import UserError

BINS = 2048
# Levels that |x| is cut into, and so the smallest candidate: with 128 bins the search would have one candidate.
LEVELS = 128
PERCENTILE = 99.99  # of |x|


@dataclass(frozen=True)
class Threshold:
    """A threshold and what it was chosen from.

    Parameters
    ----------
    alpha : float
        The threshold: Eq. (1) maps [-alpha, alpha] to int8.
    counts : ndarray of shape (2048,), int64
        Histogram of |x|.
    edges : ndarray of shape (2049,)
        Its bin edges, from 0 to max |x|.
    criterion : ndarray of shape (1921,), or empty
        What was minimised, for each candidate edges[128] to edges[2048]: "kl" the divergence [nat], "mse" the mean
        squared error relative to the mean square. "percentile" and "max" minimise nothing.
    """

    alpha: float
    counts: np.ndarray
    edges: np.ndarray
    criterion: np.ndarray


def kl_divergence(counts: np.ndarray) -> np.ndarray:
    """KL divergence between a distribution and its quantization, for every threshold at once.

    For a threshold at bin i, the reference P is the first i bins with everything beyond added to the last of them;
    Q is the first i bins cut into 128 levels, each level's count spread evenly over its bins that are not empty. With
    S_g the count of level g, q_g = S_g / (bins not empty in g) and N the total,

        KL(P || Q) = sum_j p_j log p_j - sum_g S_g log q_g + ...   (p, q normalised),

    so that only sums over levels are needed and all candidates come out of three cumulative sums.

    Parameters
    ----------
    counts : ndarray of shape (n_bins,), n_bins >= 128

    Returns
    -------
    ndarray of shape (n_bins - 127,)
        Divergence [nat] for thresholds at bins 128, 129, ..., n_bins; infinite where Q is zero and P is not.
    """
    counts = counts.astype(np.float64)
    total = counts.sum()
    stop = np.arange(LEVELS, len(counts) + 1)
    edges = -(-np.arange(LEVELS + 1) * stop[:, None] // LEVELS)  # first bin of each level, (n_candidates, 129)

    def up_to(values: np.ndarray) -> np.ndarray:
        return np.concatenate([[0.0], np.cumsum(values)])

    def log(values: np.ndarray) -> np.ndarray:
        return np.log(values, where=values > 0, out=np.zeros_like(values))

    level = np.diff(up_to(counts)[edges], axis=1)
    filled = np.diff(up_to(counts > 0)[edges], axis=1)
    log_q = log(np.divide(level, filled, where=filled > 0, out=np.zeros_like(level)))
    inside = up_to(counts)[stop]
    last, beyond = counts[stop - 1], total - inside
    entropy = up_to(counts * log(counts))[stop] - last * log(last) + (last + beyond) * log(last + beyond)
    cross = np.sum(level * log_q, axis=1) + beyond * log_q[:, -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        divergence = (entropy - cross) / total - np.log(total) + np.log(inside)
    return np.where((last == 0) & (beyond > 0), np.inf, divergence)


def squared_error(counts: np.ndarray) -> np.ndarray:
    """Mean squared error of Eq. (1) and back by Eq. (2), for every threshold at once.

    A value counts as the middle of its bin. Zeros do not move the least: the first bin becomes 0 with any threshold.

    Parameters
    ----------
    counts : ndarray of shape (n_bins,), n_bins >= 128

    Returns
    -------
    ndarray of shape (n_bins - 127,)
        Error of thresholds at bins 128, 129, ..., n_bins relative to the mean square of the values.
    """
    top = LEVELS - 1  # 127 of Eq. (1)
    step = np.arange(LEVELS, len(counts) + 1)[:, None] / top  # [bins]
    filled = np.flatnonzero(counts)
    weight, middle = counts[filled] / counts.sum(), filled + 0.5
    back = np.minimum(np.round(middle / step), top) * step
    return (back - middle) ** 2 @ weight / (middle**2 @ weight)


def _last_least(criterion: np.ndarray) -> int:
    """Bin of the least value, the largest of equals."""
    return LEVELS + len(criterion) - 1 - int(np.argmin(criterion[::-1]))


def _kl(counts: np.ndarray) -> tuple[int, np.ndarray]:
    """Least KL divergence (Sec. III-D)."""
    shape = counts.copy()
    shape[0] = shape[1]  # zeros are exact at any scale (ReLU makes many) and would drown the rest
    if shape.sum() == 0:
        shape[-1] = 1
    divergence = kl_divergence(shape)
    return _last_least(divergence), divergence


def _mse(counts: np.ndarray) -> tuple[int, np.ndarray]:
    """Least mean squared error."""
    error = squared_error(counts)
    return _last_least(error), error


def _percentile(counts: np.ndarray, percentile: float = PERCENTILE) -> tuple[int, np.ndarray]:
    """First bin edge with so many per cent of all values, zeros too, below it."""
    if not 0 < percentile <= 100:
        raise UserError(f"percentile is {percentile:g}: it must be above 0 and at most 100")
    return int(np.searchsorted(np.cumsum(counts), counts.sum() * percentile / 100)) + 1, np.empty(0)


def _max(counts: np.ndarray) -> tuple[int, np.ndarray]:
    """Nothing is clipped."""
    return len(counts), np.empty(0)


# Each takes the histogram's counts and returns the edge to cut at, and the criterion of every candidate.
CALIBRATION_METHODS: dict[str, Callable[..., tuple[int, np.ndarray]]] = {
    "kl": _kl,
    "mse": _mse,
    "percentile": _percentile,
    "max": _max,
}


def choose_threshold(counts: np.ndarray, edges: np.ndarray, method: str = "kl", **options: float) -> Threshold:
    """Choose alpha from a histogram of |x|.

    Parameters
    ----------
    counts, edges : ndarray of shape (2048,) and (2049,)
        Also those of a `Threshold` that another method chose.
    method : str
        A name in `METHODS`.
    **options
        ``percentile=99.99`` of that method.

    Raises
    ------
    UserError
        If there is no such method.
    """
    if method not in CALIBRATION_METHODS:
        raise UserError(f"there is no calibration method {method!r}: use one of {', '.join(CALIBRATION_METHODS)}")
    cut, criterion = CALIBRATION_METHODS[method](counts, **options)
    if counts[-1] == 0:  # a dead column: any threshold will do
        cut = len(counts)
    return Threshold(float(edges[cut]), counts, edges, criterion)


def threshold(values: np.ndarray, method: str = "kl", **options: float) -> Threshold:
    """Choose alpha for a tensor's values over the calibration data, or for one column of weights; see `choose`.

    Raises
    ------
    UserError
        If a value is not finite, or there is no such method.
    """
    magnitude = np.abs(np.asarray(values, np.float64)).ravel()
    if not np.isfinite(magnitude).all():
        raise UserError("a weight or activation of the net is not finite: train it again (notebook 02)")
    counts, edges = np.histogram(magnitude, BINS, (0.0, magnitude.max() or 1.0))
    return choose_threshold(counts, edges, method, **options)


def thresholds(
    inputs: list[np.ndarray], weights: list[np.ndarray], method: str = "kl"
) -> tuple[list[Threshold], list[list[Threshold]]]:
    """Choose every threshold of a net (Sec. IV-B).

    Parameters
    ----------
    inputs : list of ndarray of shape (n, M_{l-1})
        X^(l) over the calibration data, one a layer; one threshold each, the coarsest granularity.
    weights : list of ndarray of shape (M_{l-1}, M_l)
        W^(l); one threshold a column, the moderate granularity.
    method : str
        A name in `METHODS`; "kl" is the paper's.

    Returns
    -------
    activations : list of Threshold
    columns : list of list of Threshold
    """
    columns = [[threshold(column, method) for column in w.T] for w in weights]
    return [threshold(x, method) for x in inputs], columns
