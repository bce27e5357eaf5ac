"""What a confusion matrix, a row of seeds and a sweep say, as numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

TOLERANCE = 0.01  # of the packets, lost


class Interval(NamedTuple):
    """A middle with what lies around it, and how many values it stands for."""

    middle: float
    low: float
    high: float
    n: int


def per_class(confusion: ArrayLike) -> dict[str, np.ndarray]:
    """Return precision, recall and F1 of each class (Tables II and III).

    precision = TP / (TP + FP), recall = TP / (TP + FN), F1 = 2 TP / (2 TP + FP + FN). A class that occurs but is
    never predicted has precision 0 and F1 0, as in Table III. A class that does not occur has none of the three.

    Parameters
    ----------
    confusion : array_like of int, shape (n_classes, n_classes)
        Rows are true, columns predicted.

    Returns
    -------
    dict of str to array of shape (n_classes,)
        "precision", "recall", "f1" in [0, 1], NaN without support; "support" in flows.

    Raises
    ------
    ValueError
        If the matrix is not square or counts below zero.
    """
    confusion = _counts(confusion)
    hit, support, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    occurs = support > 0
    scores = {
        "precision": hit / np.maximum(predicted, 1),
        "recall": hit / np.maximum(support, 1),
        "f1": 2 * hit / np.maximum(support + predicted, 1),
    }
    return {name: np.where(occurs, score, np.nan) for name, score in scores.items()} | {"support": support}


def accuracy(confusion: ArrayLike) -> float:
    """Return the share of the diagonal, NaN of an empty matrix of shape (n_classes, n_classes)."""
    confusion = _counts(confusion)
    return float(np.trace(confusion) / confusion.sum()) if confusion.sum() else float("nan")


def macro_f1(confusion: ArrayLike) -> float:
    """Return the plain mean of F1 over the classes that occur, NaN of an empty matrix."""
    f1 = per_class(confusion)["f1"]
    return float(np.nanmean(f1)) if np.isfinite(f1).any() else float("nan")


def mean_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Return the mean over seeds and its confidence interval, by Student's t with n - 1 degrees of freedom.

    NaN values are left out. Of one value the interval is unknown (NaN), of none the mean is too.

    Parameters
    ----------
    values : array_like of float, shape (n_seeds,)
    level : float
        Of the interval.
    """
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    mean = float(values.mean()) if values.size else float("nan")
    if values.size < 2:
        return Interval(mean, float("nan"), float("nan"), values.size)
    # The quantile is that of scipy.stats.t.ppf; importing scipy.stats takes half a second.
    error = values.std(ddof=1) / np.sqrt(values.size)
    half = float(stdtrit(values.size - 1, (1 + level) / 2) * error)
    return Interval(mean, mean - half, mean + half, values.size)


def median_quartiles(values: ArrayLike) -> Interval:
    """Return the median with the first and third quartiles of an array of shape (n_rounds,); NaN of none."""
    values = np.asarray(values, dtype=float)
    if not values.size:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    low, middle, high = np.percentile(values, [25, 50, 75])
    return Interval(float(middle), float(low), float(high), values.size)


def highest_rate(r_tx: ArrayLike, r_rx: ArrayLike, tolerance: float = TOLERANCE) -> Interval:
    """Return the highest R_TX at which at most `tolerance` of the packets were lost (Sec. V-B2's hat R_TX).

    The trials, by rising R_TX, are cut where the fewest are on the wrong side: lost more below the cut, or held above
    it. So neither one lucky trial nor one hiccup decides. The rate is that of the last trial below the cut.

    The interval is that of all cuts with at most one trial more on the wrong side, from the rate below the lowest to
    the rate above the highest: never narrower than the gap between what held and what lost. Where fewer than one trial
    in eight is on the wrong side by chance, it is a likelihood interval of 95 % or more.

    Parameters
    ----------
    r_tx, r_rx : array_like of float, shape (n_trials,)
        Sending and receiving rates of every trial in pps, in any order.
    tolerance : float
        Ours: the paper reads its value off Fig. 4.

    Returns
    -------
    Interval
        In pps. 0 if the lowest rate lost more; high is infinite where no rate was surely high enough to lose. NaN of
        no trial.
    """
    r_tx, r_rx = np.asarray(r_tx, dtype=float), np.asarray(r_rx, dtype=float)
    if not r_tx.size:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    order = np.argsort(r_tx, kind="stable")
    held = (r_rx >= (1 - tolerance) * r_tx)[order]
    # Of each cut, from before the first trial to after the last.
    wrong = np.append(0, np.cumsum(~held)) + np.append(np.cumsum(held[::-1])[::-1], 0)
    near = np.flatnonzero(wrong <= wrong.min() + 1)
    rates = np.concatenate(([0.0], r_tx[order], [np.inf]))
    return Interval(*map(float, rates[[np.argmin(wrong), near[0], near[-1] + 1]]), r_tx.size)


def _counts(confusion: ArrayLike) -> np.ndarray:
    confusion = np.asarray(confusion)
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1] or (confusion < 0).any():
        raise ValueError(f"a confusion matrix is square and counts from 0 up, not of shape {confusion.shape}")
    return confusion
