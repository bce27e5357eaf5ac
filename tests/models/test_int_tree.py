"""The integer tree: it decides as scikit-learn does on every vector, and the C decides as it does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.tree import DecisionTreeClassifier

from ids_repro import config
from ids_repro.data.features import as_float
from ids_repro.evaluate import parity_vectors
from ids_repro.models.int_tree import ALWAYS_LEFT, IntTree, integer_threshold, quantize_tree
from ids_repro.native import library
from ids_repro.native.layouts import TREE, Q

ONE = 1 << Q


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
def test_the_integer_tree_is_scikit_learns(flows, task, depth):
    y = flows.target(task)
    fitted = DecisionTreeClassifier(max_depth=depth, random_state=0).fit(as_float(flows.x), y)
    tree = quantize_tree(fitted)
    assert np.sum(tree.threshold < ALWAYS_LEFT) >= fitted.get_n_leaves() - 1
    for x in (flows.x, around_thresholds(tree, flows.x), parity_vectors.random_vectors(5_000, seed=depth)):
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


def test_a_tree_of_one_leaf_says_one_class(flows):
    fitted = DecisionTreeClassifier(max_depth=5).fit(as_float(flows.x[:50]), np.full(50, 6))
    tree = quantize_tree(fitted)
    assert (tree.threshold == ALWAYS_LEFT).all()
    x = np.concatenate([flows.x, np.full((1, 12), np.iinfo(np.int64).max)])
    assert set(tree.predict(x)) == set(library.predict("dt", tree.to_bytes(), 2, x)[1]) == {6}


def test_a_tree_that_is_too_deep_is_refused(flows):
    y = np.random.default_rng(0).integers(0, 2, len(flows.x))
    fitted = DecisionTreeClassifier(max_depth=6, random_state=0).fit(as_float(flows.x), y)
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


def test_a_tree_fills_its_places():
    tree = IntTree(np.arange(32) << 40, np.arange(32, dtype=np.uint8) % 12, np.arange(32, dtype=np.uint8) % 7)
    out = np.frombuffer(tree.to_bytes(), TREE)[0]
    for name in TREE.names:
        np.testing.assert_array_equal(out[name], getattr(tree, name))
