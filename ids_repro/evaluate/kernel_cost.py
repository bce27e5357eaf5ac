"""Measure what a packet costs in the kernel, for every variant in interleaved rounds of test runs; write records."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .. import machine_load, records
from ..config import RESULTS, TASKS, Profile
from ..data.packets import Capture
from ..kernel.program import Program, load_all
from ..kernel.variants import VARIANTS, Variant, every_variant
from ..models.model import Model
from ..native import library
from .kernels import DETECTOR
from .parity_vectors import random_vectors
from .timing import interleaved, mean_ns

# Name of the traffic, and the `churn` of a variant that makes this traffic out of one packet.
TRAFFIC = {"one_flow": None, "new_flows": "flows"}
CHURN = TRAFFIC | {"new_ports": "ports"}
RUNS = 10_000  # of one program in a round
# Before the kernel runs an XDP program many times, it changes a dispatcher and sleeps until all CPUs know of it. So
# a bucket of the flow table is not in the caches when it is touched first, which takes about 100 ns. In a flood that
# happens once, so a round of new flows is longer: it touches each of the 8,192 buckets twelve times.
NEW_RUNS = 100_000
FLOAT = "nn_float_c"  # The compiled float net runs in user space, on vectors: it has no packet and no flow.
TABLES = (1 << 10, 1 << 16, 1 << 18)  # entries of the flow tables that `churn` measures
CHURNED = ("flow", "flow_lru", "nn_fused_packed")  # and the variants, names in VARIANTS
BENCH = (*VARIANTS, "nn_fused_packed_7", "dt_7")  # what `bench` measures, by `name_of`, and what gets new flows


Key = tuple[str, ...]
Models = Mapping[int | str, Model]


def name_of(name: str, variant: Variant) -> str:
    """Return the name of a variant in tables, such as "nn_fused_packed" or "nn_fused_packed_tc_7".

    Parameters
    ----------
    name : str
        The variant's name in `kernel.variants.VARIANTS`.
    variant : Variant
        The name gets "_tc" if the hook is TC, and "_7" if there are seven classes.
    """
    parts = [name, "tc" * (variant.hook == "tc"), "7" * (variant.n_classes == len(TASKS["multi"]))]
    return "_".join(part for part in parts if part)


def _load(stack: contextlib.ExitStack, wanted: Mapping[Key, Variant], models: Models) -> dict[Key, Program]:
    loads = []
    for variant in wanted.values():
        model = models[DETECTOR if variant.evidence else variant.n_classes]
        loads.append((replace(variant, hidden=model.hidden), model.params(variant.params) if variant.params else None))
    loaded = dict(zip(wanted, load_all(loads), strict=True))
    for program in loaded.values():
        stack.callback(program.close)
    return loaded


def _kernel_ns(program: Program, frame: bytes) -> Callable[[], float]:
    runs = NEW_RUNS if program.variant.churn else RUNS
    return lambda: program.time(frame, runs)


def _float_ns(model: Model) -> Callable[[], float]:
    params, x = model.params("nn_float"), random_vectors(RUNS)
    return mean_ns(lambda: library.predict("nn_float", params, model.n_classes, x, hidden=model.hidden), 1, RUNS)


Measured = tuple[dict[Key, list[float]], dict[str, dict[str, int]]]


def _measure(models: Models, capture: Capture, rounds: int, names: Collection[str]) -> Measured:
    """Return the times of each (name, traffic) in every round [ns per packet], and the sizes of each name's program.

    All variants and the float net are measured if `names` is empty.
    """
    frame = capture.headers()[0]
    rows = {name_of(name, variant): variant for name, variant in every_variant()}
    wanted = {
        (row, traffic): replace(variant, churn=churn)
        for row, variant in rows.items()
        for traffic, churn in TRAFFIC.items()
        if (not names or row in names) and (not churn or row in BENCH)
    }
    with contextlib.ExitStack() as stack:
        loaded = _load(stack, wanted, models)
        cases = {key: _kernel_ns(program, frame) for key, program in loaded.items()}
        sizes = {row: program.size() for (row, traffic), program in loaded.items() if traffic == "one_flow"}
        if not names or FLOAT in names:
            cases[FLOAT, "one_flow"] = _float_ns(models[len(TASKS["binary"])])
        return interleaved(cases, rounds, "cost of a packet"), sizes


def _identity(models: Models) -> dict[str, Any]:
    """Return what makes two measurements of these models the same trial, for `records.append`."""
    hashes = [model.sha256() for model in models.values()]
    return {"model_sha256": hashes, "data_hash": next(iter(models.values())).data_hash}


def variants(
    models: Models,
    capture: Capture,
    profile: Profile,
    results: Path = RESULTS,
    names: Collection[str] = (),
) -> pd.DataFrame:
    """Measure variants with packets of one flow, those of BENCH also with a new flow for each packet, and record them.

    Parameters
    ----------
    models : mapping of int or str to Model
        Quantized models by number of classes, 2 and 7, and a detector as DETECTOR.
    capture : Capture
        Its first packet is sent.
    profile : Profile
        Its `timing_rounds` is the number of rounds; in each a variant gets RUNS packets of one flow and
        NEW_RUNS of new ones.
    results : Path
        Folder of the records, which are appended to kernel_cost.jsonl.
    names : collection of str
        What to measure, by `name_of`, or FLOAT. Everything by default.

    Returns
    -------
    DataFrame
        variant, traffic, median and quartiles over the rounds [ns per packet], and the size of the program
        (`kernel.program.Program.size`).
    """
    started = records.now()
    ns, sizes = _measure(models, capture, profile.timing_rounds, names)
    made, lines = [], []
    for (row, traffic), values in ns.items():
        asked, size = {"variant": row, "traffic": traffic}, sizes.get(row, {})
        wanted, raw = asked | {"profile": profile.name}, {"ns_per_packet": values} | size
        path = results / "kernel_cost.jsonl"
        made.append(records.append(path, "kernel_cost", wanted, raw, started=started, identity=_identity(models)))
        q1, median, q3 = np.percentile(values, (25, 50, 75))
        lines.append(asked | {"median_ns": median, "q1_ns": q1, "q3_ns": q3} | size)
    machine_load.say_if_busy(made)
    return pd.DataFrame(lines)


def churn(
    models: Models,
    capture: Capture,
    profile: Profile,
    results: Path = RESULTS,
    tables: Sequence[int] = TABLES,
) -> pd.DataFrame:
    """Measure the variants of CHURNED for several sizes of the flow table and each traffic of CHURN.

    Parameters
    ----------
    models, capture, profile
        See `variants`.
    results : Path
        Folder of the records, which are appended to flow_churn.jsonl.
    tables : sequence of int
        Entries of each flow table.

    Returns
    -------
    DataFrame
        classifier, flows_entries, traffic, and the median over the rounds [ns per packet].
    """
    started, frame = records.now(), capture.headers()[0]
    wanted = {
        (name, str(entries), traffic): replace(VARIANTS[name], flows=entries, churn=new)
        for name in CHURNED
        for entries in tables
        for traffic, new in CHURN.items()
    }
    with contextlib.ExitStack() as stack:
        cases = {key: _kernel_ns(program, frame) for key, program in _load(stack, wanted, models).items()}
        ns = interleaved(cases, profile.timing_rounds, "cost of new flows")
    lines = []
    for (name, entries, traffic), values in ns.items():
        asked = {"classifier": name, "flows_entries": int(entries), "traffic": traffic}
        wanted, raw = asked | {"profile": profile.name}, {"ns_per_packet": values}
        path = results / "flow_churn.jsonl"
        records.append(path, "flow_churn", wanted, raw, started=started, identity=_identity(models))
        lines.append(asked | {"median_ns": float(np.median(values))})
    return pd.DataFrame(lines)


def bench(models: Models, capture: Capture, rounds: int) -> dict[str, dict[str, float]]:
    """Measure the variants of BENCH, and record nothing.

    Parameters
    ----------
    models, capture
        See `variants`.
    rounds : int
        Number of rounds.

    Returns
    -------
    dict
        {"one_flow": {variant: median ns per packet}, "new_flows": {...}, "verified_insns": {variant: number}}.
    """
    ns, sizes = _measure(models, capture, rounds, BENCH)
    out = {t: {row: float(np.median(ns[row, t])) for row in BENCH} for t in TRAFFIC}
    return out | {"verified_insns": {row: sizes[row]["verified_insns"] for row in BENCH}}
