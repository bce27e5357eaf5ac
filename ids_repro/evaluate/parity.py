"""Compare NumPy integers, user-space C, XDP and TC on the same vectors and packets: no bit may differ."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from .. import parallel
from ..config import number
from ..data.packets import Capture
from ..kernel.program import Program
from ..kernel.variants import HOOKS
from ..models.model import Model
from ..models.verdicts import verdicts
from ..native import library
from ..progress import show_progress
from . import parity_vectors
from .replay import AT_ONCE, classify_in_kernel, load_program, replay
from .rows import DETECTOR_PROGRAMS, KERNEL_PROGRAMS, classify_in_c, classify_in_numpy, programs

KERNEL_VECTORS = 100_000  # Each kernel program classifies at most this many of a model's vectors.
TIED_VECTORS = 10_000  # At most this many vectors are classified again by a model that has two equal logits.
Found = tuple[np.ndarray, np.ndarray]  # logits, and classes or a detector's verdicts
STRUCTS = tuple(KERNEL_PROGRAMS | DETECTOR_PROGRAMS)


def compare(
    models: Sequence[Model],
    capture: Capture,
    n: int,
    user_space: bool = False,
    kernel_vectors: int = KERNEL_VECTORS,
    tied_vectors: int = TIED_VECTORS,
    structs: Collection[str] = STRUCTS,
) -> dict[str, dict[str, int]]:
    """Count the vectors on which two implementations of one struct differ in a logit or in the class.

    Of a detector, the kernel must flag the same flows at the same packets as user space does.

    Parameters
    ----------
    models : sequence of Model
    capture : Capture
        Its packets are compared too: user space takes their features, and the kernel, which takes their frames, must
        find the same features.
    n : int
        Vectors for each model (`parity_vectors.pieces`).
    user_space : bool
        Whether to leave out the kernel, which needs root.
    kernel_vectors, tied_vectors : int
        At most this many of the n vectors go through each kernel program, and are compared again with tied logits.
    structs : collection of str
        Names in STRUCTS.

    Returns
    -------
    dict
        {"nn_q16": {"numpy_c": 0, "c_xdp": 0, "c_tc": 0}, "nn_fused": {...}, "dt": {...}, "nn_log2": {...}}

    Raises
    ------
    UserError
        If n is not within its `config.LIMITS`, or if a program cannot be loaded.
    """
    number("n", n)
    hooks = () if user_space else HOOKS
    out = {struct: dict.fromkeys(["numpy_c", *(f"c_{hook}" for hook in hooks)], 0) for struct in structs}
    for struct, pair, found in _compared(models, structs, hooks, capture, n, kernel_vectors, min(n, tied_vectors)):
        out[struct][pair] += found
    return out


def of_program(program: Program, model: Model, capture: Capture, x: np.ndarray) -> dict[str, int]:
    """Compare one loaded program with user space; without a classifier its features alone are compared.

    Parameters
    ----------
    program : Program
        Of a variant with ``probe``.
    model : Model
    capture : Capture
    x : ndarray of shape (n, 12), int64
        Features, Q16, for a program that classifies.

    Returns
    -------
    dict
        How many "vectors" and "packets" were compared, and on how many of both the two "differ".
    """
    packets, flow = library.extract(capture.rows)
    struct, loaded = program.variant.params, {program.variant.hook: program}
    if struct is None:
        differ = int(np.sum(np.any(replay(program, capture)["x"] != packets, axis=1)))
        return {"vectors": 0, "packets": len(packets), "differ": differ}
    program.set_params(model.params(struct))
    found = itertools.chain(
        _on_piece(model, struct, loaded, x, len(x)), _on_packets(model, struct, loaded, capture, packets, flow)
    )
    return {"vectors": len(x), "packets": len(packets), "differ": sum(differ for _, differ, _ in found)}


def _compared(
    models: Sequence[Model],
    structs: Collection[str],
    hooks: Collection[str],
    capture: Capture,
    n: int,
    kernel_vectors: int,
    tied: int,
) -> Iterator[tuple[str, str, int]]:
    """Yield a struct, a pair of implementations and on how many vectors they differ; show the progress."""
    packets, flow = library.extract(capture.rows)
    pairs = [(model, struct) for model in models for struct in structs if struct in programs(model)]
    steps = len(pairs) * (n + tied + len(packets))
    with show_progress(total=steps, desc="parity", unit="vector", unit_scale=True) as bar:

        def differences(of: tuple[Model, str]) -> list[tuple[str, str, int]]:
            (model, struct), made = of, []
            with contextlib.ExitStack() as stack:
                loaded = {hook: stack.enter_context(load_program(struct, model, hook)) for hook in hooks}
                parts = (
                    _on_vectors(parity_vectors.tied(model), struct, loaded, tied, kernel_vectors),
                    _on_vectors(model, struct, loaded, n, kernel_vectors),
                    _on_packets(model, struct, loaded, capture, packets, flow),
                )
                for pair, found, done in itertools.chain(*parts):
                    made.append((struct, pair, found))
                    bar.update(done)
            return made

        for made in parallel.in_threads(differences, pairs, most=max(1, AT_ONCE // (n + len(packets)))):
            yield from made


def _on_vectors(
    model: Model, struct: str, loaded: dict[str, Program], n: int, kernel_vectors: int
) -> Iterator[tuple[str, int, int]]:
    """Yield a pair of implementations, on how many vectors of a piece they differ, and how many were finished now."""
    for program in loaded.values():
        program.set_params(model.params(struct))
    for x in parity_vectors.pieces(model, n):
        yield from _on_piece(model, struct, loaded, x, kernel_vectors)
        kernel_vectors = max(kernel_vectors - len(x), 0)


def _on_piece(
    model: Model, struct: str, loaded: dict[str, Program], x: np.ndarray, kernel_vectors: int
) -> Iterator[tuple[str, int, int]]:
    logits, classes = expected = classify_in_c(model, struct, x)
    yield "numpy_c", _differences(classify_in_numpy(model, struct, x), expected), len(x)
    part, classes = slice(kernel_vectors), verdicts(model, struct, expected)
    for hook, program in loaded.items():
        found = classify_in_kernel(program, x[part])
        yield f"c_{hook}", _differences(found, (logits[part], classes[part])), 0


def _on_packets(
    model: Model, struct: str, loaded: dict[str, Program], capture: Capture, packets: np.ndarray, flow: np.ndarray
) -> Iterator[tuple[str, int, int]]:
    """Yield the same for the packets of a capture, of which `packets` holds the features and `flow` the flows."""
    for program in loaded.values():
        program.set_params(model.params(struct))
    logits, classes = expected = classify_in_c(model, struct, packets)
    yield "numpy_c", _differences(classify_in_numpy(model, struct, packets), expected), len(packets)
    classes = verdicts(model, struct, expected, flow)
    for hook, program in loaded.items():
        seen = replay(program, capture)
        found = _differences((seen["logits"][:, : logits.shape[1]], seen["verdict"]), (logits, classes))
        yield f"c_{hook}", found + int(np.sum(np.any(seen["x"] != packets, axis=1))), 0


def _differences(left: Found, right: Found) -> int:
    """Return the number of vectors that differ in a logit or in the class."""
    return int(np.sum(np.any(left[0] != right[0], axis=1) | (left[1] != right[1])))
