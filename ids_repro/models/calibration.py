"""Choose the quantization thresholds alpha: the range of a tensor that its int8 values cover (Sec. III-D)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..config import UserError

BINS = 2048  # of the histogram of |x|
LEVELS = 128  # int8 values that |x| can have; a candidate threshold has at least one bin for each
PERCENTILE = 99.99  # per cent of the values |x| that the method "percentile" keeps


@dataclass(frozen=True)
class Threshold:
    """A threshold and the histogram from which it was chosen.

    Parameters
    ----------
    alpha : float
        The threshold. Eq. (1) maps [-alpha, alpha] to int8.
    counts : ndarray of shape (2048,), int64
        Histogram of |x|.
    edges : ndarray of shape (2049,), float64
        Bin edges of the histogram, from 0 to max |x|.
    criterion : ndarray of shape (1921,), float64, or empty
        What the method minimises, at each candidate edges[128] to edges[2048]. It is the divergence [nat] for "kl" and
        the mean squared error relative to the mean square for "mse". "percentile" and "max" minimise nothing.
    """

    alpha: float
    counts: np.ndarray
    edges: np.ndarray
    criterion: np.ndarray


def kl_divergence(counts: np.ndarray) -> np.ndarray:
    """Compute the KL divergence between a distribution and its quantization, for every threshold at once.

    For a threshold after the first i bins, the reference P consists of these bins, and the counts beyond them are added
    to the last one. Q consists of the same bins without that addition, divided into 128 levels. The count of a level is
    spread evenly over its bins that are not empty. If S_g is the count of level g and q_g = S_g / (number of bins in g
    that are not empty), then

        KL(P || Q) = sum_j p_j log p_j - sum_g S_g log q_g + ...   (p, q normalised).

    So only sums over levels are needed, and three cumulative sums give them for all thresholds.

    Parameters
    ----------
    counts : ndarray of shape (n_bins,), n_bins >= 128
        Histogram of |x|.

    Returns
    -------
    ndarray of shape (n_bins - 127,), float64
        Divergence [nat] of thresholds after 128, 129, ..., n_bins bins; infinite where Q is zero and P is not.
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
    """Compute the mean squared error of quantizing by Eq. (1) and back by Eq. (2), for every threshold at once.

    Each value is taken as the middle of its bin. The number of zeros does not change which threshold is best, because
    every threshold maps the first bin to 0.

    Parameters
    ----------
    counts : ndarray of shape (n_bins,), n_bins >= 128
        Histogram of |x|.

    Returns
    -------
    ndarray of shape (n_bins - 127,), float64
        Error of thresholds after 128, 129, ..., n_bins bins, relative to the mean square of the values.
    """
    top = LEVELS - 1  # 127 of Eq. (1)
    step = np.arange(LEVELS, len(counts) + 1)[:, None] / top  # [bins]
    filled = np.flatnonzero(counts)
    weight, middle = counts[filled] / counts.sum(), filled + 0.5
    back = np.minimum(np.round(middle / step), top) * step
    return (back - middle) ** 2 @ weight / (middle**2 @ weight)


def _last_least(criterion: np.ndarray) -> int:
    """Return the number of bins below the threshold with the least criterion; of equal ones, the largest."""
    return LEVELS + len(criterion) - 1 - int(np.argmin(criterion[::-1]))


def _kl(counts: np.ndarray) -> tuple[int, np.ndarray]:
    """Minimise the KL divergence (Sec. III-D)."""
    shape = counts.copy()
    shape[0] = shape[1]  # ReLU makes many zeros; they are exact at any scale and would outweigh all other values
    if shape.sum() == 0:
        shape[-1] = 1
    divergence = kl_divergence(shape)
    return _last_least(divergence), divergence


def _mse(counts: np.ndarray) -> tuple[int, np.ndarray]:
    """Minimise the mean squared error."""
    error = squared_error(counts)
    return _last_least(error), error


def _percentile(counts: np.ndarray, percentile: float = PERCENTILE) -> tuple[int, np.ndarray]:
    """Cut at the first bin edge that has this many per cent of all values below it. Zeros count too."""
    if not 0 < percentile <= 100:
        raise UserError(f"percentile is {percentile:g}: it must be above 0 and at most 100")
    return int(np.searchsorted(np.cumsum(counts), counts.sum() * percentile / 100)) + 1, np.empty(0)


def _max(counts: np.ndarray) -> tuple[int, np.ndarray]:
    """Keep the whole range, so that nothing is clipped."""
    return len(counts), np.empty(0)


# Each method takes the counts of the histogram. It returns the index of the edge that becomes the threshold, and the
# criterion of every candidate.
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
        The histogram, which may come from a `Threshold` that another method chose.
    method : str
        A key of `CALIBRATION_METHODS`.
    **options : float
        Options of the method. Only "percentile" has one: ``percentile``, 99.99 by default.

    Returns
    -------
    Threshold
        With this histogram and the criterion of the method.

    Raises
    ------
    UserError
        If there is no such method, or the percentile is out of range.
    """
    if method not in CALIBRATION_METHODS:
        raise UserError(f"there is no calibration method {method!r}: use one of {', '.join(CALIBRATION_METHODS)}")
    cut, criterion = CALIBRATION_METHODS[method](counts, **options)
    if counts[-1] == 0:  # only zeros, as in a column of zero weights: any threshold represents them
        cut = len(counts)
    return Threshold(float(edges[cut]), counts, edges, criterion)


def threshold(values: np.ndarray, method: str = "kl", **options: float) -> Threshold:
    """Choose alpha for one tensor.

    Parameters
    ----------
    values : ndarray of any shape
        A layer's input over the calibration data, or one column of weights.
    method : str
        A key of `CALIBRATION_METHODS`.
    **options : float
        Options of the method; see `choose_threshold`.

    Returns
    -------
    Threshold
        With the histogram of the values.

    Raises
    ------
    UserError
        If a value is not finite, there is no such method, or the percentile is out of range.
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
        X^(l) of each layer over the calibration data. Each gets one threshold, the coarsest granularity.
    weights : list of ndarray of shape (M_{l-1}, M_l)
        W^(l) of each layer. Each column gets one threshold, the moderate granularity.
    method : str
        A key of `CALIBRATION_METHODS`. The paper's is "kl".

    Returns
    -------
    activations : list of Threshold
        One for each layer.
    columns : list of list of Threshold
        One for each column of each layer.

    Raises
    ------
    UserError
        If an input or a weight is not finite, or there is no such method.
    """
    columns = [[threshold(column, method) for column in w.T] for w in weights]
    return [threshold(x, method) for x in inputs], columns
