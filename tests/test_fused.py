"""Arithmetic fused: NumPy, C and the float net."""

import numpy as np
import pytest

from ids_repro import dataset, export, fused, native, parity
from ids_repro.config import UserError


def extreme_net(n_classes: int, signs: tuple[int, int, int]) -> fused.FusedMlp:
    """Every weight at its limit, and scales that put every hidden activation at its limit too."""
    sizes = (12, 16, 16, n_classes)
    shapes = zip(sizes, sizes[1:], strict=False)
    weights = [np.full(shape, sign * 127, np.int8) for sign, shape in zip(signs, shapes, strict=True)]
    requant = [np.full(n, 1 << 32, np.int64) for n in sizes[1:]]
    one = np.ones(12, np.int64)
    return fused.FusedMlp(0 * one, one << 16, (687 << 4) * one, 20 * one, requant, weights)


@pytest.mark.parametrize("n_classes", [2, 7])
@pytest.mark.parametrize("signs", [(1, 1, 1), (1, 1, -1), (1, -1, 1), (-1, 1, -1)])
def test_no_lane_overflows_at_the_limits_of_weights_and_activations(n_classes, signs):
    net = extreme_net(n_classes, signs)
    x = np.array([np.full(12, 1 << 16), np.full(12, -(1 << 16)), np.zeros(12)], np.int64)
    assert np.abs(net.inputs(x)).max() == fused.INPUT_MAX
    logits, classes = native.predict_mlp(export.fused_bytes(net), n_classes, x, "fused")
    np.testing.assert_array_equal(logits, net.logits(x))
    np.testing.assert_array_equal(classes, net.predict(x))


def test_lanes_hold_three_signed_columns():
    weights = np.array([[127, -127, 127, -1, 0, 1, -127]], np.int8)
    word = int(export.pack_lanes(weights)[0, 0])
    assert word == 127 - (127 << 21) + (127 << 42)
    assert export.pack_lanes(weights).shape == (1, 6)


@pytest.mark.parametrize("task", ["binary", "multi"])
def test_c_equals_numpy(models, task):
    model = models[task]
    x = parity.vectors(model, 50_000)
    logits, classes = native.predict_mlp(model.params("nn_fused"), model.n_classes, x, "fused")
    np.testing.assert_array_equal(logits, model.int_fused.logits(x))
    np.testing.assert_array_equal(classes, model.int_fused.predict(x))


@pytest.mark.parametrize("task", ["binary", "multi"])
def test_it_decides_as_the_float_net_on_99_5_percent_of_the_test_part(models, flows, task):
    model = models[task]
    _, _, test = dataset.split(flows, model.seed)
    x = flows.x[test]
    assert np.mean(model.int_fused.predict(x) == model.mlp.predict(model.scaler.transform(x))) >= 0.995


def test_fitted_weights_serve_the_sums_at_least_as_well_as_rounded_ones():
    rng = np.random.default_rng(0)
    for _ in range(50):
        x, w = rng.normal(size=(200, 16)) @ rng.normal(size=(16, 16)), rng.normal(size=16)
        seen, step = np.round(x), np.abs(w).max() / 127
        gram, cross = seen.T @ seen / len(x), seen.T @ (x @ w) / len(x)
        fitted = fused.fit_column(gram, cross, w, step)
        rounded = np.round(w / step)
        errors = [np.mean((x @ w - step * seen @ candidate) ** 2) for candidate in (fitted, rounded)]
        assert fitted.dtype == np.int8
        assert errors[0] <= errors[1]


def test_a_feature_too_wide_is_refused(models):
    model = models["binary"]
    wide = dataset.MinMax(model.scaler.min_, model.scaler.range_ + (1 << 47))
    with pytest.raises(UserError, match="overflow"):
        fused.quantize_fused(model.mlp.weights(), wide, list(model.alpha), np.zeros((4, 12), np.int64))
