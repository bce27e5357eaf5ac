"""The net on logarithms of the intervals: the integer logarithm, and the net in NumPy and in C."""

import numpy as np
import pytest

from ids_repro.data.features import as_float
from ids_repro.evaluate import parity_vectors
from ids_repro.models.fixed import log2
from ids_repro.models.int_mlp_log2 import INTERVALS, with_log2
from ids_repro.native import library
from ids_repro.native.layouts import Q


def test_the_logarithm_is_a_straight_line_between_powers_of_two():
    value = np.concatenate([[0], 1 << np.arange(47), (1 << np.arange(1, 47)) - 1, np.arange(0, 1 << 24, 4099)])
    exact = np.log2(1 + as_float(value))
    found = as_float(log2(value))
    assert np.all(found <= exact + 1e-9) and np.all(found >= exact - 0.0861 - 2**-Q)
    powers = ((1 << np.arange(1, 40)) - 1) << Q  # of 1 + value
    np.testing.assert_array_equal(log2(powers), np.arange(1, 40) << Q)
    assert np.all(np.diff(log2(np.sort(value))) >= 0)


def test_only_the_intervals_become_logarithms(flows):
    found = with_log2(flows.x)
    assert INTERVALS == [5, 8, 11]
    others = [i for i in range(12) if i not in INTERVALS]
    np.testing.assert_array_equal(found[:, others], flows.x[:, others])
    assert found[:, INTERVALS].max() < 32 << Q


@pytest.mark.parametrize("seed", range(3))
def test_c_computes_the_logits_of_the_twin(detector, everything, seed):
    net = detector.twins["nn_log2"]
    x = np.concatenate([everything.x[seed::7], parity_vectors.random_vectors(5_000, seed)])
    logits, classes = library.predict("nn_log2", net.to_bytes(), 2, x)
    np.testing.assert_array_equal(logits, net.logits(x))
    np.testing.assert_array_equal(classes, net.predict(x))


def test_the_integer_net_decides_as_the_float_net(detector, everything):
    x = everything.x[::5]
    expected = detector.mlp.predict(detector.scaler.transform(with_log2(x)))
    assert np.mean(detector.twins["nn_log2"].predict(x) == expected) > 0.995
