"""The net in arithmetic q16: every bit is that of the C, and the logits are near those of the float net."""

import copy
from dataclasses import replace

import numpy as np
import pytest

from ids_repro import config
from ids_repro.evaluate import parity_vectors
from ids_repro.models import pipeline
from ids_repro.models.int_mlp import IntMlp, quantize_mlp
from ids_repro.models.scaling import MinMax
from ids_repro.native import library
from ids_repro.native.layouts import MLP_Q16, Q

ONE = 1 << Q
SHAPES = {n: ((12, 16), (16, 16), (16, n)) for n in (2, 7)}


def random_net(n_classes, seed, alpha=(1.0, 1.0, 1.0)):
    rng = np.random.default_rng(seed)
    weights = [rng.normal(0, 0.5, shape) for shape in SHAPES[n_classes]]
    scaler = MinMax(rng.integers(0, 2**30, 12), 2 ** rng.integers(0, 47, 12))
    return quantize_mlp(weights, scaler, list(alpha), [np.abs(w).max(axis=0) for w in weights])


def same_as_c(net, x):
    logits = net.logits(x)
    for optimise in ("-O2", "-O0"):
        found, classes = library.predict("nn_q16", net.to_bytes(), net.n_classes, x, optimise)
        np.testing.assert_array_equal(found, logits)
        np.testing.assert_array_equal(classes, net.predict(x))
    return logits


@pytest.mark.parametrize("task", config.TASKS)
def test_c_has_the_same_logits_for_trained_nets(flows, models, task):
    x = np.concatenate([flows.x, parity_vectors.boundary_vectors(models[task]), parity_vectors.random_vectors(5_000)])
    logits = same_as_c(models[task].twins["nn_q16"], x)
    assert logits.shape == (len(x), models[task].n_classes)
    assert len(np.unique(logits[:, 0])) > 100


@pytest.mark.parametrize("n_classes", [2, 7])
@pytest.mark.parametrize("seed", range(10))
def test_c_has_the_same_logits_for_any_net(n_classes, seed):
    """Random features and widths from 1 to 2^46 (Q16), and thresholds that make Eq. (1) clip often, or never."""
    net = random_net(n_classes, seed, alpha=10 ** np.random.default_rng(seed).uniform(-2, 2, 3))
    low, width = net.min_, net.range_
    edges = np.concatenate([np.array([low, low + width]) + step for step in (-1, 0, 1)])
    x = np.concatenate([np.maximum(edges, 0), parity_vectors.random_vectors(1_000, seed)])
    same_as_c(net, x)


def test_equal_logits_give_the_first_class():
    net = random_net(7, 0)
    net.weights[-1][:] = net.weights[-1][:, :1]
    net.dequant[-1][:] = net.dequant[-1][0]
    x = parity_vectors.random_vectors(100)
    assert len(np.unique(same_as_c(net, x))) > 10
    assert not net.predict(x).any()


@pytest.mark.parametrize(("value", "times_alpha"), [(0.5, 0.5), (1.0, 1.0), (1.004, 1.0), (3.0, 1.0)])
def test_eq_1_clips_at_127(value, times_alpha):
    """A net that hands its first input on; 1.004 alpha is 127.508 levels, which rounds to 128 and has to stay 127."""
    alpha = 0.25
    weights = [np.eye(*shape) for shape in SHAPES[2]]
    scaler = MinMax(np.zeros(12, np.int64), np.full(12, ONE))
    net = quantize_mlp(weights, scaler, [alpha, 1.0, 1.0], [np.ones(w.shape[1]) for w in weights])
    x = np.zeros((1, 12), np.int64)
    x[0, 0] = round(value * alpha * ONE)
    # half a level for each of the three roundings to 1/127
    assert same_as_c(net, x)[0, 0] / ONE == pytest.approx(times_alpha * alpha, abs=1.5 / 127)
    levels = quantize_mlp(weights, scaler, [alpha] * 3, [np.ones(w.shape[1]) for w in weights])
    assert same_as_c(levels, x)[0, 0] == pytest.approx(round(127 * times_alpha) / 127 * alpha * ONE, abs=3)


def error_bound(weights, inputs, alpha, alpha_w):
    """How far logits may be off when nothing is clipped, from half a level in each input and each weight.

    With e the error of X^(l), quantisation makes it e' = e + alpha/254; each product x w is then off by at most
    e' |w| + (|x| + e') alpha_w/254. 2^-12 covers the roundings of the 16-bit fixed-point steps between.
    """
    error = np.full(inputs[0].shape, 2.0**-Q)
    for w, x, a, a_w in zip(weights, inputs, alpha, alpha_w, strict=True):
        error = error + a / 254
        error = error @ np.abs(w) + (np.abs(x) + error).sum(axis=1, keepdims=True) * a_w / 254 + 2.0**-12
    return error


@pytest.mark.parametrize("task", config.TASKS)
def test_logits_are_as_near_to_the_float_nets_as_8_bits_allow(flows, models, task):
    model = models[task]
    weights, scaled = model.mlp.weights(), model.scaler.transform(flows.x)
    at = np.all((scaled >= 0) & (scaled <= 1), axis=1)
    assert at.mean() > 0.9
    inputs = [scaled[at]]
    for w in weights:
        inputs.append(np.maximum(inputs[-1] @ w, 0))
    exact = inputs[-2] @ weights[-1]
    alpha = [x.max() for x in inputs[:-1]]
    alpha_w = [np.abs(w).max(axis=0) for w in weights]
    net = quantize_mlp(weights, model.scaler, alpha, alpha_w)
    error = np.abs(net.logits(flows.x[at]) / ONE - exact)
    assert (error <= error_bound(weights, inputs[:-1], alpha, alpha_w)).all()
    # what random signs leave of that bound
    assert error.max() < 0.05 * np.ptp(exact)
    assert np.mean(net.predict(flows.x[at]) == exact.argmax(axis=1)) > 0.98


def test_a_feature_too_wide_for_q16_is_refused():
    weights = [np.ones(shape) for shape in SHAPES[2]]
    ones = [np.ones(w.shape[1]) for w in weights]
    for width, fits in ((2**47 - 1, True), (2**47, False)):
        scaler = MinMax(np.zeros(12, np.int64), np.full(12, width))
        if fits:
            net = quantize_mlp(weights, scaler, [1.0] * 3, ones)
            assert (same_as_c(net, np.full((1, 12), width)) > 0).all()
            continue
        with pytest.raises(config.UserError, match="2\\^31 units or more"):
            quantize_mlp(weights, scaler, [1.0] * 3, ones)


def quantize_with(alpha):
    weights = [np.ones(shape) for shape in SHAPES[2]]
    scaler = MinMax(np.zeros(12, np.int64), np.full(12, ONE))
    return quantize_mlp(weights, scaler, alpha, [np.ones(w.shape[1]) for w in weights])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_parameters_that_are_no_numbers_are_refused(models, flows, value):
    model = models["binary"]
    weights, ones = model.mlp.weights(), [np.ones(n) for n in (16, 16, 2)]
    weights[1][3, 4] = value
    with pytest.raises(config.UserError, match="not finite: train it again"):
        quantize_mlp(weights, model.scaler, [1.0] * 3, ones)
    with pytest.raises(config.UserError, match="not finite: train it again"):
        quantize_mlp(model.mlp.weights(), model.scaler, [1.0, value, 1.0], ones)
    broken = copy.deepcopy(model.weights)
    broken[1][3, 4] = value
    with pytest.raises(config.UserError, match="not finite: train it again"):
        pipeline.quantize_model(replace(model, weights=broken), flows)


@pytest.mark.parametrize(("alpha", "layer"), [([1.0, 1e-9, 1.0], 1), ([1.0, 1e6, 1e-6], 2)])
def test_thresholds_that_would_overflow_are_refused(alpha, layer):
    with pytest.raises(config.UserError, match=f"layer {layer} of the net overflows int64"):
        quantize_with(alpha)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("alpha", [[1.0, 1e8, 1.0], [1.0, 1.0, 1e12], [1e-9, 1.0, 1.0]])
def test_thresholds_beyond_fixed_point_are_refused(alpha):
    with pytest.raises(config.UserError):
        quantize_with(alpha)


def distinct_net(n_classes):
    """Make a net without zeros in which neighbouring values of a table differ."""
    shapes = ((12, 16), (16, 16), (16, n_classes))
    weights = [(np.arange(1, i * j + 1).reshape(i, j) % 127 + 1).astype(np.int8) for i, j in shapes]
    dequant = [np.arange(1, j + 1) * 1000 + layer for layer, (_, j) in enumerate(shapes)]
    return IntMlp(*(np.arange(1, 13) * k for k in (10, 100, 1000)), np.array([7, 8, 9]), dequant, weights)


@pytest.mark.parametrize("n_classes", [2, 7])
def test_a_net_fills_its_places_and_leaves_zeros(n_classes):
    made = distinct_net(n_classes)
    data = made.to_bytes()
    out = np.frombuffer(data, MLP_Q16)[0]
    for name, values in (("min", made.min_), ("range", made.range_), ("s", made.s), ("sigma", made.sigma)):
        assert out[name].tolist() == [*values, *[0] * (len(out[name]) - len(values))]
    for layer, (w, d) in enumerate(zip(made.weights, made.dequant, strict=True)):
        n_in, n_out = w.shape
        # w[l][column j][row k] of int_mlp.h
        assert all(out["w"][layer, j, k] == w[k, j] for j in range(n_out) for k in range(n_in))
        assert not out["w"][layer, n_out:].any() and not out["w"][layer, :, n_in:].any()
        assert out["dequant"][layer].tolist() == [*d, *[0] * (16 - n_out)]
    assert data == distinct_net(n_classes).to_bytes()
