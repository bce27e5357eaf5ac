"""Classify by the loaded kernel program: feature vectors, or a capture's packets at the times of the capture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..config import TASKS
from ..data.packet_table import Trace
from ..data.packets import Capture
from ..kernel.program import Program
from ..kernel.variants import VARIANTS
from ..models.model import Model
from ..native.layouts import PROBE, STRUCTS
from ..progress import show_progress
from .rows import KERNEL_PROGRAMS, programs

REPLAY_FLOWS = 1 << 20  # so many that no bucket of the flow table is full, and no flow of a capture is evicted


def load_program(struct: str, model: Model, hook: str = "xdp") -> Program:
    """Load a kernel program for test runs, with a model.

    Parameters
    ----------
    struct : str
        What the program reads, a name in `rows.programs`.
    model : Model
        Others of its task can replace it.
    hook : {"xdp", "tc"}
        What the program is built for.

    Raises
    ------
    UserError
        If the program cannot be built or loaded; see `kernel.program.Program`.
    """
    variant = replace(VARIANTS[programs(model)[struct]], hook=hook, n_classes=model.n_classes)
    return Program(replace(variant, probe=True, flows=REPLAY_FLOWS), model.params(struct))


def classify_in_kernel(program: Program, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Classify feature vectors by a loaded program, each in a test run of its own.

    Parameters
    ----------
    program : Program
        A program of `load_program`.
    x : ndarray of shape (n, 12), int64
        Features, Q16.

    Returns
    -------
    logits : ndarray of shape (n, n_classes) or (n, 0), int64
        Those of a net; a tree has none.
    classes : ndarray of shape (n,), int64
    """
    probes = np.zeros(len(x), PROBE)
    probes["use_x"], probes["x"] = 1, x
    out = program.probe(probes)
    n = program.variant.n_classes if STRUCTS[program.variant.params].logits else 0
    return out["logits"][:, :n], out["verdict"]


def replay(program: Program, capture: Capture | Trace) -> np.ndarray:
    """Send a capture's packets through a loaded program, each at the time of its time stamp.

    Parameters
    ----------
    program : Program
        A program of `load_program`. Its counts and flows are reset first.
    capture : Capture or Trace
        The packets.

    Returns
    -------
    ndarray of shape (n_packets,), dtype PROBE
        The features, logits and verdict that the program itself computed for each packet.
    """
    program.reset()
    probes = np.zeros(len(capture.rows), PROBE)
    probes["now_ns"] = capture.rows["ts_ns"]
    return program.probe(probes, capture.headers())


def kernel_verdicts(
    models: Sequence[Model], capture: Capture | Trace, packet: np.ndarray
) -> dict[tuple[str, int], dict[str, np.ndarray]]:
    """Replay a capture through XDP for every model, and return the kernel's own verdicts for Tables II and III.

    Parameters
    ----------
    models : sequence of Model
        Quantized models.
    capture : Capture or Trace
        The packets.
    packet : ndarray of shape (n,), int
        Indices of the packets whose verdicts are wanted.

    Returns
    -------
    dict
        (task, seed) to {"nn_q16_kernel": ndarray of shape (n,), "nn_fused_kernel": ..., "dt_kernel": ...}.
    """
    out: dict[tuple[str, int], dict] = {(m.task, m.seed): {} for m in models}
    with show_progress(total=len(KERNEL_PROGRAMS) * len(models), desc="replaying in the kernel", unit="replay") as bar:
        for task in TASKS:
            some = [model for model in models if model.task == task]
            for struct in KERNEL_PROGRAMS if some else ():
                with load_program(struct, some[0]) as program:
                    for model in some:
                        program.set_params(model.params(struct))
                        found = replay(program, capture)["verdict"][packet]
                        out[model.task, model.seed][f"{struct}_kernel"] = found
                        bar.update()
    return out
