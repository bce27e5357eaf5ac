"""Inference time (Sec. V-A): as the paper measured it, as it is in C, and inside the kernel -> records."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from tqdm.auto import tqdm

from .. import records
from ..config import RESULTS, TASKS, Profile
from ..data import dataset
from ..data.features import as_float
from ..data.packets import Capture
from ..implementations import rows_in
from ..kernel.program import Program
from ..kernel.variants import VARIANTS
from ..models.model import Model, load_model
from ..native import library
from .rows import KERNEL_PROGRAMS

INFERENCE = RESULTS / "inference.jsonl"
LOOP = 10_000  # vectors that one call of C classifies
SINGLE_CALLS = 50  # calls of one sample each in a round
WARM_UP = 5  # before so many calls, one that does not count
KERNEL_RUNS = 20_000  # test runs of one packet in a round


Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Case:
    """Something that is timed.

    Parameters
    ----------
    row : str
        Row of Tables II and III, or what there is to subtract.
    how : {"python_single", "ctypes_single", "ctypes_empty", "c_loop", "kernel_packet"}
        One sample at a time from Python; the C so; that call with nothing to classify; the C in a loop over vectors;
        one packet through the kernel program.
    measure : callable
        Returns the time of one inference [ns].
    """

    row: str
    how: str
    measure: Callable[[], float]


def mean_ns(call: Callable[[], object], calls: int, each: int = 1) -> Callable[[], float]:
    """What measures the time of one of the `each` things that a call does [ns], as the mean of so many calls."""

    def measure() -> float:
        for _ in range(calls // WARM_UP):  # brings the caches back that the case before it took
            call()
        begin = time.perf_counter_ns()
        for _ in range(calls):
            call()
        return (time.perf_counter_ns() - begin) / (calls * each)

    return measure


def _in_c(model: Model, x: np.ndarray) -> dict[str, Callable[[], object]]:
    """Return calls of C on the same vectors, by row."""
    rows = rows_in("c") | rows_in("c", optimise="-O0")
    params = {one.struct: model.params(one.struct) for one in rows.values()}
    n = model.n_classes
    return {
        row: partial(library.predict, one.struct, params[one.struct], n, x, one.optimise) for row, one in rows.items()
    }


def user_space_cases(model: Model, x: np.ndarray) -> list[Case]:
    """Everything that is timed in user space on one model, for features of shape (n, 12), int64, Q16."""
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
    """One packet of a known flow through XDP programs: flow extraction alone, and with each classifier."""
    with contextlib.ExitStack() as stack:
        cases = []
        for classifier, name in {"flow": "flow", **KERNEL_PROGRAMS}.items():
            params = None if classifier == "flow" else model.params(classifier)
            variant = replace(VARIANTS[name], n_classes=model.n_classes)
            program = stack.enter_context(Program(variant, params))
            cases.append(Case(f"{classifier}_kernel", "kernel_packet", lambda p=program: p.time(frame, KERNEL_RUNS)))
        yield cases


def interleaved(cases: Mapping[Key, Callable[[], float]], rounds: int, title: str) -> dict[Key, list[float]]:
    """Measure every case once a round, so that drift hits all alike; each case's values, with a progress bar."""
    ns: dict[Key, list[float]] = {key: [] for key in cases}
    for _ in tqdm(range(rounds), desc=title, unit="round"):
        for key, measure in cases.items():
            ns[key].append(measure())
    return ns


def _rounds(cases: list[Case], rounds: int, title: str) -> dict[tuple[str, str], list[float]]:
    """Measure every case in `interleaved` rounds; then what is a difference within a round."""
    ns = interleaved({(case.row, case.how): case.measure for case in cases}, rounds, title)
    for row, how in list(ns):
        if how == "ctypes_single":
            ns[row, "ctypes_less_call"] = list(np.subtract(ns[row, how], ns[row, "ctypes_empty"]))
        elif how == "kernel_packet" and row != "flow_kernel":
            ns[row, "kernel"] = list(np.subtract(ns[row, how], ns["flow_kernel", how]))
    return ns


def time_all(data: dataset.Dataset, profile: Profile, capture: Capture | None = None) -> list[dict]:
    """Measure the inference time of the first seed's models in interleaved rounds and record every round.

    Parameters
    ----------
    data : Dataset
        Whose vectors are classified.
    capture : Capture, optional
        Whose first packet goes through the kernel programs; without it the kernel is left out, and root not needed.

    Returns
    -------
    list of dict
        The records, of kind "inference".
    """
    made = []
    torch.set_num_threads(1)
    for model in (load_model(task, profile.seeds[0]) for task in TASKS):
        started, cases = time.time(), user_space_cases(model, data.x[:LOOP])
        with contextlib.ExitStack() as stack:
            if capture is not None:
                cases += stack.enter_context(kernel_cases(model, capture.headers()[0]))
            found = _rounds(cases, profile.timing_rounds, f"timing, {model.task}")
        for (row, how), values in found.items():
            asked = {"task": model.task, "row": row, "how": how, "dataset": data.meta["name"], "profile": profile.name}
            identity = {"model_sha256": model.sha256(), "data_hash": model.data_sha256}
            raw = {"ns_per_inference": values}
            made.append(records.append(INFERENCE, "inference", asked, raw, started=started, identity=identity))
    return made
