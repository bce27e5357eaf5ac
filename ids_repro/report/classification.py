"""Tables II and III from records, each number beside the paper's; no other source than records and published.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .. import config, implementations, metrics, records
from ..published import published
from . import exhibit
from .exhibit import ABSENT, OVERALL

TITLES = {"binary": "Table II. Binary classification", "multi": "Table III. Multi-class classification"}
NUMBERS = {"binary": "table2", "multi": "table3"}
# "Measured in the user space" (Sec. V-A1): Python rows as called from Python, C rows as called from C; kernel rows by
# test runs, less what flow extraction alone takes.
TIMES = {
    "inference_us": ("python_single", "c_loop", "kernel"),
    "inference_ctypes_us": ("ctypes_single",),
    "inference_less_call_us": ("ctypes_less_call",),
}
NO_RECORDS = "no records yet: run notebook 04"
# Cost table: what a trial of kind "kernel_cost" may run on, and what the kernel says of a loaded program.
TRAFFIC = ("one_flow", "new_flows")
SIZES = ("verified_insns", "xlated_bytes", "jited_bytes", "stack_bytes")
COST_NOTES = (
    "Time a packet by BPF_PROG_TEST_RUN in interleaved rounds: median and, in brackets, the quartiles. Beyond flow "
    "extraction: median less that of `flow`, on TC of `flow_tc`. Instructions verified: what the verifier walked. A "
    "row without sizes runs in user space."
)


def table(task: str, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return Table II (task "binary") or Table III ("multi") with one number a line.

    Parameters
    ----------
    task : {"binary", "multi"}
    rows : iterable of record
        Of kinds "accuracy" and "inference"; others are passed over.

    Returns
    -------
    DataFrame
        task, row, name, label, metric, ours, ours_low, ours_high, n, statistic, paper, difference, unit, dataset,
        commit, note. Scores in [0, 1], times in µs. `ours` is the mean over n seeds with its 95 % interval for
        scores, the median over n rounds with the quartiles for times; `statistic` says which. NaN: not known.

    Raises
    ------
    config.UserError
        If a confusion matrix does not have the classes of its task.
    """
    rows = list(rows)
    trials = {kind: _by_row(task, records.current(rows, kind)) for kind in ("accuracy", "inference")}
    paper = published()[NUMBERS[task]]["rows"]
    shown = {how for ways in TIMES.values() for how in ways}
    timed = [row for row, used in trials["inference"].items() if shown & {record["asked"]["how"] for record in used}]
    names = list(dict.fromkeys([*paper, *trials["accuracy"], *timed]))
    lines = []
    for row in names:
        head = {"task": task, "row": row, "name": implementations.label(row) + " †" * (row not in paper)}
        theirs = _paper(task, paper.get(row, {}))
        lines += [head | line for line in _score_lines(task, trials["accuracy"].get(row, []), theirs)]
        lines += [head | line for line in _time_lines(trials["inference"].get(row, []), theirs)]
    frame = pd.DataFrame(lines)
    frame.insert(frame.columns.get_loc("paper") + 1, "difference", frame["ours"] - frame["paper"])
    return frame


def kernel_cost(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return what a packet costs in each variant of the kernel program, a line a variant.

    Parameters
    ----------
    rows : iterable of record
        Of kind "kernel_cost": asked "variant" and "traffic"; raw "ns_per_packet" of each round and, of a program in
        the kernel, its SIZES.

    Returns
    -------
    DataFrame
        variant; for each of TRAFFIC ..._ns, ..._ns_low, ..._ns_high (median and quartiles over rounds), ..._rounds and
        ..._beyond_ns, what a classifier adds to "flow"; SIZES. NaN: not measured. Variants in the order of measuring.
    """
    lines: dict[str, dict[str, Any]] = {}
    for record in records.current(rows, "kernel_cost"):
        variant, traffic, raw = record["asked"]["variant"], record["asked"]["traffic"], record["raw"]
        ours = metrics.median_quartiles(raw["ns_per_packet"])
        line = lines.setdefault(variant, {"variant": variant})
        line |= {f"{traffic}_ns{end}": value for end, value in zip(("", "_low", "_high"), ours[:3], strict=True)}
        line |= {f"{traffic}_rounds": ours.n} | {size: raw[size] for size in SIZES if size in raw}
    parts = ("ns", "ns_low", "ns_high", "rounds", "beyond_ns")
    columns = ["variant", *(f"{traffic}_{part}" for traffic in TRAFFIC for part in parts), *SIZES]
    frame = pd.DataFrame(lines.values(), columns=columns)
    adds = frame["verified_insns"].notna() & ~frame["variant"].isin(["empty", "flow", "empty_tc", "flow_tc"])
    for traffic in TRAFFIC:
        base = {hook: lines.get(f"flow{hook}", {}).get(f"{traffic}_ns", float("nan")) for hook in ("", "_tc")}
        own = frame["variant"].str.contains("_tc").map({True: base["_tc"], False: base[""]})
        frame[f"{traffic}_beyond_ns"] = (frame[f"{traffic}_ns"] - own).where(adds)
    return frame


def cost_caption(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return where and with what code the cost of a packet was measured."""
    facts = circumstances(records.current(rows, "kernel_cost"))
    known = "; ".join(f"{name} {facts[name]}" for name in ("profile", "machine", "kernel", "commit") if name in facts)
    return "What a packet costs in the kernel: " + (f"{known}. Records: kernel_cost.jsonl." if facts else NO_RECORDS)


def caption(task: str, rows: Iterable[Mapping[str, Any]]) -> str:
    """Return what was measured, where, with what code and from which records."""
    used = [record for kind in ("accuracy", "inference") for record in records.current(rows, kind)]
    used = [record for record in used if record["asked"].get("task") == task]
    title = f"{TITLES[task]} performance"
    if not used:
        return f"{title}: {NO_RECORDS}. The paper's numbers are for {published()['dataset']}."
    facts = circumstances(used)
    dataset, paper = facts.get("dataset", "an unnamed dataset"), published()["dataset"]
    text = f"{title}. Dataset: {dataset} (the paper's: {paper}); seeds {facts.get('seed', 'not given')}. "
    text += f"Profile {facts.get('profile', 'not given')}; {facts['machine']}; kernel {facts['kernel']}; "
    text += (
        f"commit {facts['commit']}. Records: " + ", ".join(sorted({f"{record['kind']}.jsonl" for record in used})) + "."
    )
    if dataset != paper:
        text += f" Numbers from the {dataset} are not comparable with the paper's in level, only in shape."
    return text


def circumstances(used: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return profile, dataset, seed, machine, kernel and commit of records, all values of each joined by commas."""
    facts: dict[str, dict[str, None]] = {}
    for record in used:
        made, scope = record["provenance"], records.scope(record)
        commit = (made.get("commit") or "unknown")[:7] + " (with uncommitted changes)" * bool(made.get("dirty"))
        seed = record["asked"].get("seed")
        for name, value in {
            "profile": scope["profile"],
            "dataset": scope["dataset"],
            "seed": seed,
            "machine": f"{made.get('cpu')}, {made.get('cpus')} CPUs",
            "kernel": made.get("kernel"),
            "commit": commit,
        }.items():
            if value is not None:
                facts.setdefault(name, {})[str(value)] = None
    return {name: ", ".join(values) for name, values in facts.items()}


def write(rows: Iterable[Mapping[str, Any]], folder: Path = config.FIGURES) -> dict[str, pd.DataFrame]:
    """Write table2, table3 and kernel_cost as .csv and .md, and return their frames by those names."""
    rows = list(rows)
    folder.mkdir(parents=True, exist_ok=True)
    frames = {}
    for task, number in NUMBERS.items():
        frames[number] = table(task, rows)
        frames[number].to_csv(folder / f"{number}.csv", index=False)
        text = exhibit.markdown(exhibit.blocks(frames[number]), caption(task, rows))
        (folder / f"{number}.md").write_text(text, encoding="utf-8")
    frames["kernel_cost"] = kernel_cost(rows)
    frames["kernel_cost"].to_csv(folder / "kernel_cost.csv", index=False)
    text = exhibit.markdown([("", exhibit.kernel_cost(frames["kernel_cost"]))], cost_caption(rows), COST_NOTES)
    (folder / "kernel_cost.md").write_text(text, encoding="utf-8")
    return frames


def _by_row(task: str, trials: Iterable[dict]) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for record in trials:
        if record["asked"]["task"] == task:
            found.setdefault(record["asked"]["row"], []).append(record)
    return found


def _paper(task: str, row: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """Return one row of published.json by (label, metric), in the shape of `_scores`."""
    classes = row.get("classes") or {config.BINARY[1]: row}
    theirs = {(label, name): one.get(name) for label, one in classes.items() for name in ("precision", "recall", "f1")}
    return theirs | {(OVERALL, name): row.get(name) for name in ("accuracy", "inference_us")}


def _scores(task: str, confusion: Sequence[Sequence[int]]) -> dict[tuple[str, str], float]:
    """Return every score of one confusion matrix by (label, metric); Table II looks at attacks only (Sec. V-A2)."""
    each = metrics.per_class(confusion)
    if len(each["support"]) != len(config.TASKS[task]):
        raise config.UserError(
            f"a record of task {task!r} has a confusion matrix of {len(each['support'])} classes, not "
            f"{len(config.TASKS[task])}: take it out of accuracy.jsonl and run notebook 04 again"
        )
    shown = config.BINARY[1:] if task == "binary" else config.TASKS[task]
    scores = {
        (label, name): float(each[name][index])
        for index, label in enumerate(config.TASKS[task])
        if label in shown
        for name in ("precision", "recall", "f1")
    }
    overall = {(OVERALL, "accuracy"): metrics.accuracy(confusion)}
    return (
        overall | scores
        if task == "binary"
        else scores | overall | {(OVERALL, "macro_f1"): metrics.macro_f1(confusion)}
    )


def _score_lines(task: str, trials: Sequence[dict], theirs: Mapping[tuple[str, str], float]) -> list[dict]:
    seeds = [_scores(task, record["raw"]["confusion"]) for record in trials]
    cells = _scores(task, np.zeros((len(config.TASKS[task]),) * 2, dtype=int))
    lines = []
    for label, metric in cells:
        ours = metrics.mean_interval([scores[label, metric] for scores in seeds])
        note = "" if ours.n else (ABSENT if seeds else NO_RECORDS)
        lines.append(_line(label, metric, ours, "mean over seeds, 95 % interval", theirs, "1", trials, note))
    return lines


def _time_lines(trials: Sequence[dict], theirs: Mapping[tuple[str, str], float]) -> list[dict]:
    lines = []
    for metric, ways in TIMES.items():
        used = [record for record in trials if record["asked"]["how"] in ways]
        times_us = [ns / 1000 for record in used for ns in record["raw"]["ns_per_inference"]]
        ours = metrics.median_quartiles(times_us)
        note = "" if ours.n else NO_RECORDS
        if ours.n or (OVERALL, metric) in theirs:
            lines.append(_line(OVERALL, metric, ours, "median over rounds, quartiles", theirs, "µs", used, note))
    return lines


def _line(label, metric, ours: metrics.Interval, statistic, theirs, unit, used, note) -> dict:
    facts = circumstances(used)
    values = {"ours": ours.middle, "ours_low": ours.low, "ours_high": ours.high, "n": ours.n, "statistic": statistic}
    paper = theirs.get((label, metric))
    origin = {"dataset": facts.get("dataset"), "commit": facts.get("commit"), "note": note}
    paper_value = float("nan") if paper is None else paper
    return {"label": label, "metric": metric, **values, "paper": paper_value, "unit": unit, **origin}
