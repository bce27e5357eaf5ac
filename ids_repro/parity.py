"""The differential oracle: NumPy integers, user-space C, XDP and TC on the same vectors and packets, no bit apart."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from tqdm.auto import tqdm

from . import native, vectors
from .config import TASKS, UserError
from .kernel import Program
from .packets import Capture
from .pipeline import Model
from .variants import HOOKS, PROBE, VARIANTS

# What is compared, and the kernel program that is it.
CLASSIFIERS = {"nn": "nn_q16_packed", "nn_fused": "nn_fused_packed", "dt": "dt"}
KERNEL_VECTORS = 100_000  # of a model's vectors, so many go through each kernel program too
TIED_VECTORS = 10_000  # so many more have two equal logits


def load(classifier: str, n_classes: int, hook: str = "xdp") -> Program:
    """Load the kernel program of a name in CLASSIFIERS for test runs, without a model."""
    return Program(replace(VARIANTS[CLASSIFIERS[classifier]], hook=hook, n_classes=n_classes, probe=True))


def in_numpy(model: Model, classifier: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits (n, n_classes; none for "dt") and classes (n,) by the NumPy reference."""
    if classifier == "dt":
        return np.zeros((len(x), 0), np.int64), model.int_tree.predict(x)
    logits = (model.int_mlp if classifier == "nn" else model.int_fused).logits(x)
    return logits, logits.argmax(axis=1)


def by_struct(classifier: str, params: bytes, n_classes: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same by bpf/user/library.c, from the bytes of the model's C struct."""
    if classifier == "dt":
        return np.zeros((len(x), 0), np.int64), native.predict_tree(params, x)
    return native.predict_mlp(params, n_classes, x, VARIANTS[CLASSIFIERS[classifier]].arithmetic)


def in_c(model: Model, classifier: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same by bpf/user/library.c."""
    return by_struct(classifier, model.params(classifier), model.n_classes, x)


def in_kernel(program: Program, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same by a loaded program, one test run a vector."""
    probes = np.zeros(len(x), PROBE)
    probes["use_x"], probes["x"] = 1, x
    out = program.probe(probes)
    n = program.variant.n_classes if program.variant.classifier == "nn" else 0
    return out["logits"][:, :n], out["verdict"]


def replay(program: Program, capture: Capture) -> np.ndarray:
    """Send a capture's packets through a loaded program with the capture's own clock.

    Returns
    -------
    ndarray of shape (n_packets,), dtype variants.PROBE
        The kernel's own features, logits and verdict of each packet.
    """
    program.reset()
    probes = np.zeros(len(capture.rows), PROBE)
    probes["now_ns"] = capture.rows["ts_ns"]
    return program.probe(probes, capture.headers())


def verdicts(models: Sequence[Model], capture: Capture, packet: np.ndarray) -> dict[tuple[str, int], dict]:
    """Replay a capture through XDP for every model: what the kernel itself says, for Tables II and III.

    Parameters
    ----------
    packet : ndarray of shape (n,), int
        Indices of the packets whose verdicts are wanted.

    Returns
    -------
    dict
        (task, seed) to {"nn_kernel": ndarray of shape (n,), "nn_fused_kernel": ..., "dt_kernel": ...}.
    """
    out: dict[tuple[str, int], dict] = {(m.task, m.seed): {} for m in models}
    with tqdm(total=len(CLASSIFIERS) * len(models), desc="replaying in the kernel", unit="replay") as bar:
        for task, classes in ((t, c) for t, c in TASKS.items() if any(m.task == t for m in models)):
            for classifier in CLASSIFIERS:
                with load(classifier, len(classes)) as program:
                    for model in (m for m in models if m.task == task):
                        program.set_params(model.params(classifier))
                        found = replay(program, capture)["verdict"][packet]
                        out[model.task, model.seed][f"{classifier}_kernel"] = found
                        bar.update()
    return out


Found = tuple[np.ndarray, np.ndarray]  # logits and classes


def _differences(left: Found, right: Found) -> int:
    """How many vectors differ in a logit or in the class."""
    return int(np.sum(np.any(left[0] != right[0], axis=1) | (left[1] != right[1])))


def compare(
    models: Sequence[Model],
    capture: Capture,
    n: int,
    user_space: bool = False,
    kernel_vectors: int = KERNEL_VECTORS,
) -> dict[str, dict[str, int]]:
    """Count the vectors on which two implementations of a classifier differ in a logit or in the class.

    Each model sees n vectors (`vectors.pieces`), TIED_VECTORS of them at most again with tied logits
    (`vectors.tied`), and every packet of the capture: as features in user space, as frames in the kernel, where a
    difference in a feature counts too.

    Parameters
    ----------
    models : sequence of Model
    capture : Capture
    n : int
        Vectors for each model.
    user_space : bool
        Leave out the kernel, which needs root.
    kernel_vectors : int
        How many of the n vectors each kernel program sees; the boundaries come first.

    Returns
    -------
    dict
        {"nn": {"numpy_c": 0, "c_xdp": 0, "c_tc": 0}, "nn_fused": {...}, "dt": {...}}

    Raises
    ------
    UserError
        If n is below 1, or a program cannot be loaded.
    """
    if n < 1:
        raise UserError(f"parity needs at least 1 vector, not {n}")
    hooks = () if user_space else HOOKS
    out = {c: dict.fromkeys(["numpy_c", *(f"c_{hook}" for hook in hooks)], 0) for c in CLASSIFIERS}
    packets, _ = native.extract(capture.rows)
    steps = len(models) * len(CLASSIFIERS) * (n + min(n, TIED_VECTORS) + len(packets))
    with tqdm(total=steps, desc="parity", unit="vector", unit_scale=True) as bar:
        for model, classifier in itertools.product(models, CLASSIFIERS):
            with contextlib.ExitStack() as stack:
                programs = {hook: stack.enter_context(load(classifier, model.n_classes, hook)) for hook in hooks}
                for one, count in ((vectors.tied(model), min(n, TIED_VECTORS)), (model, n)):
                    for program in programs.values():
                        program.set_params(one.params(classifier))
                    for pair, found, done in _on_vectors(one, classifier, programs, count, kernel_vectors):
                        out[classifier][pair] += found
                        bar.update(done)
                for pair, found in _on_packets(model, classifier, programs, capture, packets):
                    out[classifier][pair] += found
                bar.update(len(packets))
    return out


def _on_vectors(
    model: Model, classifier: str, programs: dict[str, Program], n: int, kernel_vectors: int
) -> Iterator[tuple[str, int, int]]:
    """Yield a pair of implementations, how many vectors of a piece differ between them, and how many are done now."""
    for x in vectors.pieces(model, n):
        expected = in_c(model, classifier, x)
        yield "numpy_c", _differences(in_numpy(model, classifier, x), expected), len(x)
        logits, classes = (part[:kernel_vectors] for part in expected)
        for hook, program in programs.items():
            yield f"c_{hook}", _differences(in_kernel(program, x[:kernel_vectors]), (logits, classes)), 0
        kernel_vectors = max(kernel_vectors - len(x), 0)


def _on_packets(
    model: Model, classifier: str, programs: dict[str, Program], capture: Capture, packets: np.ndarray
) -> Iterator[tuple[str, int]]:
    """Yield a pair of implementations and the packets that differ between them, or of which a feature does."""
    logits, classes = expected = in_c(model, classifier, packets)
    yield "numpy_c", _differences(in_numpy(model, classifier, packets), expected)
    for hook, program in programs.items():
        seen = replay(program, capture)
        found = _differences((seen["logits"][:, : logits.shape[1]], seen["verdict"]), (logits, classes))
        yield f"c_{hook}", found + int(np.sum(np.any(seen["x"] != packets, axis=1)))
