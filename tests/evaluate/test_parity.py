"""NumPy, C, XDP and TC agree bit for bit, and a single wrong weight would be seen."""

import json
from dataclasses import replace

import numpy as np
import pytest

from ids_repro.evaluate import parity, parity_vectors
from ids_repro.evaluate.replay import classify_in_kernel, kernel_verdicts
from ids_repro.evaluate.rows import KERNEL_PROGRAMS, classify_in_c
from ids_repro.kernel.program import Program
from ids_repro.native import library
from ids_repro.native.layouts import MLP_FUSED, MLP_Q16, TREE


@pytest.mark.root
@pytest.mark.bpf
def test_nothing_differs_on_10000_vectors_a_model_and_on_every_packet_of_the_sample(project, models):
    project.save(models)
    done = project.cli("parity", "--n", "10000", "--json")
    assert done.returncode == 0, done.stderr
    none = {"numpy_c": 0, "c_xdp": 0, "c_tc": 0}
    assert json.loads(done.stdout) == {"nn_q16": none, "nn_fused": none, "dt": none}
    assert done.stdout.count("\n") == 1
    assert "parity: 100%" in done.stderr


@pytest.mark.root
@pytest.mark.bpf
def test_n_vectors_are_compared_and_no_more_than_asked_in_the_kernel(models, few, monkeypatch):
    monkeypatch.setattr(parity, "KERNEL_PROGRAMS", {"dt": "dt"})
    monkeypatch.setattr(parity_vectors, "PIECE", 700)
    monkeypatch.setattr(parity, "TIED_VECTORS", 900)
    asked = {"c": [], "kernel": []}
    in_c, in_kernel = classify_in_c, classify_in_kernel
    monkeypatch.setattr(parity, "classify_in_c", lambda *args: asked["c"].append(len(args[2])) or in_c(*args))
    monkeypatch.setattr(
        parity, "classify_in_kernel", lambda *args: asked["kernel"].append(len(args[1])) or in_kernel(*args)
    )
    found = parity.compare([models["binary"]], few, 2000, kernel_vectors=1000)
    assert not any(sum(row.values()) for row in found.values())
    assert asked["c"] == [700, 200, 700, 700, 600, len(few.rows)]
    # XDP and TC
    assert asked["kernel"] == [700, 700, 200, 200, 700, 700, 300, 300, 0, 0]


def corrupted(params: bytes) -> bytes:
    """Change one weight of a net by one, or cut a tree at its root."""
    if len(params) == MLP_Q16.itemsize:
        net = np.frombuffer(params, MLP_Q16, 1).copy()
        net["w"][0, 0, 0, :12] += np.where(np.arange(12) == np.abs(net["w"][0, 0, 0, :12]).argmin(), 1, 0).astype("i1")
        return net.tobytes()
    if len(params) == MLP_FUSED.itemsize:
        net = np.frombuffer(params, MLP_FUSED, 1).copy()
        net["w"][0, 0, :12, 0] += np.where(np.arange(12) == 5, 100, 0)
        return net.tobytes()
    tree = np.frombuffer(params, TREE, 1).copy()
    tree["threshold"][0, 1] = np.iinfo(np.int64).max
    return tree.tobytes()


@pytest.fixture
def few(sample):
    """The sample's first packets."""
    return replace(sample, rows=sample.rows[:300])


def test_a_wrong_weight_in_c_is_seen(models, few, monkeypatch):
    right = type(models["binary"]).params
    monkeypatch.setattr(type(models["binary"]), "params", lambda model, kind: corrupted(right(model, kind)))
    found = parity.compare(models.values(), few, 2000, user_space=True)
    assert found["nn_q16"]["numpy_c"] > 0
    assert found["nn_fused"]["numpy_c"] > 0
    assert found["dt"]["numpy_c"] > 0


@pytest.mark.root
@pytest.mark.bpf
def test_a_wrong_weight_in_the_kernel_is_seen(models, few, monkeypatch):
    load = Program.set_params
    monkeypatch.setattr(Program, "set_params", lambda program, params: load(program, corrupted(params)))
    found = parity.compare([models["multi"]], few, 2000)
    assert {name: row["numpy_c"] for name, row in found.items()} == {"nn_q16": 0, "nn_fused": 0, "dt": 0}
    assert all(row[hook] > 0 for row in found.values() for hook in ("c_xdp", "c_tc"))


@pytest.mark.root
@pytest.mark.bpf
def test_the_kernels_verdicts_are_those_of_c_on_the_wanted_packets(models, few):
    wanted = np.arange(0, len(few.rows), 3)
    found = kernel_verdicts([models["multi"]], few, wanted)
    x, _ = library.extract(few.rows)
    for classifier in KERNEL_PROGRAMS:
        _, classes = classify_in_c(models["multi"], classifier, x[wanted])
        assert found["multi", 0][f"{classifier}_kernel"].tolist() == classes.tolist()
