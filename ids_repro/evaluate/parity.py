"""The differential oracle: NumPy integers, user-space C, XDP and TC on the same vectors and packets, no bit apart."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from tqdm.auto import tqdm

from ..config import UserError
from ..data.packets import Capture
from ..kernel.program import Program
from ..kernel.variants import HOOKS
from ..models.model import Model
from ..native import library
from . import parity_vectors
from .replay import classify_in_kernel, load_program, replay
from .rows import KERNEL_PROGRAMS, classify_in_c, classify_in_numpy

KERNEL_VECTORS = 100_000  # of a model's vectors, so many go through each kernel program too
TIED_VECTORS = 10_000  # so many more have two equal logits
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
        {"nn_q16": {"numpy_c": 0, "c_xdp": 0, "c_tc": 0}, "nn_fused": {...}, "dt": {...}}

    Raises
    ------
    UserError
        If n is below 1, or a program cannot be loaded.
    """
    if n < 1:
        raise UserError(f"parity needs at least 1 vector, not {n}")
    hooks = () if user_space else HOOKS
    out = {c: dict.fromkeys(["numpy_c", *(f"c_{hook}" for hook in hooks)], 0) for c in KERNEL_PROGRAMS}
    packets, _ = library.extract(capture.rows)
    steps = len(models) * len(KERNEL_PROGRAMS) * (n + min(n, TIED_VECTORS) + len(packets))
    with tqdm(total=steps, desc="parity", unit="vector", unit_scale=True) as bar:
        for model, classifier in itertools.product(models, KERNEL_PROGRAMS):
            with contextlib.ExitStack() as stack:
                programs = {
                    hook: stack.enter_context(load_program(classifier, model.n_classes, hook)) for hook in hooks
                }
                for one, count in ((parity_vectors.tied(model), min(n, TIED_VECTORS)), (model, n)):
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
    for x in parity_vectors.pieces(model, n):
        expected = classify_in_c(model, classifier, x)
        yield "numpy_c", _differences(classify_in_numpy(model, classifier, x), expected), len(x)
        logits, classes = (part[:kernel_vectors] for part in expected)
        for hook, program in programs.items():
            yield f"c_{hook}", _differences(classify_in_kernel(program, x[:kernel_vectors]), (logits, classes)), 0
        kernel_vectors = max(kernel_vectors - len(x), 0)


def _on_packets(
    model: Model, classifier: str, programs: dict[str, Program], capture: Capture, packets: np.ndarray
) -> Iterator[tuple[str, int]]:
    """Yield a pair of implementations and the packets that differ between them, or of which a feature does."""
    logits, classes = expected = classify_in_c(model, classifier, packets)
    yield "numpy_c", _differences(classify_in_numpy(model, classifier, packets), expected)
    for hook, program in programs.items():
        seen = replay(program, capture)
        found = _differences((seen["logits"][:, : logits.shape[1]], seen["verdict"]), (logits, classes))
        yield f"c_{hook}", found + int(np.sum(np.any(seen["x"] != packets, axis=1)))
