"""Quantization thresholds alpha: what range of a tensor the int8 values are spread over (Sec. III-D)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 2048
# Levels that |x| is cut into, and so the smallest candidate: with 128 bins the search would have one candidate.
LEVELS = 128


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
    divergence : ndarray of shape (1921,)
        KL divergence [nat] of each candidate, edges[128] to edges[2048].
    """

    alpha: float
    counts: np.ndarray
    edges: np.ndarray
    divergence: np.ndarray


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


def kl_threshold(values: np.ndarray) -> Threshold:
    """Choose alpha by the smallest KL divergence (Sec. III-D), the largest of equals.

    Parameters
    ----------
    values : ndarray
        A tensor's values over the calibration data, or one column of weights.
    """
    magnitude = np.abs(np.asarray(values, np.float64)).ravel()
    top = magnitude.max() or 1.0  # a dead column: any threshold will do
    counts, edges = np.histogram(magnitude, BINS, (0.0, top))
    shape = counts.copy()
    shape[0] = shape[1]  # zeros are exact at any scale (ReLU makes many) and would drown the rest
    if shape.sum() == 0:
        shape[-1] = 1
    divergence = kl_divergence(shape)
    best = len(divergence) - 1 - int(np.argmin(divergence[::-1]))
    return Threshold(float(edges[best + LEVELS]), counts, edges, divergence)


def thresholds(inputs: list[np.ndarray], weights: list[np.ndarray]) -> tuple[list[Threshold], list[list[Threshold]]]:
    """Choose every threshold of a net (Sec. IV-B).

    Parameters
    ----------
    inputs : list of ndarray of shape (n, M_{l-1})
        X^(l) over the calibration data, one a layer; one threshold each, the coarsest granularity.
    weights : list of ndarray of shape (M_{l-1}, M_l)
        W^(l); one threshold a column, the moderate granularity.

    Returns
    -------
    activations : list of Threshold
    columns : list of list of Threshold
    """
    return [kl_threshold(x) for x in inputs], [[kl_threshold(column) for column in w.T] for w in weights]
