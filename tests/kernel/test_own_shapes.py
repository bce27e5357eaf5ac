"""Models of other shapes than the paper's: NumPy, C, XDP and TC agree in every bit, in each arithmetic and layout."""

from dataclasses import replace

import numpy as np
import pytest

from ids_repro import config
from ids_repro.data.features import FEATURES
from ids_repro.evaluate import parity_vectors
from ids_repro.evaluate.replay import classify_in_kernel, load_program
from ids_repro.evaluate.rows import classify_in_c, classify_in_numpy
from ids_repro.kernel.program import Program
from ids_repro.kernel.variants import VARIANTS
from ids_repro.models import pipeline
from ids_repro.models.int_mlp_log2 import quantize_log2
from ids_repro.models.shape import Shape

SHORT = config.profile("smoke", epochs=1, min_steps=100)
N = 2_000
# A task, a shape, and whether the kernel's programs run too; programs of wide nets take the longest to build.
TABLE = [
    ("binary", Shape((8,), 1), "xdp"),
    ("multi", Shape((16, 16), 12, ("sport", "dport")), "tc"),
    ("multi", Shape((32, 32, 32)), None),
    ("binary", Shape((9, 33), 5, FEATURES[1:]), None),
    ("binary", Shape((64,), 16, ("iat",)), None),
    ("multi", Shape((64, 64, 64), 16), "xdp"),
]


@pytest.mark.root
@pytest.mark.bpf
@pytest.mark.parametrize(("task", "shape", "hook"), TABLE, ids=str)
def test_no_bit_differs(flows, task, shape, hook):
    model = pipeline.quantize_model(pipeline.train_model(flows, task, 0, SHORT, shape=shape), flows)
    x = next(parity_vectors.pieces(model, N))
    for struct in model.twins:
        expected = classify_in_numpy(model, struct, x)
        same(classify_in_c(model, struct, x), expected)
        if hook:
            with load_program(struct, model, hook) as program:
                same(classify_in_kernel(program, x), expected)


@pytest.mark.root
@pytest.mark.bpf
@pytest.mark.parametrize("hidden", [(8,), (24, 16, 40)])
def test_no_bit_differs_in_the_papers_layout(flows, hidden):
    model = pipeline.train_model(flows, "binary", 0, SHORT, shape=Shape(hidden))
    model = pipeline.quantize_model(model, flows)
    x = next(parity_vectors.pieces(model, 200))
    with Program(replace(VARIANTS["nn_q16_paper"], probe=True, hidden=hidden), model.params("nn_q16")) as program:
        same(classify_in_kernel(program, x), classify_in_numpy(model, "nn_q16", x))


@pytest.mark.root
@pytest.mark.bpf
def test_no_bit_differs_in_the_net_of_a_detector(flows, detector):
    model = pipeline.train_model(flows, "binary", 0, SHORT, shape=Shape((40, 12)))
    net = replace(quantize_log2(model.weights, model.scaler), flag_at=0)
    model = replace(detector, weights=model.weights, twins=detector.twins | {"nn_log2": net})
    x = next(parity_vectors.pieces(model, N))
    logits, _ = expected = classify_in_numpy(model, "nn_log2", x)
    same(classify_in_c(model, "nn_log2", x), expected)
    with load_program("nn_log2", model) as program:
        same(classify_in_kernel(program, x), (logits, logits[:, 1] - logits[:, 0] >= 0))


@pytest.mark.root
@pytest.mark.bpf
def test_no_secret_of_the_hash_makes_a_program_that_the_verifier_refuses(monkeypatch):
    """With this one, clang 14 copied a packet's field that was never set."""
    monkeypatch.setattr("secrets.randbits", lambda _: 0xB5EEC224AE983673)
    Program(replace(VARIANTS["nn_q16_packed"], probe=True, hidden=(8,))).close()


def same(found: tuple, expected: tuple) -> None:
    """Compare logits and classes."""
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
