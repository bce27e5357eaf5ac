"""Counts, verdicts, flows and suspects are read from a loaded program, and its model is replaced.

This covers ids_repro.kernel.ring too, from which suspects come.
"""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from loaded_programs import FRAMES, RETURNS, UDP, ipv4, probed, program
from made_models import BLOCKED, port_tree

from ids_repro.config import UserError
from ids_repro.evaluate import parity_vectors
from ids_repro.evaluate.replay import load_program
from ids_repro.evaluate.rows import classify_by_struct
from ids_repro.kernel.program import Program
from ids_repro.kernel.variants import VARIANTS, Variant
from ids_repro.models.int_mlp_fused import quantize_fused
from ids_repro.models.int_tree import IntTree
from ids_repro.native.layouts import COUNTS, GENERATIONS, PROBE, TREE_LEAF, VERDICTS, Q

pytestmark = [pytest.mark.root, pytest.mark.bpf]


def test_reset_forgets_flows_and_counts():
    loaded = program("xdp", probe=True)
    probed("xdp", [UDP])
    loaded.reset()
    assert (loaded.counts()["packets"], loaded.counts()["reason"].sum()) == (0, 0)
    assert probed("xdp", [UDP, UDP])["first"].tolist() == [1, 0]


def test_our_structs_are_as_large_as_the_kernels(models):
    loaded = program("xdp", probe=True)
    assert loaded.leaf_size("counts") == COUNTS.itemsize
    assert loaded.leaf_size("verdicts") == VERDICTS.itemsize
    assert program("xdp", "dt", action="filter").leaf_size("params") == len(port_tree(2).to_bytes())
    for change in ("set_params", "swap"):
        with pytest.raises(UserError, match="quantize it again"):
            getattr(program("xdp", "dt", action="filter"), change)(models["binary"].params("nn_q16"))


def test_parameters_are_swapped_while_the_program_runs():
    loaded = program("xdp", "dt", action="filter")
    loaded.set_params(IntTree(np.zeros(1, int), np.full(1, TREE_LEAF), np.zeros(1, int), 2).to_bytes())
    assert loaded.run(ipv4(dport=BLOCKED)) == RETURNS["xdp", "pass"]
    loaded.set_params(port_tree(2).to_bytes())
    assert loaded.run(ipv4(dport=BLOCKED)) == RETURNS["xdp", "drop"]


def test_suspicious_packets_go_to_the_ring_buffer_and_no_further():
    loaded = program("xdp", "dt", action="redirect")
    attack, arp = ipv4(dport=BLOCKED, payload=500), FRAMES["arp"][0]
    assert [loaded.run(frame) for frame in (UDP, attack, arp)] == [2, 1, 2]
    (suspect,) = loaded.suspects()
    assert (suspect["class"], suspect["len"], suspect["caplen"]) == (1, len(attack), 128)
    assert suspect["data"].tobytes() == attack[:128]
    assert suspect["x"][:3].tolist() == [v << Q for v in (1234, BLOCKED, 17)]
    assert loaded.suspects().size == 0
    assert loaded.counts()["lost"] == 0


def random_nets(model, n: int) -> list[bytes]:
    """Return n nets of the model's shape with random weights, which decide differently."""
    rng = np.random.default_rng(0)
    nets = [[rng.normal(size=w.shape) for w in model.mlp.weights()] for _ in range(n)]
    return [quantize_fused(weights, model.scaler).to_bytes() for weights in nets]


@pytest.mark.parametrize("classifier", ["nn_fused", "dt"])
def test_models_are_swapped_under_traffic_without_a_mixture(models, classifier):
    swaps, batch = 400, 5000
    model = models["multi"]
    x = next(parity_vectors.pieces(model, 2000))
    two = random_nets(model, 2) if classifier == "nn_fused" else [port_tree(7).to_bytes(), model.params("dt")]
    expected = [classify_by_struct(classifier, params, 7, x)[1] for params in two]
    assert np.mean(expected[0] != expected[1]) > 0.2
    probes = np.zeros(batch, PROBE)
    probes["use_x"], probes["x"] = 1, x[np.arange(batch) % len(x)]
    stop, seen = threading.Event(), []
    with load_program(classifier, model) as loaded:
        loaded.set_params(two[0])

        def send() -> None:
            while not stop.is_set():
                seen.append(loaded.probe(probes)[["generation", "verdict"]].copy())

        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(send)
            for number in range(1, swaps + 1):
                assert loaded.swap(two[number % 2]) == number
            stop.set()
            sending.result()
        out = np.concatenate(seen)
        assert len(out) >= 100_000 and len(np.unique(out["generation"])) > swaps // 2
        at = np.arange(len(out)) % batch % len(x)
        assert (out["verdict"] == np.where(out["generation"] % 2, expected[1][at], expected[0][at])).all()
        # Every verdict is counted under its generation. None is lost when a later generation takes the same place.
        assert loaded.verdicts().tolist() == np.bincount(out["verdict"], minlength=8).tolist()
        last = out["verdict"][out["generation"] == swaps]
        assert loaded.verdicts(swaps).tolist() == np.bincount(last, minlength=8).tolist()


@pytest.fixture
def counting():
    """A tree with the verdicts of a packet in each of its generations so far, of which more are counted than kept."""
    with Program(Variant(classifier="dt"), port_tree(2).to_bytes()) as loaded:
        for _ in range(GENERATIONS + 5):
            loaded.run(ipv4(dport=BLOCKED))
            loaded.swap(port_tree(2).to_bytes())
        yield loaded


@pytest.mark.parametrize("step", range(5))
def test_a_swap_that_is_killed_before_any_of_its_writes_counts_nothing_twice_and_loses_nothing(counting, step):
    """They are the model, the sum of what is retired, how much that is, the freed place, and the new generation."""
    wanted, before = [0, GENERATIONS + 5, *[0] * 6], counting.generation

    class Killed(type(counting)):
        left = step

        def _write(self, *args):
            if not Killed.left:
                os.kill(os.getpid(), signal.SIGKILL)
            Killed.left -= 1
            super()._write(*args)

    child = os.fork()
    if not child:
        counting.__class__ = Killed
        counting.swap(port_tree(2).to_bytes())
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert (counting.generation, counting.verdicts().tolist()) == (before, wanted)
    assert counting.swap(port_tree(2).to_bytes()) == before + 1
    assert counting.verdicts().tolist() == wanted
    for _ in range(GENERATIONS + 1):
        counting.swap(port_tree(2).to_bytes())
    assert counting.verdicts().tolist() == counting.by_generation()[0]["n"].tolist() == wanted


def test_who_reads_while_models_are_swapped_never_sees_a_verdict_too_many_or_too_few(counting):
    seen, swaps = set(), 300
    with ThreadPoolExecutor(1) as pool:
        swapping = pool.submit(lambda: [counting.swap(port_tree(2).to_bytes()) for _ in range(swaps)])
        reads = 0
        while not swapping.done():
            seen.add(int(counting.verdicts().sum()))
            reads += 1
        swapping.result()
    assert reads > swaps / 2 and seen == {GENERATIONS + 5}


def test_the_papers_layout_refuses_a_swap(models):
    with (
        Program(VARIANTS["nn_q16_paper"]) as loaded,
        pytest.raises(UserError, match="a map element for each"),
    ):
        loaded.swap(models["binary"].params("nn_q16"))
