"""Measure inference time (Sec. V-A) as the paper did, in a loop in C, and inside the kernel; write records."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from .. import machine_load, records
from ..config import MODELS, RESULTS, Profile
from ..data import dataset
from ..data.features import as_float
from ..data.packets import Capture
from ..implementations import rows_in
from ..kernel.program import Program
from ..kernel.variants import VARIANTS
from ..models import pipeline
from ..models.model import Model
from ..native import library
from ..progress import show_progress
from .rows import KERNEL_PROGRAMS

LOOP = 10_000  # vectors that one call of C classifies
SINGLE_CALLS = 50  # calls in a round, each with one vector
WARM_UP = 5  # Before the timed calls comes one untimed call for every five of them.
KERNEL_RUNS = 20_000  # test runs of one packet in a round

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Case:
    """One thing that is timed.

    Parameters
    ----------
    row : str
        A row of Tables II and III, or "flow_kernel": the kernel program without a classifier, whose time is subtracted
        from that of the others.
    how : {"python_single", "ctypes_single", "ctypes_empty", "c_loop", "kernel_packet"}
        "python_single": a Python call classifies one vector. "ctypes_single": a call of C through ctypes does.
        "ctypes_empty": the same call with no vector. "c_loop": one call of C classifies many vectors. "kernel_packet":
        one packet goes through the kernel program.
    measure : callable
        Measures once and returns the time of one inference [ns].
    """

    row: str
    how: str
    measure: Callable[[], float]


def mean_ns(call: Callable[[], object], calls: int, each: int = 1) -> Callable[[], float]:
    """Return a function that times `calls` calls and returns the mean time of an item [ns].

    Parameters
    ----------
    call : callable
        What is timed.
    calls : int
        Number of calls that are timed together.
    each : int
        Number of items that one call handles.
    """

    def measure() -> float:
        for _ in range(calls // WARM_UP):  # The case before may have evicted this one's code and data from the caches.
            call()
        begin = time.perf_counter_ns()
        for _ in range(calls):
            call()
        return (time.perf_counter_ns() - begin) / (calls * each)

    return measure


def _in_c(model: Model, x: np.ndarray) -> dict[str, Callable[[], object]]:
    """Return, by row, a call that classifies the vectors in C, compiled with -O2 and with -O0."""
    rows = rows_in("c") | rows_in("c", optimise="-O0")
    params = {one.struct: model.params(one.struct) for one in rows.values()}
    n = model.n_classes
    return {
        row: partial(library.predict, one.struct, params[one.struct], n, x, one.optimise, model.hidden)
        for row, one in rows.items()
    }


def user_space_cases(model: Model, x: np.ndarray) -> list[Case]:
    """Return everything that is timed in user space on one model.

    Parameters
    ----------
    model : Model
        A quantized model.
    x : ndarray of shape (n, 12), int64
        Features, Q16. The cases that classify one vector take the first.

    Returns
    -------
    list of Case
    """
    floats, scaled = as_float(x[:1]), torch.as_tensor(model.scaler.transform(x[:1]), dtype=torch.float32)

    @torch.no_grad()
    def pytorch() -> None:
        model.mlp(scaled).argmax(dim=1)

    python = {"dt_sklearn": lambda: model.tree.predict(floats), "nn_pytorch": pytorch}
    calls = {how: _in_c(model, x[:n]) for how, n in (("ctypes_single", 1), ("ctypes_empty", 0))}
    in_turn = [(row, how, calls[how][row]) for row in calls["ctypes_single"] for how in calls]
    return [
        *(Case(row, "python_single", mean_ns(call, SINGLE_CALLS)) for row, call in python.items()),
        *(Case(row, how, mean_ns(call, SINGLE_CALLS)) for row, how, call in in_turn),
        *(Case(row, "c_loop", mean_ns(call, 1, len(x))) for row, call in _in_c(model, x).items()),
    ]


@contextlib.contextmanager
def kernel_cases(model: Model, frame: bytes) -> Iterator[list[Case]]:
    """Load XDP programs, one that only extracts features and one for each classifier, while the block runs.

    Parameters
    ----------
    model : Model
        A quantized model.
    frame : bytes
        The packet that goes through the programs. All packets but the first belong to a known flow.

    Yields
    ------
    list of Case
    """
    with contextlib.ExitStack() as stack:
        cases = []
        for struct, name in {"flow": "flow", **KERNEL_PROGRAMS}.items():
            params = None if struct == "flow" else model.params(struct)
            variant = replace(VARIANTS[name], n_classes=model.n_classes, hidden=model.hidden)
            program = stack.enter_context(Program(variant, params))
            cases.append(Case(f"{struct}_kernel", "kernel_packet", lambda p=program: p.time(frame, KERNEL_RUNS)))
        yield cases


def interleaved(cases: Mapping[Key, Callable[[], float]], rounds: int, title: str) -> dict[Key, list[float]]:
    """Measure every case once in each round, so that drift affects all cases alike, and show the progress.

    Parameters
    ----------
    cases : mapping of hashable to callable
        What measures each case.
    rounds : int
        Number of rounds.
    title : str
        What the progress bar says.

    Returns
    -------
    dict of hashable to list of float
        What each case returned in each round.
    """
    ns: dict[Key, list[float]] = {key: [] for key in cases}
    for _ in show_progress(range(rounds), desc=title, unit="round"):
        for key, measure in cases.items():
            ns[key].append(measure())
    return ns


def _rounds(cases: list[Case], rounds: int, title: str) -> dict[tuple[str, str], list[float]]:
    """Return the times of every case by (row, how) in every round, and the differences between cases of a round.

    "ctypes_less_call" is a call of C less the same call without a vector. "kernel" is a packet with a classifier less
    one without.
    """
    ns = interleaved({(case.row, case.how): case.measure for case in cases}, rounds, title)
    for row, how in list(ns):
        if how == "ctypes_single":
            ns[row, "ctypes_less_call"] = list(np.subtract(ns[row, how], ns[row, "ctypes_empty"]))
        elif how == "kernel_packet" and row != "flow_kernel":
            ns[row, "kernel"] = list(np.subtract(ns[row, how], ns["flow_kernel", how]))
    return ns


def time_all(
    data: dataset.Dataset,
    profile: Profile,
    capture: Capture | None = None,
    results: Path = RESULTS,
    folder: Path = MODELS,
) -> list[dict]:
    """Measure the inference time of the first seed's models in interleaved rounds, and record every round.

    Parameters
    ----------
    data : Dataset
        The vectors that are classified.
    profile : Profile
        Its first seed names the models, its `timing_rounds` the number of rounds.
    capture : Capture, optional
        Its first packet goes through the kernel programs. Without it the kernel is left out and root is not needed.
    results : Path
        Folder of the records, which are appended to inference.jsonl.
    folder : Path
        Folder of the models.

    Returns
    -------
    list of dict
        The records, of kind "inference".
    """
    made = []
    torch.set_num_threads(1)
    for model in pipeline.load_all(replace(profile, seeds=profile.seeds[:1]), folder, data):
        started, cases = records.now(), user_space_cases(model, data.x[:LOOP])
        with contextlib.ExitStack() as stack:
            if capture is not None:
                cases += stack.enter_context(kernel_cases(model, capture.headers()[0]))
            found = _rounds(cases, profile.timing_rounds, f"timing, {model.task}")
        for (row, how), values in found.items():
            asked = {"task": model.task, "row": row, "how": how, "profile": profile.name} | model.named(data)
            identity = {"model_sha256": model.sha256(), "data_hash": model.data_hash}
            raw = {"ns_per_inference": values}
            path = results / "inference.jsonl"
            made.append(records.append(path, "inference", asked, raw, started=started, identity=identity))
    machine_load.say_if_busy(made)
    return made
