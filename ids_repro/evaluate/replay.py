"""Classify by the loaded kernel program: feature vectors, or a capture's packets at the times of the capture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from .. import parallel
from ..config import ROOT, UserError
from ..data import packets
from ..data.dataset import Dataset
from ..data.packet_table import Trace
from ..data.packets import Capture
from ..kernel.program import Program
from ..kernel.variants import REPLAY_FLOWS, VARIANTS
from ..models.model import Model
from ..native.layouts import PROBE, STRUCTS
from ..progress import show_progress
from ..text import say
from .rows import KERNEL_PROGRAMS, programs

AT_ONCE = 1_000_000  # packets that are replayed at once, by all CPUs together: 1 GB


def own_capture(data: Dataset, path: Path | None = None) -> Capture | None:
    """Read the capture that a data set was made from, to replay it; if that cannot be, print why.

    Parameters
    ----------
    data : Dataset
        Its metadata say where the capture is, what its SHA-256 is, and how it was read.
    path : Path, optional
        Where the capture is now, if it was moved.

    Returns
    -------
    Capture or None
        None if the data set is of several captures or of no capture file, or if it left packets out that are in the
        capture, so that the kernel would see others.

    Raises
    ------
    UserError
        If the file is missing, or is not the capture that the data set was made from.
    """
    meta, how = data.meta, data.meta.get("parameters", {})
    reasons = {
        "it is not of one capture file": meta.get("source") not in meta.get("sources", {}),
        "it has the flow rules go-flows": how.get("flow_rules") != "text",
        "its packets were sorted, or copies were left out": how.get("dedup_ms") or how.get("reorder_ms"),
        "it does not say where its capture is": not (path or meta.get("path")),
    }
    if why := [reason for reason, holds in reasons.items() if holds]:
        say(f"the kernel's verdicts are left out: the data set cannot be replayed, because {why[0]}")
        return None
    path = path or ROOT / meta["path"]
    if not path.is_file():
        raise UserError(f"{path}: the data set's capture is not there; set pcap to where it is, or run notebook 01")
    capture = packets.read(path)
    if capture.sha256 != meta["sources"][meta["source"]]:
        text = f"not the capture of the data set {meta['name']!r}, {meta['source']}, because its SHA-256 differs"
        raise UserError(f"{path}: {text}; set pcap to that one, or run notebooks 01 to 03 again with this one")
    return capture


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
    variant = replace(VARIANTS[programs(model)[struct]], hook=hook, n_classes=model.n_classes, hidden=model.hidden)
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
    out = {(m.task, m.seed): dict.fromkeys(f"{struct}_kernel" for struct in KERNEL_PROGRAMS) for m in models}
    jobs = [(task, struct) for task in dict.fromkeys(model.task for model in models) for struct in KERNEL_PROGRAMS]
    with show_progress(total=len(KERNEL_PROGRAMS) * len(models), desc="replaying in the kernel", unit="replay") as bar:

        def replayed(job: tuple[str, str]) -> None:
            task, struct = job
            some = [model for model in models if model.task == task]
            with load_program(struct, some[0]) as program:
                for model in some:
                    program.set_params(model.params(struct))
                    out[task, model.seed][f"{struct}_kernel"] = replay(program, capture)["verdict"][packet]
                    bar.update()

        list(parallel.in_threads(replayed, jobs, most=max(1, AT_ONCE // len(capture.rows))))
    return out
