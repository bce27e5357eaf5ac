"""The metrics against scikit-learn, and where the two differ on purpose."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from ids_repro import metrics

MATRICES = st.integers(2, 7).flatmap(lambda n: hnp.arrays(int, (n, n), elements=st.integers(0, 4)))


def labels(confusion):
    true, predicted = np.indices(confusion.shape)
    return np.repeat(true.ravel(), confusion.ravel()), np.repeat(predicted.ravel(), confusion.ravel())


@given(MATRICES)
def test_scores_equal_those_of_scikit_learn_where_a_class_occurs(confusion):
    ours = metrics.per_class(confusion)
    occurs = np.flatnonzero(ours["support"])
    if not occurs.size:
        assert np.isnan(metrics.accuracy(confusion)) and np.isnan(metrics.macro_f1(confusion))
        return
    true, predicted = labels(confusion)
    theirs = precision_recall_fscore_support(true, predicted, labels=occurs, zero_division=0)
    for name, scores in zip(("precision", "recall", "f1", "support"), theirs, strict=True):
        np.testing.assert_allclose(ours[name][occurs], scores)
    assert metrics.accuracy(confusion) == pytest.approx(accuracy_score(true, predicted))
    macro = f1_score(true, predicted, labels=occurs, average="macro", zero_division=0)
    assert metrics.macro_f1(confusion) == pytest.approx(macro)


def test_a_class_that_does_not_occur_has_no_scores_even_when_predicted():
    scores = metrics.per_class([[3, 1], [0, 0]])
    assert [np.isnan(scores[name][1]) for name in ("precision", "recall", "f1")] == [True] * 3
    assert scores["precision"][0] == 1 and scores["recall"][0] == 0.75


def test_a_class_never_predicted_scores_zero_as_in_table_iii():
    scores = metrics.per_class([[4, 0], [2, 0]])
    assert [scores[name][1] for name in ("precision", "recall", "f1")] == [0, 0, 0]


@pytest.mark.parametrize("confusion", [[1, 2], [[1, 2, 3], [4, 5, 6]], [[1, -1], [0, 1]]])
def test_what_is_no_confusion_matrix_is_refused(confusion):
    with pytest.raises(ValueError, match="square"):
        metrics.per_class(confusion)


def test_the_interval_is_students():
    values = [0.97, 0.98, 0.96, 0.99, 0.97]
    ours = metrics.mean_interval(values)
    low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert ours == pytest.approx((np.mean(values), low, high, 5))
    assert metrics.around(ours, ".3f") == f" ± {high - np.mean(values):.3f}"


def test_few_seeds_have_a_range():
    ours = metrics.mean_interval([0.97, 0.98, 0.99])
    assert ours == pytest.approx((0.98, 0.97, 0.99, 3))
    assert metrics.around(ours, "+.2f") == " [+0.97, +0.99]"
    assert (metrics.means_of(3), metrics.means_of(5)) == ("range", "95 % interval")


def test_the_interval_covers_the_truth_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(0.9, 0.02, (2000, 5))
    hits = [low <= 0.9 <= high for _, low, high, _ in map(metrics.mean_interval, draws)]
    assert 0.93 < np.mean(hits) < 0.97


@pytest.mark.parametrize(("values", "mean", "n"), [([], np.nan, 0), ([np.nan], np.nan, 0), ([0.5, np.nan], 0.5, 1)])
def test_too_few_values_have_no_interval(values, mean, n):
    np.testing.assert_equal(metrics.mean_interval(values), (mean, np.nan, np.nan, n))


def test_median_and_quartiles():
    assert metrics.median_quartiles([1, 2, 3, 4, 100]) == (3, 2, 4, 5)
    np.testing.assert_equal(metrics.median_quartiles([]), (np.nan, np.nan, np.nan, 0))


KPPS = np.array([100, 200, 300, 400, 500]) * 1e3


def test_the_highest_rate_is_the_last_that_held_and_its_interval_reaches_to_trials_that_could_be_wrong():
    lost_from_400 = KPPS * [1, 0.995, 0.99, 0.95, 0.8]
    assert metrics.highest_rate(KPPS, lost_from_400) == (300e3, 200e3, 500e3, 5)
    shuffled = [3, 0, 4, 2, 1]
    assert metrics.highest_rate(KPPS[shuffled], lost_from_400[shuffled]) == (300e3, 200e3, 500e3, 5)
    assert metrics.highest_rate(np.repeat(KPPS, 3), np.repeat(lost_from_400, 3)) == (300e3, 300e3, 400e3, 15)


def test_one_hiccup_or_one_lucky_trial_does_not_move_the_highest_rate():
    r_tx = np.repeat(KPPS, 3)
    r_rx = np.repeat(KPPS * [1, 1, 1, 0.9, 0.7], 3)
    r_rx[0], r_rx[-1] = 0, r_tx[-1]
    ours = metrics.highest_rate(r_tx, r_rx)
    assert (ours.middle, ours.low, ours.high) == (300e3, 300e3, 400e3)


def test_a_rate_that_was_not_reached_has_no_end_and_one_below_all_is_zero():
    assert metrics.highest_rate(KPPS, KPPS) == (500e3, 400e3, np.inf, 5)
    assert metrics.highest_rate(KPPS, KPPS * 0.5) == (0, 0, 200e3, 5)
    assert metrics.highest_rate(KPPS, KPPS * [1, 1, 1, 1, 0.5]).high == np.inf, "one lost trial may be a hiccup"
    np.testing.assert_equal(metrics.highest_rate([], []), (np.nan, np.nan, np.nan, 0))


def test_the_interval_covers_the_true_rate_of_noisy_trials():
    draw, truth, hits = np.random.default_rng(0), 3e5, 0
    for _ in range(300):
        r_tx = draw.uniform(1e5, 6e5, 30)
        limit = truth * draw.normal(1, 0.03, 30)  # of each trial, on a machine that others use
        ours = metrics.highest_rate(r_tx, np.minimum(r_tx, limit), tolerance=0)
        hits += ours.low <= truth <= ours.high
    assert hits >= 0.93 * 300


@given(st.lists(st.tuples(st.floats(1e3, 1e6), st.booleans()), min_size=1, max_size=40))
def test_no_other_cut_has_fewer_trials_on_the_wrong_side(trials):
    r_tx, held = np.array([rate for rate, _ in trials]), np.array([held for _, held in trials])
    ours = metrics.highest_rate(r_tx, np.where(held, r_tx, 0))
    order = np.argsort(r_tx, kind="stable")
    wrong = [np.sum(~held[order][:at]) + np.sum(held[order][at:]) for at in range(len(trials) + 1)]
    best = int(np.argmin(wrong))
    assert ours.middle == (r_tx[order][best - 1] if best else 0)
    assert ours.low <= ours.middle <= ours.high
