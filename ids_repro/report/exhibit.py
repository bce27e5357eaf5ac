"""Tables of one number a line, laid out for a person: titled frames of text, and Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pandas as pd

SCORES = {
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1 score",
    "macro_f1": "Macro F1",
}
TIMES = {
    "inference_us": "Inference time [µs]",
    "inference_ctypes_us": "C called from Python [µs]",
    "inference_less_call_us": "the same less an empty call [µs]",
}
NAMES = SCORES | TIMES
OVERALL = "overall"
ABSENT = "not in this dataset"
NOTES = (
    "Scores: mean over seeds ± half the width of its 95 % interval (Student's t). Times: median over rounds and, in "
    f"brackets, the quartiles. –: {ABSENT}; macro F1 leaves such classes out. †: a row the paper does not have. "
    "Difference: ours − paper. The paper's 13.8 % (abstract: 15.3 %) is 6.38 / 46.09 µs (6.96 / 45.53): a call of C "
    "from Python, not optimised by the compiler in the released build, against a call of PyTorch."
)


def blocks(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return a table as a person reads it: titled frames of text, for Markdown and HTML alike.

    Table II is one block with three lines a classifier: ours, paper, difference. Table III is F1 of all classifiers
    side by side, then one block a classifier, where accuracy and times stand in the columns of F1 as in the paper.

    Parameters
    ----------
    frame : DataFrame
        As `tables.table` returns it.
    """
    frame = frame.assign(
        ours_text=[_ours(line) for line in frame.itertuples()],
        paper_text=[_paper(line) for line in frame.itertuples()],
        difference_text=[_number(line.difference, line.unit, sign=True) for line in frame.itertuples()],
    )
    if frame["task"].iloc[0] == "binary":
        return [("", _classifiers(frame))]
    frame["line"] = [line.label if line.label != OVERALL else NAMES[line.metric] for line in frame.itertuples()]
    parts = [(str(name), _classes(part)) for name, part in frame.groupby("name", sort=False)]
    return [("F1 score of all classifiers: ours (paper)", _side_by_side(frame)), *parts]


def markdown(parts: Iterable[tuple[str, pd.DataFrame]], caption: str, notes: str = NOTES) -> str:
    """Return titled frames of text as Markdown, between a caption and notes; a frame without lines is left out."""
    text = [caption]
    for title, block in parts:
        if block.empty:
            continue
        rule = ["---"] + ["---:"] * (block.shape[1] - 1)
        text += [f"**{title}**"] * bool(title)
        text.append("\n".join(f"| {' | '.join(line)} |" for line in [block.columns, rule, *block.to_numpy()]))
    return "\n\n".join([*text, notes]) + "\n"


def claims(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `claims.table` as text."""

    def number(value: float, unit: str) -> str:
        if not math.isfinite(value):
            return ""
        digits = 0 if unit in ("pps", "flows") else 2 if 0.005 < abs(value) < 0.95 else 1
        return f"{round(value, digits) + 0.0:,.{digits}f} {unit}"

    columns = {"claim": "Claim", "source": "Source", "paper": "Paper", "ours": "Ours", "verdict": "Verdict"}
    text = {name: list(map(number, frame[name], frame["unit"])) for name in ("paper", "ours")}
    return frame.assign(**text).rename(columns=columns | {"detail": "Reason"})[[*columns.values(), "Reason"]]


def kernel_cost(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `tables.kernel_cost` as text: times with their quartiles, sizes; nothing where it does not apply."""

    def time(line, traffic: str) -> str:
        middle, low, high = (getattr(line, f"{traffic}_ns{end}") for end in ("", "_low", "_high"))
        return f"{middle:.1f} [{low:.1f}, {high:.1f}]" if math.isfinite(middle) else ""

    def count(value: float, sign: str = "") -> str:
        return f"{value:{sign},.0f}" if math.isfinite(value) else ""

    return pd.DataFrame(
        {
            "Variant": line.variant,
            "One flow [ns]": time(line, "one_flow"),
            "beyond flow": count(line.one_flow_beyond_ns, "+"),
            "A new flow a packet [ns]": time(line, "new_flows"),
            "beyond flow ": count(line.new_flows_beyond_ns, "+"),
            "Verified instructions": count(line.verified_insns),
            "Translated [B]": count(line.xlated_bytes),
            "After JIT [B]": count(line.jited_bytes),
            "Stack [B]": count(line.stack_bytes),
        }
        for line in frame.itertuples()
    )


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


def _ours(line) -> str:
    if not math.isfinite(line.ours):
        return "–" if line.note == ABSENT else ""
    text = _number(line.ours, line.unit)
    if line.unit == "µs":
        return f"{text} [{_number(line.ours_low, line.unit)}, {_number(line.ours_high, line.unit)}]"
    return text if line.n < 2 else f"{text} ± {line.ours_high - line.ours:.3f}"


def _paper(line) -> str:
    """Return the paper's number with the paper's digits."""
    return f"{line.paper:g}" if line.unit == "µs" and math.isfinite(line.paper) else _number(line.paper, line.unit)


def _number(value: float, unit: str, sign: bool = False) -> str:
    """Return three digits behind the point for scores, three that count for times; nothing for NaN."""
    if not math.isfinite(value):
        return ""
    if unit != "µs":
        return f"{value:{'+' if sign else ''}.3f}"
    return f"{value:{'+' if sign else ''}{'.0f' if abs(value) >= 100 else '#.3g'}}"
