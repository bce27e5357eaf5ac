"""The fast KL divergence against a slow one by SciPy, and what must hold of any threshold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from ids_repro import calibrate, config, dataset, native, packets
from ids_repro.calibrate import BINS, LEVELS

RNG = np.random.default_rng


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
    return dataset.MinMax.fit(x := native.extract(rows)[0]).transform(x)


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
    fast = calibrate.kl_divergence(counts)
    assert len(fast) == len(counts) - LEVELS + 1
    np.testing.assert_allclose(fast, slow(counts), rtol=1e-9, atol=1e-9)


def test_the_threshold_is_where_the_divergence_is_least():
    values = np.append(RNG(0).normal(size=20_000), [40.0])
    found = calibrate.kl_threshold(values)
    counts = histogram(values)
    np.testing.assert_array_equal(found.counts, counts)
    counts[0] = counts[1]
    assert found.alpha == found.edges[LEVELS + np.argmin(slow(counts))]
    # the outlier is given up, most of the bell is not
    assert 2 < found.alpha < 10


def test_evenly_spread_values_keep_their_whole_range():
    assert calibrate.kl_threshold(np.linspace(0.1, 3, 50_000)).alpha == 3


VALUES = st.lists(st.floats(-1e3, 1e3, width=32, allow_subnormal=False), min_size=1, max_size=40).map(np.array)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(VALUES, st.integers(-20, 20))
def test_a_threshold_scales_with_its_values(values, power):
    """By powers of two, which round nowhere."""
    found = calibrate.kl_threshold(values).alpha
    if np.any(values):
        assert calibrate.kl_threshold(values * 2.0**power).alpha == found * 2.0**power


@settings(deadline=None, derandomize=True, max_examples=50)
@given(VALUES)
def test_a_threshold_is_within_the_values(values):
    top = np.abs(values).max()
    found = calibrate.kl_threshold(values).alpha
    assert found == calibrate.kl_threshold(-values).alpha
    if top:
        assert top * LEVELS / BINS <= found <= top
        assert found == calibrate.kl_threshold(np.append(values, np.zeros(1000))).alpha
    else:
        assert found == 1


def test_a_net_has_a_threshold_for_each_input_and_each_column():
    inputs = [RNG(0).normal(size=(100, m)) for m in (12, 16, 16)]
    weights = [RNG(0).normal(size=shape) for shape in ((12, 16), (16, 16), (16, 7))]
    weights[1][:, 3] = 0
    activations, columns = calibrate.thresholds(inputs, weights)
    assert [len(layer) for layer in columns] == [16, 16, 7]
    for found, values in [
        *zip(activations, inputs, strict=True),
        (columns[0][5], weights[0][:, 5]),
        (columns[2][6], weights[2][:, 6]),
    ]:
        assert found.edges[-1] == np.abs(values).max()
        assert found.alpha == calibrate.kl_threshold(values).alpha
    assert columns[1][3].alpha == 1
