"""The bytes of the C structs: where each value stands, and zeros elsewhere."""

import numpy as np
import pytest

from ids_repro.models.int_mlp import IntMlp
from ids_repro.models.int_tree import IntTree
from ids_repro.native.layouts import MLP_Q16, TREE


def net(n_classes):
    """Make a net in which no two values of a table are equal and none is zero."""
    shapes = ((12, 16), (16, 16), (16, n_classes))
    weights = [(np.arange(1, i * j + 1).reshape(i, j) % 127 + 1).astype(np.int8) for i, j in shapes]
    dequant = [np.arange(1, j + 1) * 1000 + layer for layer, (_, j) in enumerate(shapes)]
    return IntMlp(*(np.arange(1, 13) * k for k in (10, 100, 1000)), np.array([7, 8, 9]), dequant, weights)


@pytest.mark.parametrize("n_classes", [2, 7])
def test_a_net_fills_its_places_and_leaves_zeros(n_classes):
    made = net(n_classes)
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
    assert data == net(n_classes).to_bytes()


def test_a_tree_fills_its_places():
    tree = IntTree(np.arange(32) << 40, np.arange(32, dtype=np.uint8) % 12, np.arange(32, dtype=np.uint8) % 7)
    out = np.frombuffer(tree.to_bytes(), TREE)[0]
    for name in TREE.names:
        np.testing.assert_array_equal(out[name], getattr(tree, name))
