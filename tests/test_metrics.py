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


LOST_FROM_400 = KPPS * [1, 0.995, 0.99, 0.95, 0.8]


def test_the_edge_lies_between_the_last_rate_that_held_and_the_first_that_lost():
    assert metrics.edge_of_loss(KPPS, LOST_FROM_400) == (300e3, 400e3)
    shuffled = [3, 0, 4, 2, 1]
    assert metrics.edge_of_loss(KPPS[shuffled], LOST_FROM_400[shuffled]) == (300e3, 400e3)
    assert metrics.edge_of_loss(KPPS, KPPS) == (500e3, np.inf)
    assert metrics.edge_of_loss(KPPS, KPPS * 0.5) == (0, 100e3)
    assert metrics.edge_of_loss([], []) == (0, np.inf)


def test_one_hiccup_ends_no_search():
    for at in range(3):
        hiccup = LOST_FROM_400.copy()
        hiccup[at] = 0
        held, lost = metrics.edge_of_loss(KPPS, hiccup)
        assert (held, lost) == (300e3 if at < 2 else 200e3, 400e3 if at < 2 else 300e3)
    two = LOST_FROM_400 * [0, 0, 1, 1, 1]
    assert metrics.edge_of_loss(KPPS, two) == (300e3, 400e3), "a trial that held counts twice"


def test_the_highest_rate_is_the_median_of_the_searches_and_its_interval_has_all_of_them():
    ends = [metrics.edge_of_loss(KPPS, np.minimum(KPPS, capacity)) for capacity in (250e3, 350e3, 360e3, 420e3, 450e3)]
    assert metrics.highest_rate(ends) == (300e3, 200e3, 500e3, 5)
    assert metrics.highest_rate(ends[1:2]) == (300e3, 300e3, 400e3, 1), "never narrower than the resolution"


@given(st.lists(st.tuples(st.floats(1e3, 1e6) | st.just(0.0), st.floats(1e6, 1e7) | st.just(np.inf)), min_size=1))
def test_the_highest_rate_is_one_that_held_or_none(ends):
    """The lower median: nothing between two rates, and no rate if half of the searches found none."""
    rate, low, high, n = metrics.highest_rate(ends)
    held = sorted(held for held, _ in ends)
    assert rate == held[(n - 1) // 2] and low == held[0] and high == max(lost for _, lost in ends)


def test_of_two_searches_the_slower_one_counts():
    assert metrics.highest_rate([(300e3, 400e3), (500e3, 600e3)]) == (300e3, 300e3, 600e3, 2)
    assert metrics.highest_rate([(0, 100e3), (439e3, np.inf)]) == (0, 0, np.inf, 2)


def test_one_trial_that_held_outweighs_two_that_lost_but_not_three():
    kept = KPPS * [0, 0, 1, 0.5, 0.5]
    assert metrics.edge_of_loss(KPPS, kept) == (300e3, 400e3)
    assert metrics.edge_of_loss(KPPS, KPPS * [0, 0, 0, 1, 0]) == (0, 100e3)
    assert metrics.held(KPPS, kept).tolist() == [False, False, True, False, False]


def test_a_rate_that_was_not_reached_has_no_end_and_one_below_all_is_zero():
    reached, below = metrics.edge_of_loss(KPPS, KPPS), metrics.edge_of_loss(KPPS, KPPS * 0.5)
    assert metrics.highest_rate([reached]) == (500e3, 500e3, np.inf, 1)
    assert metrics.highest_rate([below] * 2) == (0, 0, 100e3, 2)
    assert metrics.highest_rate([reached, below, below]) == (0, 0, np.inf, 3)
    np.testing.assert_equal(metrics.highest_rate([]), (np.nan, np.nan, np.nan, 0))


@pytest.mark.parametrize("n", [3, 5, 7])
def test_the_least_and_the_most_of_n_searches_cover_their_median_as_often_as_is_said(n):
    draws = np.random.default_rng(0).lognormal(0, 1, (20_000, n))  # whose median is 1
    covered = (draws.min(axis=1) <= 1) & (draws.max(axis=1) >= 1)
    assert covered.mean() == pytest.approx(metrics.coverage(n), abs=0.01)


@given(st.lists(st.tuples(st.floats(1e3, 1e6), st.booleans()), min_size=1, max_size=40))
def test_no_other_cut_has_fewer_trials_on_the_wrong_side(trials):
    r_tx, kept = np.array([rate for rate, _ in trials]), np.array([held for _, held in trials])
    held, lost = metrics.edge_of_loss(r_tx, np.where(kept, r_tx, 0))
    order = np.argsort(r_tx, kind="stable")
    wrong = [np.sum(~kept[order][:at]) + 2 * np.sum(kept[order][at:]) for at in range(len(trials) + 1)]
    best = len(wrong) - 1 - int(np.argmin(wrong[::-1]))
    assert held == (r_tx[order][best - 1] if best else 0)
    assert lost == (r_tx[order][best] if best < len(trials) else np.inf)


def test_of_requests_through_a_filter_only_activities_that_never_failed_without_a_filter_are_asked():
    counted = {"runs": {"page": 9, "mistyped password": 3}, "failed": {"mistyped password": 3}}
    filtered = {"runs": {"page": 8, "mistyped password": 5, "upload": 1}, "failed": {"page": 2, "upload": 1}}
    assert metrics.succeeded(counted, filtered) == 0.75
    assert np.isnan(metrics.succeeded(counted, {"runs": {"upload": 1}, "failed": {}}))
