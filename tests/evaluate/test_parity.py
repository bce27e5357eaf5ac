"""NumPy, C, XDP and TC agree bit for bit, and the comparison sees a single wrong weight."""

import json
from dataclasses import replace

import numpy as np
import pytest

from ids_repro.config import UserError
from ids_repro.evaluate import parity, parity_vectors
from ids_repro.kernel.program import Program
from ids_repro.native.layouts import MLP_FUSED, MLP_Q16, TREE, TREE_LEAF


@pytest.mark.root
@pytest.mark.bpf
def test_nothing_differs_on_10000_vectors_a_model_and_on_every_packet_of_the_sample(project, models):
    project.save(models)
    done = project.cli("parity", "--n", "10000", "--json")
    assert done.returncode == 0, done.stderr
    none = {"numpy_c": 0, "c_xdp": 0, "c_tc": 0}
    assert json.loads(done.stdout) == dict.fromkeys(parity.STRUCTS, none)
    assert done.stdout.count("\n") == 1
    assert "parity: 100%" in done.stderr


@pytest.mark.root
@pytest.mark.bpf
def test_n_vectors_are_compared_and_no_more_than_asked_in_the_kernel(models, few, monkeypatch):
    piece = parity_vectors.PIECE
    asked = {"c": [], "kernel": []}
    for place in asked:
        right = getattr(parity, f"classify_in_{place}")
        monkeypatch.setattr(parity, f"classify_in_{place}", counting(right, asked[place]))
    n, in_kernel = 2 * piece + 600, piece + 300
    found = parity.compare([models["binary"]], few, n, kernel_vectors=in_kernel, tied_vectors=900, structs=["dt"])
    assert found == {"dt": {"numpy_c": 0, "c_xdp": 0, "c_tc": 0}}
    assert asked["c"] == [900, piece, piece, 600, len(few.rows)]
    # Each number twice: XDP and TC.
    assert asked["kernel"] == [900, 900, piece, piece, 300, 300, 0, 0]


def counting(classify, asked: list[int]):
    """Return a function that does the same and appends the number of vectors, which are the last argument."""
    return lambda *args: asked.append(len(args[-1])) or classify(*args)


CORRUPTED = ("nn_q16", "nn_fused", "dt")  # the classifiers whose structs `corrupted` can change


def corrupted(params: bytes) -> bytes:
    """Return a struct with one weight of a net changed, or with a tree that decides nothing at its root."""
    if len(params) == MLP_Q16.itemsize:
        net = np.frombuffer(params, MLP_Q16, 1).copy()
        net["w"][0, 0, 0, :12] += np.where(np.arange(12) == np.abs(net["w"][0, 0, 0, :12]).argmin(), 1, 0).astype("i1")
        return net.tobytes()
    if len(params) == MLP_FUSED.itemsize:
        net = np.frombuffer(params, MLP_FUSED, 1).copy()
        net["w"][0, 0, :12, 0] += np.where(np.arange(12) == 5, 100, 0)
        return net.tobytes()
    tree = np.frombuffer(params, TREE, 1).copy()
    tree["node"][0, 0] = TREE_LEAF << 12
    return tree.tobytes()


@pytest.fixture
def few(sample):
    """Return the sample's first packets."""
    return replace(sample, rows=sample.rows[:300])


def test_a_wrong_weight_in_c_is_seen(models, few, monkeypatch):
    right = type(models["binary"]).params
    monkeypatch.setattr(type(models["binary"]), "params", lambda model, kind: corrupted(right(model, kind)))
    found = parity.compare(models.values(), few, 2000, user_space=True, structs=CORRUPTED)
    assert found["nn_q16"]["numpy_c"] > 0
    assert found["nn_fused"]["numpy_c"] > 0
    assert found["dt"]["numpy_c"] > 0


@pytest.mark.root
@pytest.mark.bpf
def test_a_wrong_weight_in_the_kernel_is_seen(models, few, monkeypatch):
    load = Program.set_params
    monkeypatch.setattr(Program, "set_params", lambda program, params: load(program, corrupted(params)))
    found = parity.compare([models["multi"]], few, 2000, structs=CORRUPTED)
    assert {name: row["numpy_c"] for name, row in found.items()} == dict.fromkeys(CORRUPTED, 0)
    assert all(row[hook] > 0 for row in found.values() for hook in ("c_xdp", "c_tc"))


def test_a_comparison_of_no_vectors_is_refused(models, few):
    with pytest.raises(UserError, match="n is 0: use a whole number from 1 to 10,000,000"):
        parity.compare(models.values(), few, 0)
