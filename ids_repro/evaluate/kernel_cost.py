"""What a packet costs in the kernel: every variant in interleaved rounds of test runs -> records."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from .. import records
from ..config import RESULTS, TASKS, Profile
from ..data.packets import Capture
from ..kernel.program import Program
from ..kernel.variants import VARIANTS, Variant, every_variant
from ..models.model import Model
from ..native import library
from .parity_vectors import random_vectors
from .timing import interleaved, mean_ns

TRAFFIC = {"one_flow": None, "new_flows": "flows"}  # what packets are, by the variant's churn
CHURN = TRAFFIC | {"new_ports": "ports"}
RUNS = 10_000  # of one program in a round
FLOAT = "nn_float_c"  # the compiled float net in user space, on vectors: no packet, no flow
TABLES = (1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18)  # entries, of the flow-churn figure

Key = tuple[str, ...]


def name_of(name: str, variant: Variant) -> str:
    """Name of a row: "nn_fused_packed", with the hook and seven classes where they are not XDP and two."""
    parts = [name, "tc" * (variant.hook == "tc"), "7" * (variant.n_classes == len(TASKS["multi"]))]
    return "_".join(part for part in parts if part)


def _load(stack: contextlib.ExitStack, variant: Variant, models: Mapping[int, Model]) -> Program:
    params = models[variant.n_classes].params(variant.params) if variant.params else None
    return stack.enter_context(Program(variant, params))


def _float_ns(model: Model) -> Callable[[], float]:
    params, x = model.params("nn_float"), random_vectors(RUNS)
    return mean_ns(lambda: library.predict("nn_float", params, model.n_classes, x), 1, RUNS)


Measured = tuple[dict[Key, list[float]], dict[str, dict[str, int]]]


def _measure(models: Mapping[int, Model], capture: Capture, rounds: int, names: Collection[str] = ()) -> Measured:
    """Times of each row and traffic [ns a packet] in every round, and the sizes of each row's programs."""
    frame, sizes, cases = capture.headers()[0], {}, {}
    wanted = {name_of(name, variant): variant for name, variant in every_variant()}
    wanted = {row: variant for row, variant in wanted.items() if not names or row in names}
    with contextlib.ExitStack() as stack:
        for row, variant in tqdm(wanted.items(), desc="building variants", unit="variant"):
            for traffic, churn in TRAFFIC.items():
                program = _load(stack, replace(variant, churn=churn), models)
                cases[row, traffic] = lambda program=program: program.time(frame, RUNS)
                sizes.setdefault(row, program.size())
        if not names:
            cases[FLOAT, "one_flow"] = _float_ns(models[len(TASKS["binary"])])
        return interleaved(cases, rounds, "cost of a packet"), sizes


def _append(kind: str, asked: dict, raw: dict, profile: Profile, models: Mapping[int, Model], started: float) -> None:
    identity = {"model_sha256": [model.sha256() for model in models.values()]}
    identity["data_hash"] = next(iter(models.values())).data_sha256
    records.append(
        RESULTS / f"{kind}.jsonl", kind, asked | {"profile": profile.name}, raw, started=started, identity=identity
    )


def variants(models: Mapping[int, Model], capture: Capture, profile: Profile) -> pd.DataFrame:
    """Measure every variant on one flow and on a new flow a packet, and record each with its size.

    Parameters
    ----------
    models : mapping of int to Model
        By number of classes, 2 and 7.
    capture : Capture
        Whose first packet is sent.
    profile : Profile
        Its `timing_rounds` of `RUNS` packets for each variant.

    Returns
    -------
    DataFrame
        variant, traffic, median and quartiles [ns a packet] over the rounds, and the program's size.
    """
    started = time.time()
    ns, sizes = _measure(models, capture, profile.timing_rounds)
    lines = []
    for (row, traffic), values in ns.items():
        asked, size = {"variant": row, "traffic": traffic}, sizes.get(row, {})
        _append("kernel_cost", asked, {"ns_per_packet": values} | size, profile, models, started)
        q1, median, q3 = np.percentile(values, (25, 50, 75))
        lines.append(asked | {"median_ns": median, "q1_ns": q1, "q3_ns": q3} | size)
    return pd.DataFrame(lines)


def churn(models: Mapping[int, Model], capture: Capture, profile: Profile) -> pd.DataFrame:
    """Measure flow extraction and the net against the size of the flow table, on one flow, new ports and new flows.

    Returns
    -------
    DataFrame
        classifier, flows_entries, traffic, median_ns.
    """
    started, frame, cases = time.time(), capture.headers()[0], {}
    with contextlib.ExitStack() as stack:
        sizes = [(name, entries) for name in ("flow", "nn_fused_packed") for entries in TABLES]
        for name, entries in tqdm(sizes, desc="building flow tables", unit="table"):
            for traffic, new in CHURN.items():
                program = _load(stack, replace(VARIANTS[name], flows=entries, churn=new), models)
                cases[name, str(entries), traffic] = lambda program=program: program.time(frame, RUNS)
        ns = interleaved(cases, profile.timing_rounds, "cost of new flows")
    lines = []
    for (name, entries, traffic), values in ns.items():
        asked = {"classifier": name, "flows_entries": int(entries), "traffic": traffic}
        _append("flow_churn", asked, {"ns_per_packet": values}, profile, models, started)
        lines.append(asked | {"median_ns": float(np.median(values))})
    return pd.DataFrame(lines)


BENCH = ("empty", "flow", "dt", "nn_q16_paper", "nn_q16_packed", "nn_fused_packed", "nn_fused_packed_7", "dt_7")


def bench(models: Mapping[int, Model], capture: Capture, rounds: int) -> dict[str, dict[str, float]]:
    """Medians of one interleaved run: {"one_flow": {variant: ns}, "new_flows": {...}, "verified_insns": {...}}."""
    ns, sizes = _measure(models, capture, rounds, BENCH)
    out = {t: {row: float(np.median(ns[row, t])) for row in BENCH} for t in TRAFFIC}
    return out | {"verified_insns": {row: sizes[row]["verified_insns"] for row in BENCH}}
