"""What a packet costs in the kernel: every variant in interleaved rounds of test runs -> records."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from . import native, records
from .config import RESULTS, TASKS
from .kernel import Program
from .packets import Capture
from .pipeline import Model
from .variants import VARIANTS, Variant, every
from .vectors import random_vectors

COST = RESULTS / "kernel_cost.jsonl"
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


def _rounds(cases: Mapping[Key, Callable[[], float]], rounds: int, title: str) -> dict[Key, list[float]]:
    """Measure every case once a round, so that drift hits all alike."""
    ns: dict[Key, list[float]] = {key: [] for key in cases}
    for _ in tqdm(range(rounds), desc=title, unit="round"):
        for key, measure in cases.items():
            ns[key].append(measure())
    return ns


def _float_ns(model: Model) -> Callable[[], float]:
    params, x = model.params("nn_float"), random_vectors(RUNS)

    def measure() -> float:
        begin = time.perf_counter_ns()
        native.predict_float(params, model.n_classes, x)
        return (time.perf_counter_ns() - begin) / RUNS

    return measure


def _write(kind: str, asked: dict, raw: dict, models: Mapping[int, Model], started: float) -> dict:
    identity = {"model_sha256": [model.sha256() for model in models.values()]}
    identity["data_hash"] = next(iter(models.values())).data_sha256
    return records.append(COST, kind, asked, raw, started=started, identity=identity)


def variants(models: Mapping[int, Model], capture: Capture, rounds: int, names: tuple[str, ...] = ()) -> pd.DataFrame:
    """Measure every variant on one flow and on a new flow a packet, and record each with its size.

    Parameters
    ----------
    models : mapping of int to Model
        By number of classes, 2 and 7.
    capture : Capture
        Whose first packet is sent.
    rounds : int
        Of `RUNS` packets for each variant.
    names : tuple of str
        Rows to measure (`name_of`); all by default.

    Returns
    -------
    DataFrame
        variant, traffic, median and quartiles [ns a packet] over the rounds, and the program's size.
    """
    started, frame, sizes, cases = time.time(), capture.headers()[0], {}, {}
    wanted = {name_of(name, variant): variant for name, variant in every()}
    wanted = {row: variant for row, variant in wanted.items() if not names or row in names}
    with contextlib.ExitStack() as stack:
        for row, variant in tqdm(wanted.items(), desc="building variants", unit="variant"):
            for traffic, churn in TRAFFIC.items():
                program = _load(stack, replace(variant, churn=churn), models)
                cases[row, traffic] = lambda program=program: program.time(frame, RUNS)
                sizes.setdefault(row, program.size())
        if not names or FLOAT in names:
            cases[FLOAT, "one_flow"] = _float_ns(models[len(TASKS["binary"])])
        ns = _rounds(cases, rounds, "cost of a packet")
    lines = []
    for (row, traffic), values in ns.items():
        raw = {"ns_per_packet": values} | sizes.get(row, {})
        _write("kernel_cost", {"variant": row, "traffic": traffic}, raw, models, started)
        q1, median, q3 = np.percentile(values, (25, 50, 75))
        lines.append({"variant": row, "traffic": traffic, "median_ns": median, "q1_ns": q1, "q3_ns": q3})
        lines[-1] |= sizes.get(row, {})
    return pd.DataFrame(lines)


def churn(models: Mapping[int, Model], capture: Capture, rounds: int) -> pd.DataFrame:
    """Measure flow extraction and the net against the size of the flow table, on one flow, new ports and new flows.

    Returns
    -------
    DataFrame
        classifier, flows_entries, traffic, median_ns.
    """
    started, frame, cases = time.time(), capture.headers()[0], {}
    with contextlib.ExitStack() as stack:
        for name in ("flow", "nn_fused_packed"):
            for entries in tqdm(TABLES, desc=f"building {name}", unit="table"):
                for traffic, new in CHURN.items():
                    program = _load(stack, replace(VARIANTS[name], flows=entries, churn=new), models)
                    cases[name, str(entries), traffic] = lambda program=program: program.time(frame, RUNS)
        ns = _rounds(cases, rounds, "cost of new flows")
    lines = []
    for (name, entries, traffic), values in ns.items():
        asked = {"classifier": name, "flows_entries": int(entries), "traffic": traffic}
        _write("flow_churn", asked, {"ns_per_packet": values}, models, started)
        lines.append(asked | {"median_ns": float(np.median(values))})
    return pd.DataFrame(lines)


BENCH = ("empty", "flow", "dt", "nn_q16_paper", "nn_q16_packed", "nn_fused_packed", "nn_fused_packed_7", "dt_7")


def bench(models: Mapping[int, Model], capture: Capture, rounds: int) -> dict[str, dict[str, float]]:
    """Medians of one interleaved run: {"one_flow": {variant: ns}, "new_flows": {...}, "verified_insns": {...}}."""
    found = variants(models, capture, rounds, BENCH)
    out = {
        traffic: dict(zip(part["variant"], part["median_ns"], strict=True))
        for traffic, part in found.groupby("traffic", sort=False)
    }
    sizes = found.drop_duplicates("variant")
    return out | {"verified_insns": dict(zip(sizes["variant"], map(int, sizes["verified_insns"]), strict=True))}
