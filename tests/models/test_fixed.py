"""Fixed-point arithmetic against exact arithmetic of Python's integers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ids_repro import config
from ids_repro.models.fixed import clip, require_finite, round_shift, tie_pairs, to_fixed


@settings(deadline=None, derandomize=True)
@given(st.integers(-(2**61), 2**61), st.integers(1, 48))
def test_round_shift_is_the_nearest_halves_upwards(value, bits):
    assert round_shift(np.int64(value), bits) == (2 * value + 2**bits) // 2 ** (bits + 1)


@settings(deadline=None, derandomize=True)
@given(st.integers(-(2**62), 2**62), st.integers(1, 2**47))
def test_clip_holds_to_both_limits(value, limit):
    assert clip(np.int64(value), np.int64(limit)) == max(-limit, min(limit, value))


@pytest.mark.parametrize(("value", "bits", "fixed"), [(1.5, 16, 98304), (-0.25, 2, -1), (0.1, 4, 2), (0.0, 46, 0)])
def test_to_fixed_is_eq_3(value, bits, fixed):
    assert to_fixed(value, bits) == fixed


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_parameter_that_is_not_finite_is_refused(value):
    require_finite([np.zeros((12, 16)), np.zeros(3)])
    with pytest.raises(config.UserError, match="not finite: train it again"):
        require_finite([np.zeros((12, 16)), np.array([0.0, value, 0.0])])


@pytest.mark.parametrize(("n_classes", "columns"), [(2, [0, 0]), (7, [0, 0, 2, 2, 4, 4, 6])])
def test_only_columns_of_the_last_layer_are_tied(n_classes, columns):
    layers = [np.arange(12 * 16).reshape(12, 16), np.arange(16 * n_classes).reshape(16, n_classes)]
    first, last = tie_pairs(layers)
    np.testing.assert_array_equal(first, layers[0])
    np.testing.assert_array_equal(last, layers[1][:, columns])
