"""What each discrepancy of the released code does to accuracy: a table, from records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from .. import config, metrics, published
from ..published import NONE
from ..text import rounded
from .exhibit import Block, Exhibit, Results, circumstances, origin

HEADS = {"accuracy": "NN (C, q16)", "accuracy_float": "float net", "agreement_with_float": "equal to float"}
NOTES = (
    "NN (C, q16), float net: change of accuracy against the row None of the same seed in percentage points; in that "
    "row the accuracy itself. Equal to float: share of the test part on which NN (C, q16) decides as the float net "
    "that was trained with the same discrepancy. Means over seeds ± half the width of the 95 % interval (Student's t); "
    "of fewer than five seeds the range in brackets."
)


def exhibit(results: Results) -> Exhibit:
    """Return the table of what each discrepancy does, alone and with others."""
    frame = table(results)
    return Exhibit("discrepancies", caption(results), frame, blocks(frame), NOTES)


def table(results: Results) -> pd.DataFrame:
    """Return what each discrepancy does, one number a line.

    Parameters
    ----------
    results : Results
        Records of kind "discrepancy" are used.

    Returns
    -------
    DataFrame
        switch, text, source, task, metric, ours, low, high, n, unit, dataset, commit: means over n seeds with
        `metrics.mean_interval`. Accuracies are changes against the row "none" of the same model, in points; in that row
        they are %.
    """
    used, rows = results.current("discrepancy"), published.discrepancies()
    found = {row: {_model(r): r["raw"] for r in used if r["asked"]["switch"] == row} for row in rows}
    facts, lines = circumstances(used), []
    for row, raws in found.items():
        for task in config.TASKS:
            pairs = [(raws[model], found[NONE][model]) for model in raws if model[0] == task and model in found[NONE]]
            for metric in HEADS:
                change = row != NONE and metric != "agreement_with_float"
                values = [raw[metric] - change * none[metric] for raw, none in pairs]
                ours = metrics.mean_interval(100 * np.array(values))
                line = {"switch": row, "text": rows[row]["text"], "source": rows[row]["source"], "task": task}
                line |= {"metric": metric, "ours": ours.middle, "low": ours.low, "high": ours.high, "n": ours.n}
                line |= {"unit": "points" if change else "%"}
                lines.append(line | {name: facts.get(name) for name in ("dataset", "commit")})
    return pd.DataFrame(lines)


def blocks(frame: pd.DataFrame) -> list[Block]:
    """Return `table` as a person reads it."""
    lines: dict[str, dict[str, str]] = {}
    for cell in frame.itertuples():
        line = lines.setdefault(cell.switch, {"As released": cell.text})
        line[f"{HEADS[cell.metric]}, {cell.task}"] = _text(cell)
    return [Block("", pd.DataFrame(lines.values()))]


def caption(results: Results) -> str:
    """Return what was measured, where and with what code."""
    used = results.current("discrepancy")
    where = f"{origin(used, ('dataset', 'labels', 'profile', 'seed', 'commit'))}. Records: discrepancy.jsonl."
    where = where if used else f"{results.missing('discrepancy')}."
    return f"The released code against the paper's text, in accuracy: {where}"


def _model(record: Mapping[str, Any]) -> tuple:
    return record["asked"]["task"], record["asked"]["seed"], str(record["provenance"]["identity"].get("model_sha256"))


def _text(cell) -> str:
    if not cell.n:
        return ""
    form = f"{'+' if cell.unit == 'points' else ''}.2f"
    around = metrics.around(metrics.Interval(cell.ours, cell.low, cell.high, cell.n), form)
    return f"{rounded(cell.ours, form)}{around}" + " %" * (cell.unit == "%")
