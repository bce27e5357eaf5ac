"""The fast criteria against slow ones and against nvidia-modelopt, and what must hold of any threshold."""

import hashlib
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from ids_repro import config, explore
from ids_repro.config import UserError
from ids_repro.data import packets
from ids_repro.models.calibration import (
    BINS,
    CALIBRATION_METHODS,
    LEVELS,
    choose_threshold,
    kl_divergence,
    squared_error,
    threshold,
    thresholds,
)
from ids_repro.models.scaling import MinMax
from ids_repro.native import library

RNG = np.random.default_rng
GOLDEN = Path(__file__).parents[1] / "golden"
MAKER = runpy.run_path(str(GOLDEN / "make_calibration.py"))
MODELOPT = json.loads((GOLDEN / "calibration.json").read_text())["samples"]


def slow(counts):
    """KL(P || Q) of each threshold as the text of `kl_divergence` has it, one bin after the other."""
    out = []
    for stop in range(LEVELS, len(counts) + 1):
        p = counts[:stop].astype(float)
        p[-1] += counts[stop:].sum()
        level = np.arange(stop) * LEVELS // stop
        filled = counts[:stop] > 0
        mean = np.bincount(level, counts[:stop], LEVELS) / np.maximum(np.bincount(level, filled, LEVELS), 1)
        q = np.where(filled, mean[level], 0.0)
        out.append(entropy(p, q) if q.any() else np.inf)
    return np.array(out)


def histogram(values):
    return np.histogram(np.abs(values), BINS, (0, np.abs(values).max()))[0]


def real():
    rows = packets.read(config.SAMPLE).rows
    return MinMax.fit(x := library.extract(rows)[0]).transform(x)


DISTRIBUTIONS = {
    "normal": lambda: histogram(RNG(0).normal(size=20_000)),
    "exponential": lambda: histogram(RNG(0).exponential(size=5_000)),
    "uniform": lambda: np.full(BINS, 7),
    "12 weights": lambda: histogram(RNG(0).normal(size=12)),
    "16 weights, dead half": lambda: histogram(np.append(RNG(0).normal(size=8), np.zeros(8))),
    "one outlier": lambda: histogram(np.append(RNG(0).normal(size=1_000), 1_000.0)),
    "gaps": lambda: np.where(np.arange(BINS) % 100 < 50, RNG(0).integers(0, 9, BINS), 0),
    "last bin only": lambda: np.eye(BINS, dtype=int)[-1],
    "one level more than bins": lambda: RNG(0).integers(0, 3, LEVELS + 1),
    "features": lambda: histogram(real()),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_every_divergence_is_scipys(name):
    counts = DISTRIBUTIONS[name]()
    fast = kl_divergence(counts)
    assert len(fast) == len(counts) - LEVELS + 1
    np.testing.assert_allclose(fast, slow(counts), rtol=1e-9, atol=1e-9)


def test_the_threshold_is_where_the_divergence_is_least():
    values = np.append(RNG(0).normal(size=20_000), [40.0])
    found = threshold(values)
    counts = histogram(values)
    np.testing.assert_array_equal(found.counts, counts)
    counts[0] = counts[1]
    assert found.alpha == found.edges[LEVELS + np.argmin(slow(counts))]
    # the outlier is given up, most of the bell is not
    assert 2 < found.alpha < 10


def test_evenly_spread_values_keep_their_whole_range():
    assert threshold(np.linspace(0.1, 3, 50_000)).alpha == 3


VALUES = st.lists(st.floats(-1e3, 1e3, width=32, allow_subnormal=False), min_size=1, max_size=40).map(np.array)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(VALUES, st.integers(-20, 20), st.sampled_from([*CALIBRATION_METHODS]))
def test_a_threshold_scales_with_its_values(values, power, method):
    """By powers of two, which round nowhere."""
    found = threshold(values, method).alpha
    if np.any(values):
        assert threshold(values * 2.0**power, method).alpha == found * 2.0**power


@settings(deadline=None, derandomize=True, max_examples=50)
@given(VALUES, st.sampled_from([*CALIBRATION_METHODS]))
def test_a_threshold_is_within_the_values(values, method):
    top = np.abs(values).max()
    found = threshold(values, method).alpha
    assert found == threshold(-values, method).alpha
    if top:
        assert top * (1 if method == "percentile" else LEVELS) / BINS <= found <= top
        if method != "percentile":  # which counts zeros like all others
            assert found == threshold(np.append(values, np.zeros(1000)), method).alpha
    else:
        assert found == 1


# ---- the other methods


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_every_squared_error_is_that_of_eq_1_and_2(name):
    counts = DISTRIBUTIONS[name]()
    middle, slow_error = np.arange(len(counts)) + 0.5, []
    for alpha in range(LEVELS, len(counts) + 1):
        sigma = 127 / alpha
        back = np.clip(np.round(middle * sigma), -127, 127) / sigma
        slow_error.append(np.sum(counts * (back - middle) ** 2) / np.sum(counts * middle**2))
    np.testing.assert_allclose(squared_error(counts), slow_error, rtol=1e-9, atol=1e-12)


def test_the_mse_threshold_serves_the_values_themselves():
    """Its error on them, unbinned, is next to the least of all thresholds."""
    values = RNG(0).laplace(size=20_000)
    found = threshold(values, "mse")

    def error(alpha):
        sigma = 127 / alpha
        return np.mean((np.clip(np.round(values * sigma), -127, 127) / sigma - values) ** 2)

    assert len(found.criterion) == BINS - LEVELS + 1
    assert error(found.alpha) < 1.01 * min(error(alpha) for alpha in np.linspace(0.1, 1, 300) * found.edges[-1])


@pytest.mark.parametrize("percentile", [1, 50, 99, 99.9, 99.99, 100])
def test_a_percentile_is_numpys_to_the_next_edge(percentile):
    values = RNG(0).normal(size=20_011)
    found = threshold(values, "percentile", percentile=percentile)
    exact = np.percentile(np.abs(values), percentile, method="inverted_cdf")
    assert exact <= found.alpha <= exact + found.edges[1]
    assert np.mean(np.abs(values) <= found.alpha) >= percentile / 100
    assert len(found.criterion) == 0


def test_the_percentile_is_9999_unless_said_otherwise():
    values = RNG(0).laplace(size=30_011)
    assert threshold(values, "percentile").alpha < np.abs(values).max()
    assert threshold(values, "percentile").alpha == threshold(values, "percentile", percentile=99.99).alpha


def test_max_clips_nothing():
    values = np.append(RNG(0).normal(size=1_000), -40.0)
    assert threshold(values, "max").alpha == 40


def test_a_histogram_serves_every_method():
    values = RNG(0).laplace(size=5_000)
    found = threshold(values)
    for method in CALIBRATION_METHODS:
        again = choose_threshold(found.counts, found.edges, method)
        assert again.alpha == threshold(values, method).alpha


@pytest.mark.parametrize("percentile", [0, -1, 100.5, np.nan])
def test_a_percentile_out_of_range_is_an_error(percentile):
    with pytest.raises(UserError, match="above 0 and at most 100"):
        threshold(np.ones(3), "percentile", percentile=percentile)


def test_an_unknown_method_is_an_error_that_names_the_others():
    with pytest.raises(UserError, match="no calibration method 'l2': use one of kl, mse, percentile, max"):
        threshold(np.ones(3), "l2")


# ---- nvidia-modelopt


def drawn(name):
    """A golden sample, what modelopt says of it, and the width of a bin."""
    values, golden = MAKER["draw"](name), MODELOPT[name]
    digest = hashlib.sha256(values.tobytes()).hexdigest()
    assert digest == golden["sha256"], "NumPy draws other samples now: make golden/calibration.json anew"
    return values, golden, float(np.abs(values).max()) / BINS


# modelopt's search ends at a divergence that is not a number; see the test of its own below.
NOT_A_NUMBER = "12 weights, none within 128 bins"


def test_every_golden_sample_is_compared():
    assert set(MAKER["SAMPLES"]) == set(MODELOPT) > {NOT_A_NUMBER}


@pytest.mark.parametrize("name", sorted(set(MODELOPT) - {NOT_A_NUMBER}))
def test_kl_is_modelopts_entropy(name):
    """The same algorithm, so the same candidate, and divergences equal to 1e-12 nat, infinities included.

    Both search bins 128 to 2,048 in steps of one, replace the count of the first bin (zeros) by the second's, add what
    is beyond a candidate to its last bin, spread 128 levels over the bins that are not empty, and take the last of
    equal divergences. modelopt keeps its edges as float32 (relative 1e-6); its own float32 histogram may put a value
    at an edge into the neighbour bin (2 bins of 2,048 in one sample), which moves no threshold here.
    """
    values, golden, _ = drawn(name)
    found = threshold(values, "kl")
    assert found.alpha == pytest.approx(golden["entropy_same_histogram"], rel=1e-6)
    assert found.alpha == pytest.approx(golden["entropy"], rel=1e-6)
    theirs = np.array(golden["divergence"], dtype=float)
    np.testing.assert_allclose(found.criterion[:: MAKER["EVERY"]], theirs, rtol=0, atol=1e-12)


def test_kl_leaves_modelopt_where_its_divergence_is_not_a_number():
    """A candidate with every value beyond it has no Q: 0/0. NumPy's argmin takes that for the least, and so modelopt
    cuts below the smallest weight and clips all of them; ours is infinite there, and the threshold what it would be
    among the other candidates. Only a tensor without any value below max/16 shows it: some columns of weights.
    """
    values, golden, _ = drawn(NOT_A_NUMBER)
    theirs = np.array(golden["divergence"], dtype=float)
    undefined = np.isnan(theirs)
    assert undefined.any()
    assert golden["entropy"] < np.abs(values).min()
    found = threshold(values, "kl")
    assert found.alpha == np.abs(values).max()
    assert np.all(found.criterion[:: MAKER["EVERY"]][undefined] == np.inf)
    np.testing.assert_allclose(found.criterion[:: MAKER["EVERY"]][~undefined], theirs[~undefined], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", sorted(MODELOPT))
def test_mse_is_modelopts_to_half_a_bin(name):
    """Once its arguments are in place: 0.47 hands the number of bits to a parameter "bias" that came between, and so
    always answers with the first candidate, bin 128 (the number beside it). Its candidates are the middles of bins,
    ours their edges as for KL, so that the maximum is among them.
    """
    values, golden, width = drawn(name)
    assert threshold(values, "mse").alpha == pytest.approx(golden["mse_mended"], abs=0.501 * width)
    assert golden["mse"] == pytest.approx(128.5 * width, rel=1e-5)


@pytest.mark.parametrize("name", sorted(MODELOPT))
def test_percentile_is_modelopts_and_the_rest_of_that_bin(name):
    """It answers with the lower edge of the bin where the share is reached: less than the share is inside, and 100 is
    not the maximum. Ours is the upper edge.
    """
    values, golden, width = drawn(name)
    assert threshold(values, "percentile").alpha == pytest.approx(golden["percentile"] + width, rel=1e-6)


# ---- a net


@pytest.mark.parametrize("method", CALIBRATION_METHODS)
def test_a_net_has_a_threshold_for_each_input_and_each_column(method):
    inputs = [RNG(0).normal(size=(100, m)) for m in (12, 16, 16)]
    weights = [RNG(0).normal(size=shape) for shape in ((12, 16), (16, 16), (16, 7))]
    weights[1][:, 3] = 0
    activations, columns = thresholds(inputs, weights, method)
    assert [len(layer) for layer in columns] == [16, 16, 7]
    for found, values in [
        *zip(activations, inputs, strict=True),
        (columns[0][5], weights[0][:, 5]),
        (columns[2][6], weights[2][:, 6]),
    ]:
        assert found.edges[-1] == np.abs(values).max()
        assert found.alpha == threshold(values, method).alpha
    assert columns[1][3].alpha == 1


def test_the_picture_has_every_threshold(models):
    axes = np.reshape(explore.calibration(models["multi"]).axes, (3, 3))
    for layer, axis in enumerate(axes[0]):
        text = [t.get_text() for t in axis.get_legend().get_texts()]
        assert [t.split(":")[0] for t in text] == [*CALIBRATION_METHODS, "used"]
        assert f"{models['multi'].alpha[layer]:.3f}" in text[-1]
    assert [axis.get_ylabel() for axis in axes[:, 0]] == [
        "values",
        "KL divergence [nat]",
        "squared error / mean square",
    ]
