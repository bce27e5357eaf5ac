"""The bytes of the C structs: their size, where each value stands, zeros elsewhere."""

import re

import numpy as np
import pytest

from ids_repro import config
from ids_repro.models.int_mlp import IntMlp
from ids_repro.models.int_tree import IntTree
from ids_repro.native import library
from ids_repro.native.layouts import MLP_FUSED, MLP_Q16, ROW, TREE


def net(n_classes):
    """Make a net in which no two values of a table are equal and none is zero."""
    shapes = ((12, 16), (16, 16), (16, n_classes))
    weights = [(np.arange(1, i * j + 1).reshape(i, j) % 127 + 1).astype(np.int8) for i, j in shapes]
    dequant = [np.arange(1, j + 1) * 1000 + layer for layer, (_, j) in enumerate(shapes)]
    return IntMlp(*(np.arange(1, 13) * k for k in (10, 100, 1000)), np.array([7, 8, 9]), dequant, weights)


def test_sizes_are_those_the_compiler_gives():
    lib = library.library()
    assert MLP_Q16.itemsize == lib.ids_sizeof_nn_q16()
    assert MLP_FUSED.itemsize == lib.ids_sizeof_nn_fused()
    assert TREE.itemsize == lib.ids_sizeof_dt()
    assert ROW.itemsize == lib.ids_sizeof_row()


@pytest.mark.parametrize(
    ("dtype", "struct", "header"),
    [(MLP_Q16, "ids_nn_q16", "int_mlp.h"), (TREE, "ids_dt", "int_tree.h")],
)
def test_fields_stand_in_the_order_of_the_struct(dtype, struct, header):
    body = re.search(rf"struct {struct} {{(.*?)}};", (config.BPF / header).read_text(), re.DOTALL)[1]
    assert re.findall(r"__[su](\d+) (\w+)\[", body) == [
        (str(8 * dtype[name].base.itemsize), name) for name in dtype.names
    ]


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
