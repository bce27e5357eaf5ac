"""The metrics against scikit-learn, and where the two differ on purpose."""

import numpy as np
import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from ids_repro import metrics, records

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
    values = [0.97, 0.98, 0.96, 0.99]
    ours = metrics.mean_interval(values)
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert ours == pytest.approx((np.mean(values), low, high, 4))


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


def test_the_rate_without_loss_stops_at_the_first_loss():
    r_tx = np.array([400e3, 100e3, 300e3, 200e3])
    assert metrics.no_loss_rate(r_tx, r_tx) == 400e3
    assert metrics.no_loss_rate(r_tx, r_tx * [1, 1, 0.98, 0.995]) == 200e3
    assert metrics.no_loss_rate(r_tx, r_tx * 0.5) == 0
    assert np.isnan(metrics.no_loss_rate([], []))


@pytest.fixture
def sweep(tmp_path):
    synthetic.sweep(tmp_path / "sweep.jsonl")
    return records.read(tmp_path)


def test_points_are_rates_of_each_trial(sweep):
    trials = metrics.points(sweep)
    assert len(trials) == len(sweep)
    first = trials.iloc[0]
    assert (first.r_tx_pps, first.r_rx_pps) == (90e3, 90e3)
    np.testing.assert_allclose(trials[list(metrics.CPU)].sum(axis=1), 100)


def test_medians_are_over_repeats_and_rise_with_the_rate(sweep):
    middle = metrics.medians(metrics.points(sweep))
    assert len(middle) == len(sweep) / 2
    part = middle[middle["method"] == "no_filter"]
    assert part["r_tx_pps"].is_monotonic_increasing
    assert part["r_rx_pps"].iloc[0] == 90_450 and part["r_rx_max_pps"].iloc[0] == 90_900
