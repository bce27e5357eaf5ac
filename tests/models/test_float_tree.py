"""The float tree as arrays: scikit-learn's tree made of them is the one that was trained, in every bit."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.tree import DecisionTreeClassifier
from sklearn.tree._tree import NODE_DTYPE

from ids_repro import config
from ids_repro.data.features import as_float
from ids_repro.evaluate import parity_vectors
from ids_repro.models.float_tree import NODE, FloatTree
from ids_repro.models.training import train_tree


def test_every_number_that_scikit_learn_keeps_of_a_node_is_kept():
    assert {name: NODE_DTYPE[name] for name in NODE_DTYPE.names} == NODE


@pytest.mark.parametrize("task", config.TASKS)
def test_the_tree_made_again_is_the_one_that_was_trained(flows, task):
    fitted = train_tree(as_float(flows.x), flows.target(task), 3)
    kept = FloatTree.of(fitted)
    again = kept.fitted(3)
    x = as_float(np.concatenate([flows.x, parity_vectors.random_vectors(5_000, seed=1)]))
    for ours, theirs in ((again.predict(x), fitted.predict(x)), (again.predict_proba(x), fitted.predict_proba(x))):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype
    before, after = fitted.tree_.__getstate__(), again.tree_.__getstate__()
    assert before["nodes"].tobytes() == after["nodes"].tobytes()
    assert before["values"].tobytes() == after["values"].tobytes()
    assert (kept.depth, kept.n_leaves) == (fitted.get_depth(), fitted.get_n_leaves())
    same = ("n_features_in_", "max_features_", "n_outputs_", "n_classes_")
    assert all(getattr(again, name) == getattr(fitted, name) for name in same)
    assert again.get_params() == fitted.get_params()
    assert set(vars(again)) == set(vars(fitted))
    np.testing.assert_array_equal(again.feature_importances_, fitted.feature_importances_)


def test_a_tree_of_one_leaf_and_one_that_misses_classes(flows):
    for y, leaves in ((np.full(50, 6), 1), (np.arange(50) % 2 * 5, 2)):
        fitted = DecisionTreeClassifier(max_depth=1).fit(as_float(flows.x[:50]), y)
        kept = FloatTree.of(fitted)
        assert kept.n_leaves <= leaves and kept.fault(7) is None
        np.testing.assert_array_equal(kept.fitted(0).predict(as_float(flows.x)), fitted.predict(as_float(flows.x)))


def test_a_tree_that_is_one_has_no_fault_and_a_deeper_one_has(flows, models):
    assert models["multi"].float_tree.fault(7) is None
    assert "the task has 2 classes" in models["multi"].float_tree.fault(2)
    y = np.random.default_rng(0).integers(0, 2, len(flows.x))
    deep = FloatTree.of(DecisionTreeClassifier(max_depth=17, random_state=0).fit(as_float(flows.x), y))
    assert "the tree has depth 17 and" in deep.fault(2) and "has at most 16 and 4,096" in deep.fault(2)
    tree = models["multi"].float_tree
    assert "not finite" in replace(tree, values=tree.values * np.nan).fault(7)
