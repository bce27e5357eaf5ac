"""Tables II and III from records, each number beside the paper's; no other source than records and published.json."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .. import config, implementations, machine_load, metrics
from ..published import published
from ..text import rounded
from .exhibit import Block, Exhibit, Results, circumstances, no_records
from .shipped import is_shipped

TITLES = {"binary": "Table II. Binary classification", "multi": "Table III. Multi-class classification"}
NUMBERS = {"binary": "table2", "multi": "table3"}
# "Measured in the user space" (Sec. V-A1): Python rows are called from Python, C rows from C. Kernel rows are test
# runs, less what flow extraction alone takes.
TIMES = {
    "inference_us": ("python_single", "c_loop", "kernel"),
    "inference_ctypes_us": ("ctypes_single",),
    "inference_less_call_us": ("ctypes_less_call",),
}
NAMES = {
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1 score",
    "macro_f1": "Macro F1",
    "inference_us": "Inference time [µs]",
    "inference_ctypes_us": "C called from Python [µs]",
    "inference_less_call_us": "the same less an empty call [µs]",
}
OVERALL = "overall"
ABSENT = "not in this dataset"
NOTES = (
    "Scores: mean over seeds ± half the width of its 95 % interval (Student's t); of fewer than five seeds the "
    "range in brackets. Times: median over rounds and, in brackets, the quartiles. "
    f"–: {ABSENT}; macro F1 leaves such classes out. †: a row that the paper does not have. "
    "‡: of records that come with the project, from another machine. "
    "Difference: ours − paper. The paper's 13.8 % (abstract: 15.3 %) is 6.38 / 46.09 µs (6.96 / 45.53): it divides the "
    "time of a call of C from Python, which the released build compiles without optimisation, by that of a call of "
    "PyTorch."
)


def exhibit(results: Results, task: str) -> Exhibit:
    """Return Table II (task "binary") or Table III ("multi")."""
    frame = results.once(table, task)
    return Exhibit(NUMBERS[task], caption(results, task), frame, blocks(frame), NOTES)


def table(results: Results, task: str) -> pd.DataFrame:
    """Return Table II (task "binary") or Table III ("multi") with one number a line.

    Parameters
    ----------
    results : Results
        Records of kinds "accuracy" and "inference" are used.
    task : {"binary", "multi"}

    Returns
    -------
    DataFrame
        task, row, name, label, metric, ours, ours_low, ours_high, n, statistic, paper, difference, unit, dataset,
        commit, note. Scores in [0, 1], times in µs. `ours` is the mean over n seeds with `metrics.mean_interval`
        for scores, the median over n rounds with the quartiles for times; `statistic` says which. NaN: not known.
    """
    scored, timed = (_by_row(task, results.current(kind)) for kind in ("accuracy", "inference"))
    paper = published()[NUMBERS[task]]["rows"]
    shown = {how for ways in TIMES.values() for how in ways}
    rows_with_times = [row for row, used in timed.items() if shown & {record["asked"]["how"] for record in used}]
    lines = []
    for row in dict.fromkeys([*paper, *scored, *rows_with_times]):
        shipped = any(map(is_shipped, [*scored.get(row, ()), *timed.get(row, ())]))
        name = implementations.label(row) + " †" * (row not in paper) + " ‡" * shipped
        head = {"task": task, "row": row, "name": name}
        theirs = _paper(paper.get(row, {}))
        lines += [head | line for line in _score_lines(task, scored.get(row, []), theirs)]
        lines += [head | line for line in _time_lines(timed.get(row, []), theirs)]
    frame = pd.DataFrame(lines)
    frame.insert(frame.columns.get_loc("paper") + 1, "difference", frame["ours"] - frame["paper"])
    return frame


def accuracies(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return one line per record of kind "accuracy": what was asked, the accuracy, and the agreement with floats."""
    raws = [(record["asked"], record["raw"]) for record in rows]
    return pd.DataFrame(
        asked | {"accuracy": metrics.accuracy(raw["confusion"]), "agreement": raw["agreement_with_float"]}
        for asked, raw in raws
    )


def timings(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return one line per record of kind "inference": task, row, how, and the median and quartiles over rounds [ns]."""
    lines = []
    for record in rows:
        ours = metrics.median_quartiles(record["raw"]["ns_per_inference"])
        line = {name: record["asked"][name] for name in ("task", "row", "how")}
        lines.append(line | {"median_ns": ours.middle, "q1_ns": ours.low, "q3_ns": ours.high})
    return pd.DataFrame(lines)


def caption(results: Results, task: str) -> str:
    """Return what was measured, where, with what code and from which records."""
    used = [record for kind in ("accuracy", "inference") for record in results.current(kind)]
    used = [record for record in used if record["asked"].get("task") == task]
    title, paper = f"{TITLES[task]} performance", published()["dataset"]
    if not used:
        return f"{title}: {results.missing('accuracy')}. The paper's numbers are for {paper}."
    facts = circumstances(used)
    load = machine_load.in_words(used)
    dataset, files = facts.get("dataset", "an unnamed dataset"), sorted({f"{record['kind']}.jsonl" for record in used})
    labels = f", labels: {facts['labels']}" if "labels" in facts else ""
    text = (
        f"{title}. Dataset: {dataset}{labels} (the paper's: {paper}); seeds {facts.get('seed', 'not given')}. Profile "
        f"{facts.get('profile', 'not given')}; {facts['machine']}; kernel {facts['kernel']}; commit {facts['commit']}"
        f"{f'; load while timing: {load}' * bool(load)}. "
        f"Records: {', '.join(files)}."
    )
    if dataset != paper:
        text += f" Numbers from the {dataset} are comparable with the paper's only in shape, not in level."
    return text


def _by_row(task: str, trials: Iterable[dict]) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for record in trials:
        if record["asked"]["task"] == task:
            found.setdefault(record["asked"]["row"], []).append(record)
    return found


def _paper(row: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """Return one row of published.json by (label, metric), in the shape of `scores`."""
    classes = row.get("classes") or {config.BINARY[1]: row}
    theirs = {(label, name): one.get(name) for label, one in classes.items() for name in ("precision", "recall", "f1")}
    return theirs | {(OVERALL, name): row.get(name) for name in ("accuracy", "inference_us")}


def scores(task: str, confusion: Sequence[Sequence[int]]) -> dict[tuple[str, str], float]:
    """Return every score of one confusion matrix by (label, metric); Table II looks at attacks only (Sec. V-A2)."""
    each, classes = metrics.per_class(confusion), config.TASKS[task]
    shown = config.BINARY[1:] if task == "binary" else classes
    scores = {
        (label, name): float(each[name][index])
        for index, label in enumerate(classes)
        if label in shown
        for name in ("precision", "recall", "f1")
    }
    overall = {(OVERALL, "accuracy"): metrics.accuracy(confusion)}
    if task == "binary":
        return overall | scores
    return scores | overall | {(OVERALL, "macro_f1"): metrics.macro_f1(confusion)}


def _score_lines(task: str, trials: Sequence[dict], theirs: Mapping[tuple[str, str], float]) -> list[dict]:
    seeds = [scores(task, record["raw"]["confusion"]) for record in trials]
    facts, lines = circumstances(trials), []
    for label, metric in scores(task, np.zeros((len(config.TASKS[task]),) * 2, dtype=int)):
        ours = metrics.mean_interval([one[label, metric] for one in seeds])
        note = "" if ours.n else (ABSENT if seeds else no_records("accuracy"))
        lines.append(
            _line(label, metric, ours, f"mean over seeds, {metrics.means_of(ours.n)}", theirs, "1", facts, note)
        )
    return lines


def _time_lines(trials: Sequence[dict], theirs: Mapping[tuple[str, str], float]) -> list[dict]:
    lines = []
    for metric, ways in TIMES.items():
        used = [record for record in trials if record["asked"]["how"] in ways]
        ours = metrics.median_quartiles([ns / 1000 for record in used for ns in record["raw"]["ns_per_inference"]])
        note, facts = "" if ours.n else no_records("inference"), circumstances(used)
        if ours.n or (OVERALL, metric) in theirs:
            lines.append(_line(OVERALL, metric, ours, "median over rounds, quartiles", theirs, "µs", facts, note))
    return lines


def _line(label, metric, ours: metrics.Interval, statistic, theirs, unit, facts, note) -> dict:
    values = {"ours": ours.middle, "ours_low": ours.low, "ours_high": ours.high, "n": ours.n, "statistic": statistic}
    paper = theirs.get((label, metric))
    origin = {"dataset": facts.get("dataset"), "commit": facts.get("commit"), "note": note}
    paper_value = float("nan") if paper is None else paper
    return {"label": label, "metric": metric, **values, "paper": paper_value, "unit": unit, **origin}


def blocks(frame: pd.DataFrame) -> list[Block]:
    """Return a table as a person reads it.

    Table II is one block with three lines a classifier: ours, paper, difference. Table III is F1 of all classifiers
    side by side, then one block a classifier, where accuracy and times stand in the columns of F1 as in the paper.

    Parameters
    ----------
    frame : DataFrame
        As `table` returns it.
    """
    frame = frame.assign(
        ours_text=[_ours_text(line) for line in frame.itertuples()],
        paper_text=[_paper_text(line) for line in frame.itertuples()],
        difference_text=[_number(line.difference, line.unit, sign=True) for line in frame.itertuples()],
    )
    if frame["task"].iloc[0] == "binary":
        return [Block("", _classifiers(frame))]
    frame["line"] = [line.label if line.label != OVERALL else NAMES[line.metric] for line in frame.itertuples()]
    parts = [Block(str(name), _classes(part)) for name, part in frame.groupby("name", sort=False)]
    return [Block("F1 score of all classifiers: ours (paper)", _side_by_side(frame)), *parts]


def _classifiers(frame: pd.DataFrame) -> pd.DataFrame:
    """Return Table II: a line for ours, for the paper and for the difference of each classifier that has it."""
    lines = []
    for name, part in frame.groupby("name", sort=False):
        for whose in ("ours", "paper", "difference"):
            cells = dict(zip((NAMES[metric] for metric in part["metric"]), part[f"{whose}_text"], strict=True))
            if any(cells.values()):
                lines.append({"Classifier": f"{name}: {whose}", **cells})
    return pd.DataFrame(lines).fillna("")


def _side_by_side(frame: pd.DataFrame) -> pd.DataFrame:
    """Return F1 of each class and what is overall as lines, classifiers as columns, cells "ours (paper)"."""
    frame = frame[(frame["metric"] == "f1") | (frame["label"] == OVERALL)]
    text = [line.ours_text + f" ({line.paper_text})" * bool(line.paper_text) for line in frame.itertuples()]
    wide = frame.assign(text=text).pivot(index="line", columns="name", values="text").fillna("")
    wide = wide.loc[list(dict.fromkeys(frame["line"])), list(dict.fromkeys(frame["name"]))]
    wide = wide[(wide != "").any(axis=1)]
    return wide.reset_index(names="Label").rename_axis(columns=None)


def _classes(part: pd.DataFrame) -> pd.DataFrame:
    """Return one classifier of Table III: classes as lines; precision, recall and F1 as ours, paper, difference."""
    beside = {"paper": " paper", "difference": " diff."}
    lines = []
    for line, cells in part.groupby("line", sort=False):
        text = {"Label": line}
        for cell in cells.itertuples():
            column = NAMES["f1"] if cell.label == OVERALL else NAMES[cell.metric]
            text[column] = cell.ours_text
            text |= {column + end: getattr(cell, f"{whose}_text") for whose, end in beside.items()}
        lines.append(text)
    wide = pd.DataFrame(lines).fillna("")
    wide = wide.loc[:, (wide != "").any() | wide.columns.isin(NAMES.values())]
    wide = wide[(wide.drop(columns="Label") != "").any(axis=1)]
    return wide.set_axis(
        [column.rpartition(" ")[2] if column.endswith((" paper", " diff.")) else column for column in wide], axis=1
    )


def _ours_text(line) -> str:
    if not math.isfinite(line.ours):
        return "–" if line.note == ABSENT else ""
    text = _number(line.ours, line.unit)
    if line.unit == "µs":
        return f"{text} [{_number(line.ours_low, line.unit)}, {_number(line.ours_high, line.unit)}]"
    return text + metrics.around(metrics.Interval(line.ours, line.ours_low, line.ours_high, line.n), ".3f")


def _paper_text(line) -> str:
    """Return the paper's number with the paper's digits."""
    return f"{line.paper:g}" if line.unit == "µs" and math.isfinite(line.paper) else _number(line.paper, line.unit)


def _number(value: float, unit: str, sign: bool = False) -> str:
    """Return a score with three digits behind the point, a time with its first three digits, nothing for NaN."""
    if not math.isfinite(value):
        return ""
    if unit != "µs":
        return rounded(value, "+.3f" if sign else ".3f")
    return rounded(value, "+" * sign + (".0f" if abs(value) >= 100 else "#.3g"))
