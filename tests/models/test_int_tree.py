"""The integer tree: it decides as scikit-learn does on every vector, and the C decides as it does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.tree import DecisionTreeClassifier

from ids_repro import config
from ids_repro.data.features import as_float
from ids_repro.evaluate import parity_vectors
from ids_repro.models.fixed import NO_FLAG
from ids_repro.models.float_tree import LEAF, NODE, FloatTree
from ids_repro.models.int_tree import SCORE_UNIT, IntTree, integer_threshold, quantize_tree
from ids_repro.native import library
from ids_repro.native.layouts import TREE, TREE_LEAF, TREE_NODES, Q

ONE = 1 << Q


def around_thresholds(tree, x, seed=0):
    """Rows of x with one feature set to a threshold of the tree, its neighbours, and farther off."""
    rng, out = np.random.default_rng(seed), []
    for threshold, feature in zip(tree.threshold, tree.feature, strict=True):
        if feature == TREE_LEAF:
            continue
        for step in (0, *(sign << k for k in range(0, 34, 3) for sign in (1, -1))):
            rows = x[rng.integers(0, len(x), 5)]
            rows[:, feature] = np.clip(threshold + step, 0, parity_vectors.MAX_FEATURE - 1)
            out.append(rows)
    return np.concatenate(out) if out else x[:0]


def test_tree_helpers_reach_both_sides(models):
    tree = models["multi"].twins["dt"]
    assert len(around_thresholds(tree, np.zeros((1, 12), np.int64))) > 100


@pytest.mark.parametrize("task", config.TASKS)
@pytest.mark.parametrize("depth", [1, 2, 5, 16])
def test_the_integer_tree_is_scikit_learns(flows, task, depth):
    y = flows.target(task)
    fitted = DecisionTreeClassifier(max_depth=depth, random_state=0).fit(as_float(flows.x), y)
    tree = quantize_tree(FloatTree.of(fitted), len(config.TASKS[task]))
    assert np.sum(tree.feature == TREE_LEAF) == fitted.get_n_leaves()
    for x in (flows.x, around_thresholds(tree, flows.x), parity_vectors.random_vectors(5_000, seed=depth)):
        expected = fitted.predict(as_float(x))
        np.testing.assert_array_equal(tree.predict(x), expected)
        logits, classes = library.predict("dt", tree.to_bytes(), tree.n_classes, x)
        np.testing.assert_array_equal(classes, expected)
        np.testing.assert_array_equal(logits, tree.logits(x))


def test_a_score_is_the_logarithm_of_the_odds_in_the_leaf(flows):
    x, y = as_float(flows.x), flows.target("binary")
    fitted = DecisionTreeClassifier(max_depth=8, min_samples_leaf=5, random_state=0).fit(x, y)
    tree, leaf = quantize_tree(FloatTree.of(fitted), 2), fitted.apply(x)
    for one in np.unique(leaf):
        attacks, normal = np.sum(y[leaf == one]), np.sum(1 - y[leaf == one])
        score = round(float(np.log((attacks + 0.5) / (normal + 0.5))) / SCORE_UNIT)
        assert set(tree.logits(flows.x[leaf == one])[:, 1]) == {score}
    assert not quantize_tree(FloatTree.of(fitted), 7).logits(flows.x).any()  # with seven classes there is no attack


@pytest.mark.parametrize("seed", range(20))
def test_the_integer_tree_is_scikit_learns_on_any_data(seed):
    """Features over 47 binary orders, where float32 has gaps of up to 128 units, and values one step apart."""
    rng = np.random.default_rng(seed)
    x = parity_vectors.random_vectors(300, seed)
    x[150:] = x[:150] + rng.integers(0, 2, (150, 12))
    y = rng.choice([1, 2, 5], len(x))
    fitted = DecisionTreeClassifier(max_depth=5, random_state=seed).fit(as_float(x), y)
    tree = quantize_tree(FloatTree.of(fitted), 7)
    for inputs in (x, around_thresholds(tree, x, seed)):
        np.testing.assert_array_equal(tree.predict(inputs), fitted.predict(as_float(inputs)))


VALUES = st.lists(st.integers(0, parity_vectors.MAX_FEATURE - 1), min_size=12, max_size=12)
NEAR = st.lists(st.tuples(st.integers(0, 62), st.integers(-200, 200)), max_size=12)


@pytest.mark.parametrize("task", config.TASKS)
@settings(deadline=None, derandomize=True, max_examples=300)
@given(values=VALUES, near=NEAR)
def test_the_integer_tree_is_scikit_learns_for_every_value_a_feature_can_take(models, task, values, near):
    """Any values, and some features at a threshold of theirs or up to 200 steps of 2^-16 from it."""
    fitted, tree = models[task].tree, models[task].twins["dt"]
    x = np.array([values])
    for node, step in near:
        if node < len(tree.feature) and tree.feature[node] != TREE_LEAF:
            x[0, tree.feature[node]] = max(tree.threshold[node] + step, 0)
    expected = fitted.predict(as_float(x))
    assert tree.predict(x) == library.predict("dt", tree.to_bytes(), 2, x)[1] == expected


def test_a_tree_of_one_leaf_says_one_class(flows):
    fitted = DecisionTreeClassifier(max_depth=5).fit(as_float(flows.x[:50]), np.full(50, 6))
    tree = quantize_tree(FloatTree.of(fitted), 7)
    assert tree.feature.tolist() == [TREE_LEAF]
    x = np.concatenate([flows.x, np.full((1, 12), np.iinfo(np.int64).max)])
    assert set(tree.predict(x)) == set(library.predict("dt", tree.to_bytes(), 2, x)[1]) == {6}


def complete_tree(depth: int) -> FloatTree:
    """Return a tree of which every leaf is `depth` steps from the root."""
    n = 2 ** (depth + 1) - 1
    nodes = {name: np.zeros(n, dtype) for name, dtype in NODE.items()}
    for side, first in (("left_child", 1), ("right_child", 2)):
        nodes[side] = np.where(np.arange(n) < n // 2, 2 * np.arange(n) + first, LEAF)
    return FloatTree(nodes, np.full((n, 2), 0.5), np.arange(2))


def test_a_tree_that_is_too_deep_or_too_large_is_refused(flows):
    y = np.random.default_rng(0).integers(0, 2, len(flows.x))
    deep = FloatTree.of(DecisionTreeClassifier(max_depth=17, random_state=0).fit(as_float(flows.x), y))
    for tree, words in (
        (deep, "depth 17 and"),
        (complete_tree(12), "8,191 nodes; the kernel"),
    ):
        with pytest.raises(config.UserError, match=words):
            quantize_tree(tree, 2)
    assert len(quantize_tree(complete_tree(11), 2).low) == TREE_NODES - 1


HALVES = st.integers(0, 2**46 - 2).map(lambda n: (n + 0.5) / ONE)
FLOAT32 = st.floats(0, 2.0**30, width=32)
MIDPOINTS = st.tuples(FLOAT32, FLOAT32).map(lambda pair: pair[0] / 2 + pair[1] / 2)


@settings(deadline=None, derandomize=True, max_examples=500)
@given(st.one_of(st.floats(0, 2.0**30), HALVES, FLOAT32, MIDPOINTS))
def test_an_integer_threshold_divides_as_the_float_one(threshold):
    found = int(integer_threshold(np.array([threshold]))[0])

    def goes_left(x):
        return float(np.float32(x / ONE)) <= threshold

    assert goes_left(found) and not goes_left(found + 1)


def test_a_tree_fills_its_places():
    n = TREE_NODES
    tree = IntTree(np.arange(n) * (1 << 34) - (1 << 45), np.arange(n) % 12, np.arange(n), 2, -7)
    again = IntTree.from_struct(np.frombuffer(tree.to_bytes(), TREE)[0], 2)
    for name in ("threshold", "feature", "low"):
        np.testing.assert_array_equal(getattr(again, name), getattr(tree, name))
    assert again.flag_at == -7


CHAIN = ([5, 5, 0, 0, 0], [0, 1, TREE_LEAF, TREE_LEAF, TREE_LEAF], [4, 3, 0, 1, 1])  # two inner nodes, three leaves
FAULTS = {
    "a child before its parent": ((0, 2, 1), "a child must come after its parent"),
    "a child that is the left one": ((1, 2, 2), "a child must come after its parent"),
    "a child outside": ((0, 2, 5), "a child must come after its parent"),
    "no left child": ((4, 1, 3), "a child must come after its parent"),
    "a feature": ((0, 1, 12), "a feature index of dt is out of range: there are 12"),
    "a class": ((2, 2, 2), "a class of dt is out of range: there are 2 classes"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_tree_that_the_kernel_must_not_walk_is_refused(fault):
    parts, ((node, part, value), words) = [np.array(part) for part in CHAIN], FAULTS[fault]
    assert IntTree(*parts, 2).fault(2) is None
    parts[part][node] = value
    assert words in IntTree(*parts, 2).fault(2)


def test_the_leaves_of_a_detector_have_classes_of_table_iii():
    parts = [np.array(part) for part in CHAIN]
    parts[2][2] = 6
    assert IntTree(*parts, 2, NO_FLAG).fault(2) and IntTree(*parts, 2, 0).fault(2) is None


def chain(depth: int) -> IntTree:
    """Return a tree whose inner nodes are the right children of each other, each with a leaf to its left."""
    n = 2 * depth + 1
    inner = (np.arange(n) % 2 == 0) & (np.arange(n) < n - 1)
    return IntTree(np.zeros(n, np.int64), np.where(inner, 0, TREE_LEAF), np.where(inner, np.arange(n) + 2, 0), 2)


def test_a_tree_that_is_deeper_than_a_walk_and_a_detector_that_names_normal_are_refused():
    assert chain(16).fault(2) is None
    assert "dt is 17 deep" in chain(17).fault(2)
    leaf = (np.zeros(1, np.int64), np.full(1, TREE_LEAF), np.full(1, config.NORMAL))
    assert "a detector's leaves name attacks" in IntTree(*leaf, 2, 5).fault(2)
