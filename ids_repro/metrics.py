"""Scores of a confusion matrix, means over seeds, a sweep's highest rate without loss, and what a filter lets pass."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from .text import rounded
from .trial_length import TOLERANCE

HOLD = 2  # how many trials that lost count as much as one that held, where they contradict each other
FEWEST_SEEDS = 5  # from so many values on, a mean has a confidence interval


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


def held(r_tx: ArrayLike, r_rx: ArrayLike, tolerance: float = TOLERANCE) -> np.ndarray:
    """Return which trials held: they lost at most `tolerance` of their packets; see `edge_of_loss`."""
    return np.asarray(r_rx, dtype=float) >= (1 - tolerance) * np.asarray(r_tx, dtype=float)


def edge_of_loss(r_tx: ArrayLike, r_rx: ArrayLike, tolerance: float = TOLERANCE) -> tuple[float, float]:
    """Return the two rates between which one search puts the edge of loss: one that held and the next, which lost.

    The trials, by rising R_TX, are cut where the fewest are on the wrong side: lost below the cut, or held above it.
    The latter count twice, because a pause of the machine makes a trial lose, but nothing makes it hold what the method
    cannot take. So one hiccup ends no search. Of several such cuts the highest is taken: one trial that held outweighs
    two below it that lost.

    Parameters
    ----------
    r_tx, r_rx : array_like of float, shape (n_trials,)
        Sending and receiving rates of the trials of one search [pps], in any order.
    tolerance : float

    Returns
    -------
    held, lost : float
        The R_TX below the cut and the one above it [pps]; 0 and infinity: there is none.
    """
    r_tx = np.asarray(r_tx, dtype=float)
    order = np.argsort(r_tx, kind="stable")
    kept = held(r_tx, r_rx, tolerance)[order]
    # The trials on the wrong side of each cut, from the cut before the first trial to the one after the last.
    wrong = np.append(0, np.cumsum(~kept)) + HOLD * np.append(np.cumsum(kept[::-1])[::-1], 0)
    cut = int(np.flatnonzero(wrong == wrong.min())[-1])
    rates = np.concatenate(([0.0], r_tx[order], [np.inf]))
    return float(rates[cut]), float(rates[cut + 1])


def highest_rate(ends: Sequence[tuple[float, float]]) -> Interval:
    """Return the highest R_TX at which at most TOLERANCE of the packets were lost (Sec. V-B2's hat R_TX).

    This is the throughput of RFC 2544, Sec. 26.1: a search for the fastest rate that held, which halves the distance to
    the next one that lost. It is made several times, and the result is the lower median of the rates that held at the
    ends of the searches, so it is a rate that was measured. The interval reaches from the slowest of these to the
    fastest of those that lost at the ends. So it has both the differences between searches and their resolution. It
    covers the median of all searches that could be made with the probability `coverage`, whatever their distribution.

    Differs: RFC 2544 tolerates no loss, asks for trials of 60 s and searches once. We tolerate 1 %, because the paper
    reads its rate off Fig. 4, and because a pause of a virtual CPU loses packets. A loss that trials at higher rates
    contradict does not count; the binary search with loss verification of ETSI GS NFV-TST 009 has the same purpose. How
    long trials must be is in `trial_length`.

    Parameters
    ----------
    ends : sequence of (float, float)
        Of each search, what `edge_of_loss` returns.

    Returns
    -------
    Interval
        In pps; n is the number of searches. The middle is 0 if at least half of them found no rate that held. The high
        end is infinite if a search found no rate that lost. All three are NaN without searches.

    References
    ----------
    S. Bradner and J. McQuaid, "Benchmarking Methodology for Network Interconnect Devices", RFC 2544, 1999.
    """
    if not ends:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    best, lost = zip(*ends, strict=True)
    return Interval(statistics.median_low(best), min(best), max(lost), len(ends))


def coverage(n: int) -> float:
    """Return how probably the least and the most of n values have the median of their distribution between them.

    Each value is on either side of it with probability 1/2, so all of n are on one side with 2 / 2^n: 0.75 for three
    values, 0.94 for five.
    """
    return 1 - 2.0 ** (1 - n)


def succeeded(counted: Mapping[str, Any], filtered: Mapping[str, Any]) -> float:
    """Return the share of normal requests that succeed through a filter.

    Parameters
    ----------
    counted, filtered : mapping
        The `raw` of the records of kind "end_to_end" for "count" and for "filter". Some activities fail by design, such
        as a mistyped password; only those that never failed without a filter are asked.

    Returns
    -------
    float
        NaN if nothing was asked.
    """
    asked = [name for name in filtered["runs"] if name in counted["runs"] and not counted["failed"].get(name)]
    runs, failed = Counter(filtered["runs"]), Counter(filtered["failed"])
    total = sum(runs[name] for name in asked)
    return 1 - sum(failed[name] for name in asked) / total if total else float("nan")


def _counts(confusion: ArrayLike) -> np.ndarray:
    confusion = np.asarray(confusion)
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1] or (confusion < 0).any():
        raise ValueError(f"a confusion matrix must be square, with counts from 0 up; its shape is {confusion.shape}")
    return confusion
