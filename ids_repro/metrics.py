"""Scores of a confusion matrix, means over seeds, and the highest rate without loss of a sweep."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from .text import rounded

FEWEST_SEEDS = 5  # from so many values on, a mean has a confidence interval
TOLERANCE = 0.01  # share of packets that a trial may lose and still count as without loss


class Interval(NamedTuple):
    """A mean, median or estimate with its interval.

    Attributes
    ----------
    middle, low, high : float
        The value and the ends of its interval; NaN where unknown.
    n : int
        The number of values that it comes from.
    """

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
        Counts; rows are true classes, columns predicted ones.

    Returns
    -------
    dict of str to array of shape (n_classes,)
        "precision", "recall" and "f1" in [0, 1], NaN for a class that does not occur; "support": how often each class
        occurs.

    Raises
    ------
    ValueError
        If the matrix is not square or has a negative count.
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
    """Return the diagonal's share of all counts, NaN if there are none; see `per_class` for the matrix."""
    confusion = _counts(confusion)
    return float(np.trace(confusion) / confusion.sum()) if confusion.sum() else float("nan")


def macro_f1(confusion: ArrayLike) -> float:
    """Return the unweighted mean of F1 over the classes that occur, NaN if none does."""
    f1 = per_class(confusion)["f1"]
    return float(np.nanmean(f1)) if np.isfinite(f1).any() else float("nan")


def mean_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Return the mean over seeds and its confidence interval, by Student's t with n - 1 degrees of freedom.

    Of fewer than FEWEST_SEEDS values the interval would be wider than what it is of (for two, nine times their
    distance), so the ends are the least and the most of them; `means_of` says which it is.

    Parameters
    ----------
    values : array_like of float, shape (n_seeds,)
        NaN values are left out.
    level : float
        The interval's confidence level.

    Returns
    -------
    Interval
        The interval of a single value is NaN. Without values the mean is NaN too.
    """
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    mean = float(values.mean()) if values.size else float("nan")
    if values.size < 2:
        return Interval(mean, float("nan"), float("nan"), values.size)
    if values.size < FEWEST_SEEDS:
        return Interval(mean, float(values.min()), float(values.max()), values.size)
    # The quantile is that of scipy.stats.t.ppf; importing scipy.stats takes half a second.
    error = values.std(ddof=1) / np.sqrt(values.size)
    half = float(stdtrit(values.size - 1, (1 + level) / 2) * error)
    return Interval(mean, mean - half, mean + half, values.size)


def means_of(n: int) -> str:
    """Return what the ends of `mean_interval` of n values are, in words."""
    return "95 % interval" if n >= FEWEST_SEEDS else "range"


def around(ours: Interval, form: str) -> str:
    """Return the ends of `mean_interval` as text: "± half the width" of a confidence interval, or the range."""
    if ours.n < 2:
        return ""
    if ours.n < FEWEST_SEEDS:
        return f" [{rounded(ours.low, form)}, {rounded(ours.high, form)}]"
    return f" ± {rounded(ours.high - ours.middle, form.lstrip('+'))}"


def median_quartiles(values: ArrayLike) -> Interval:
    """Return the median and the first and third quartiles of an array of shape (n_rounds,); NaN if it is empty."""
    values = np.asarray(values, dtype=float)
    if not values.size:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    low, middle, high = np.percentile(values, [25, 50, 75])
    return Interval(float(middle), float(low), float(high), values.size)


def highest_rate(r_tx: ArrayLike, r_rx: ArrayLike, tolerance: float = TOLERANCE) -> Interval:
    """Return the highest R_TX at which at most `tolerance` of the packets were lost (Sec. V-B2's hat R_TX).

    Sort the trials by R_TX and choose the cut with the fewest contradictions: trials below it that lost more, and
    trials above it that did not. So neither one lucky trial nor one hiccup decides. The result is the rate of the last
    trial below the cut.

    The interval covers all cuts with at most one contradiction more. It reaches from the rate below the lowest such cut
    to the rate above the highest, so it is never narrower than the gap between a rate that held and one that lost. It
    is a likelihood interval of 95 % or more if chance puts fewer than one trial in eight on the wrong side.

    Parameters
    ----------
    r_tx, r_rx : array_like of float, shape (n_trials,)
        Sending and receiving rates of every trial [pps], in any order.
    tolerance : float
        The share of packets that may be lost. It is our choice: the paper reads its value off Fig. 4.

    Returns
    -------
    Interval
        In pps. The middle is 0 if even the lowest rate lost more. The high end is infinite if no rate was certainly
        too high. All three are NaN without trials.
    """
    r_tx, r_rx = np.asarray(r_tx, dtype=float), np.asarray(r_rx, dtype=float)
    if not r_tx.size:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    order = np.argsort(r_tx, kind="stable")
    held = (r_rx >= (1 - tolerance) * r_tx)[order]
    # The contradictions of each cut, from the cut before the first trial to the one after the last.
    wrong = np.append(0, np.cumsum(~held)) + np.append(np.cumsum(held[::-1])[::-1], 0)
    near = np.flatnonzero(wrong <= wrong.min() + 1)
    rates = np.concatenate(([0.0], r_tx[order], [np.inf]))
    return Interval(*map(float, rates[[np.argmin(wrong), near[0], near[-1] + 1]]), r_tx.size)


def _counts(confusion: ArrayLike) -> np.ndarray:
    confusion = np.asarray(confusion)
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1] or (confusion < 0).any():
        raise ValueError(f"a confusion matrix must be square, with counts from 0 up; its shape is {confusion.shape}")
    return confusion
