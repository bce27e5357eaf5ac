"""The loaded kernel program as an implementation: feature vectors, or a capture replayed with its own clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from tqdm.auto import tqdm

from ..config import TASKS
from ..data.packets import Capture
from ..kernel.program import Program
from ..kernel.variants import VARIANTS
from ..models.model import Model
from ..native.layouts import PROBE
from .rows import KERNEL_PROGRAMS


def load_program(classifier: str, n_classes: int, hook: str = "xdp") -> Program:
    """Load the kernel program of a name in KERNEL_PROGRAMS for test runs, without a model."""
    return Program(replace(VARIANTS[KERNEL_PROGRAMS[classifier]], hook=hook, n_classes=n_classes, probe=True))


def classify_in_kernel(program: Program, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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


def kernel_verdicts(models: Sequence[Model], capture: Capture, packet: np.ndarray) -> dict[tuple[str, int], dict]:
    """Replay a capture through XDP for every model: what the kernel itself says, for Tables II and III.

    Parameters
    ----------
    packet : ndarray of shape (n,), int
        Indices of the packets whose verdicts are wanted.

    Returns
    -------
    dict
        (task, seed) to {"nn_q16_kernel": ndarray of shape (n,), "nn_fused_kernel": ..., "dt_kernel": ...}.
    """
    out: dict[tuple[str, int], dict] = {(m.task, m.seed): {} for m in models}
    with tqdm(total=len(KERNEL_PROGRAMS) * len(models), desc="replaying in the kernel", unit="replay") as bar:
        for task, classes in ((t, c) for t, c in TASKS.items() if any(m.task == t for m in models)):
            for classifier in KERNEL_PROGRAMS:
                with load_program(classifier, len(classes)) as program:
                    for model in (m for m in models if m.task == task):
                        program.set_params(model.params(classifier))
                        found = replay(program, capture)["verdict"][packet]
                        out[model.task, model.seed][f"{classifier}_kernel"] = found
                        bar.update()
    return out
