"""The net in arithmetic fused: every bit is that of the C, no lane overflows, and it decides as the float net does."""

import numpy as np
import pytest

from ids_repro.config import UserError
from ids_repro.data import dataset
from ids_repro.evaluate import parity_vectors
from ids_repro.models.int_mlp_fused import INPUT_MAX, LANE_MAX, FusedMlp, pack_lanes, quantize_fused, requantise
from ids_repro.models.scaling import MinMax
from ids_repro.native import library
from ids_repro.native.layouts import MLP_FUSED


def extreme_net(n_classes: int, signs: tuple[int, int, int]) -> FusedMlp:
    """Every weight as large as the lanes allow; where the signs are positive, so is every activation."""
    high, weights = np.full(12, INPUT_MAX), []
    for n_out, sign in zip((16, 16, n_classes), signs, strict=True):
        largest = LANE_MAX // max(int(high.sum()), 1)
        weights.append(np.full((len(high), n_out), sign * largest))
        high = requantise(high @ np.maximum(weights[-1], 0))
    one = np.ones(12, np.int64)
    return FusedMlp(0 * one, one << 16, (INPUT_MAX << 1) * one, 17 * one, weights)


@pytest.mark.parametrize("n_classes", [2, 7])
@pytest.mark.parametrize("signs", [(1, 1, 1), (1, 1, -1), (1, -1, 1), (-1, 1, -1)])
def test_no_lane_overflows_at_the_limits_of_weights_and_activations(n_classes, signs):
    net = extreme_net(n_classes, signs)
    x = np.array([np.full(12, 1 << 16), np.full(12, -(1 << 16)), np.zeros(12)], np.int64)
    assert net.inputs(x).max() == INPUT_MAX
    logits, classes = library.predict("nn_fused", net.to_bytes(), n_classes, x)
    np.testing.assert_array_equal(logits, net.logits(x))
    np.testing.assert_array_equal(classes, net.predict(x))


def test_lanes_hold_two_signed_columns():
    weights = np.array([[70000, -70000, -1, 0, 1]])
    words = pack_lanes(weights)
    assert words.tolist() == [[70000 - (70000 << 32), -1, 1, 0, 0, 0, 0, 0]]


@pytest.mark.parametrize("n_classes", [2, 7])
def test_a_net_fills_its_places_and_leaves_zeros(n_classes):
    weights = [np.arange(k * n).reshape(k, n) + 1 for k, n in ((12, 16), (16, 16), (16, n_classes))]
    net = FusedMlp(*(np.arange(1, 13) * k for k in (10, 100, 1000, 1)), weights)
    out = np.frombuffer(net.to_bytes(), MLP_FUSED)[0]
    for name, values in {"min": net.min_, "range": net.range_, "mul": net.mul, "shift": net.shift}.items():
        assert out[name].tolist() == [*values, *[0] * 4]
    for layer, w in enumerate(weights):
        np.testing.assert_array_equal(out["w"][layer, : len(w)], pack_lanes(w))
        assert not out["w"][layer, len(w) :].any()


def test_weights_that_could_leave_their_lane_are_refused():
    net = extreme_net(2, (1, 1, 1))
    assert max(bound.max() for bound in net.bounds()) <= LANE_MAX
    net.weights[1][:, 3] += 2
    with pytest.raises(UserError, match="lane"):
        net.to_bytes()


@pytest.mark.parametrize("task", ["binary", "multi"])
def test_c_equals_numpy(models, task):
    model = models[task]
    x = next(parity_vectors.pieces(model, 50_000))
    logits, classes = library.predict("nn_fused", model.params("nn_fused"), model.n_classes, x)
    np.testing.assert_array_equal(logits, model.twins["nn_fused"].logits(x))
    np.testing.assert_array_equal(classes, model.twins["nn_fused"].predict(x))


@pytest.mark.parametrize("task", ["binary", "multi"])
def test_it_decides_as_the_float_net_on_99_9_percent_of_the_test_part(models, flows, task):
    model = models[task]
    _, _, test = dataset.split(flows, model.seed)
    x = flows.x[test]
    assert np.mean(model.twins["nn_fused"].predict(x) == model.mlp.predict(model.scaler.transform(x))) >= 0.999


def test_a_feature_too_wide_is_refused(models):
    model = models["binary"]
    wide = MinMax(model.scaler.min_, model.scaler.range_ + (1 << 47))
    with pytest.raises(UserError, match="overflow"):
        quantize_fused(model.mlp.weights(), wide)


def test_a_weight_that_is_not_finite_is_refused(models):
    weights = models["binary"].mlp.weights()
    weights[1][3, 4] = np.nan
    with pytest.raises(UserError, match="not finite"):
        quantize_fused(weights, models["binary"].scaler)


def test_dead_columns_and_a_class_without_weights_leave_the_others_as_they_are(models):
    model = models["multi"]
    weights = model.mlp.weights()
    weights[0][:, 5] = 0
    weights[2][:, 3] = 0
    net = quantize_fused(weights, model.scaler)
    assert not net.weights[0][:, 5].any() and not net.weights[2][:, 3].any()
    assert max(bound.max() for bound in net.bounds()) > 0.99 * LANE_MAX
    x = next(parity_vectors.pieces(model, 2000))
    a = np.clip((x - model.scaler.min_) / model.scaler.range_, 0, 1)
    for w in weights[:-1]:
        a = np.maximum(a @ w, 0)
    assert np.mean(net.predict(x) == (a @ weights[-1]).argmax(axis=1)) > 0.99
