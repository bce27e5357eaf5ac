"""Counts, verdicts, flows and suspects are read from a loaded program, and its model is replaced."""

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
from ids_repro.kernel.variants import VARIANTS
from ids_repro.models.int_mlp_fused import quantize_fused
from ids_repro.models.int_tree import IntTree
from ids_repro.native.layouts import COUNTS, PROBE, TREE_LEAF, VERDICTS, Q

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


def test_the_papers_layout_refuses_a_swap(models):
    with (
        Program(VARIANTS["nn_q16_paper"]) as loaded,
        pytest.raises(UserError, match="a map element for each"),
    ):
        loaded.swap(models["binary"].params("nn_q16"))
