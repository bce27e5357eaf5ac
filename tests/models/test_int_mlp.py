"""Integer models: the tree decides as scikit-learn does; the net equals C in every bit, its float original nearly."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.tree import DecisionTreeClassifier

from ids_repro import config
from ids_repro.data import dataset
from ids_repro.data.features import as_float
from ids_repro.evaluate import parity_vectors
from ids_repro.models import pipeline
from ids_repro.models.fixed import clip, round_shift, to_fixed
from ids_repro.models.int_mlp import quantize_mlp
from ids_repro.models.int_tree import ALWAYS_LEFT, integer_threshold, quantize_tree
from ids_repro.models.scaling import MinMax
from ids_repro.native import library
from ids_repro.native.layouts import Q

ONE = 1 << Q
SHAPES = {n: ((12, 16), (16, 16), (16, n)) for n in (2, 7)}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp("interim") / "lab.parquet"
    return dataset.prepare(config.SAMPLE, config.SAMPLE.with_suffix(".csv"), out).sample()


# ---- helpers of the arithmetic


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


# ---- tree


def around_thresholds(tree, x, seed=0):
    """Rows of x with one feature set to a threshold of the tree, its neighbours, and farther off."""
    rng, out = np.random.default_rng(seed), []
    for threshold, feature in zip(tree.threshold, tree.feature, strict=True):
        if threshold == ALWAYS_LEFT:
            continue
        for step in (0, *(sign << k for k in range(0, 34, 3) for sign in (1, -1))):
            rows = x[rng.integers(0, len(x), 5)]
            rows[:, feature] = np.clip(threshold + step, 0, parity_vectors.MAX_FEATURE)
            out.append(rows)
    return np.concatenate(out) if out else x[:0]


def test_tree_helpers_reach_both_sides(models):
    tree = models["multi"].twins["dt"]
    assert len(around_thresholds(tree, np.zeros((1, 12), np.int64))) > 100


@pytest.mark.parametrize("task", config.TASKS)
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_the_integer_tree_is_scikit_learns(data, task, depth):
    y = data.target(task)
    fitted = DecisionTreeClassifier(max_depth=depth, random_state=0).fit(as_float(data.x), y)
    tree = quantize_tree(fitted)
    assert np.sum(tree.threshold < ALWAYS_LEFT) >= fitted.get_n_leaves() - 1
    for x in (data.x, around_thresholds(tree, data.x), parity_vectors.random_vectors(5_000, seed=depth)):
        expected = fitted.predict(as_float(x))
        np.testing.assert_array_equal(tree.predict(x), expected)
        np.testing.assert_array_equal(library.predict("dt", tree.to_bytes(), 2, x)[1], expected)


@pytest.mark.parametrize("seed", range(20))
def test_the_integer_tree_is_scikit_learns_on_any_data(seed):
    """Features over 47 binary orders, where float32 has gaps of up to 128 units, and values one step apart."""
    rng = np.random.default_rng(seed)
    x = parity_vectors.random_vectors(300, seed)
    x[150:] = x[:150] + rng.integers(0, 2, (150, 12))
    y = rng.choice([1, 2, 5], len(x))
    fitted = DecisionTreeClassifier(max_depth=5, random_state=seed).fit(as_float(x), y)
    tree = quantize_tree(fitted)
    for inputs in (x, around_thresholds(tree, x, seed)):
        np.testing.assert_array_equal(tree.predict(inputs), fitted.predict(as_float(inputs)))


VALUES = st.lists(st.integers(0, parity_vectors.MAX_FEATURE - 1), min_size=12, max_size=12)
NEAR = st.lists(st.tuples(st.integers(1, 31), st.integers(-200, 200)), max_size=12)


@pytest.mark.parametrize("task", config.TASKS)
@settings(deadline=None, derandomize=True, max_examples=300)
@given(values=VALUES, near=NEAR)
def test_the_integer_tree_is_scikit_learns_for_every_value_a_feature_can_take(models, task, values, near):
    """Any values, and some features at a threshold of theirs or up to 200 steps of 2^-16 from it."""
    fitted, tree = models[task].tree, models[task].twins["dt"]
    x = np.array([values])
    for node, step in near:
        if tree.threshold[node] != ALWAYS_LEFT:
            x[0, tree.feature[node]] = max(tree.threshold[node] + step, 0)
    expected = fitted.predict(as_float(x))
    assert tree.predict(x) == library.predict("dt", tree.to_bytes(), 2, x)[1] == expected


def test_a_tree_of_one_leaf_says_one_class(data):
    fitted = DecisionTreeClassifier(max_depth=5).fit(as_float(data.x[:50]), np.full(50, 6))
    tree = quantize_tree(fitted)
    assert (tree.threshold == ALWAYS_LEFT).all()
    x = np.concatenate([data.x, np.full((1, 12), np.iinfo(np.int64).max)])
    assert set(tree.predict(x)) == set(library.predict("dt", tree.to_bytes(), 2, x)[1]) == {6}


def test_a_tree_that_is_too_deep_is_refused(data):
    y = np.random.default_rng(0).integers(0, 2, len(data.x))
    fitted = DecisionTreeClassifier(max_depth=6, random_state=0).fit(as_float(data.x), y)
    with pytest.raises(config.UserError, match="depth 6; the kernel's has 5"):
        quantize_tree(fitted)


HALVES = st.integers(0, 2**46 - 2).map(lambda n: (n + 0.5) / ONE)
FLOAT32 = st.floats(0, 2.0**30, width=32)
MIDPOINTS = st.tuples(FLOAT32, FLOAT32).map(lambda pair: pair[0] / 2 + pair[1] / 2)


@settings(deadline=None, derandomize=True, max_examples=500)
@given(st.one_of(st.floats(0, 2.0**45), HALVES, FLOAT32, MIDPOINTS))
def test_an_integer_threshold_divides_as_the_float_one(threshold):
    found = int(integer_threshold(np.array([threshold]))[0])

    def goes_left(x):
        return float(np.float32(x / ONE)) <= threshold

    assert goes_left(found) and not goes_left(found + 1)


# ---- net


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
def test_c_has_the_same_logits_for_trained_nets(data, models, task):
    x = np.concatenate([data.x, parity_vectors.boundary_vectors(models[task]), parity_vectors.random_vectors(5_000)])
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
def test_logits_are_as_near_to_the_float_nets_as_8_bits_allow(data, models, task):
    model = models[task]
    weights, scaled = model.mlp.weights(), model.scaler.transform(data.x)
    at = np.all((scaled >= 0) & (scaled <= 1), axis=1)
    assert at.mean() > 0.9
    inputs = [scaled[at]]
    for w in weights:
        inputs.append(np.maximum(inputs[-1] @ w, 0))
    exact = inputs[-2] @ weights[-1]
    alpha = [x.max() for x in inputs[:-1]]
    alpha_w = [np.abs(w).max(axis=0) for w in weights]
    net = quantize_mlp(weights, model.scaler, alpha, alpha_w)
    error = np.abs(net.logits(data.x[at]) / ONE - exact)
    assert (error <= error_bound(weights, inputs[:-1], alpha, alpha_w)).all()
    # what random signs leave of that bound
    assert error.max() < 0.05 * np.ptp(exact)
    assert np.mean(net.predict(data.x[at]) == exact.argmax(axis=1)) > 0.98


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
    broken = copy.deepcopy(model.mlp)
    with torch.no_grad():
        broken.layers[1].weight[4, 3] = value
    with pytest.raises(config.UserError, match="not finite: train it again"):
        pipeline.quantize_model(replace(model, mlp=broken), flows)


@pytest.mark.parametrize(("alpha", "layer"), [([1.0, 1e-9, 1.0], 1), ([1.0, 1e6, 1e-6], 2)])
def test_thresholds_that_would_overflow_are_refused(alpha, layer):
    with pytest.raises(config.UserError, match=f"layer {layer} of the net overflows int64"):
        quantize_with(alpha)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("alpha", [[1.0, 1e8, 1.0], [1.0, 1.0, 1e12], [1e-9, 1.0, 1.0]])
def test_thresholds_beyond_fixed_point_are_refused(alpha):
    with pytest.raises(config.UserError):
        quantize_with(alpha)
