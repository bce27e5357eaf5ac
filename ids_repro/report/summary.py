"""What the records say of the paper's claims, in a few lines."""

from __future__ import annotations

import math

import pandas as pd

from ..text import rounded
from .verdicts import BETTER, DIFFERS, HOLDS, NOT_COMPARABLE, NOT_MEASURED

MOST_TOLD = 2  # of the claims that differ, `summary` names so many
# How ids of claims begin that are named before others: they are what the paper is about.
FIRST = ("accuracy_loss_points", "no_loss_pps")
MOST_REASONS = 2


def number(value: float | str, unit: str) -> str:
    """Return a number of a claim with its unit, and words as they are; nothing for NaN."""
    if isinstance(value, str):
        return value
    if math.isnan(value):
        return ""
    if unit in ("", "µs"):  # a score, or a time: the paper has three digits
        return (rounded(value, ".3f" if not unit else ".3g") + f" {unit}").rstrip()
    digits = "+,.0f" if unit in ("flows", "pps", "classes") else ".2f" if abs(value) < 1 else ".1f"
    return f"{rounded(value, digits).lstrip('+')} {unit}"


def summary(frame: pd.DataFrame) -> list[str]:
    """Return in at most five lines what holds, what differs and why, and what these records cannot tell.

    Parameters
    ----------
    frame : DataFrame
        As `claims.table` returns it.
    """
    n = frame["verdict"].value_counts()
    holds, better = int(n.get(HOLDS, 0)), int(n.get(BETTER, 0))
    judged = frame[frame["verdict"].isin([HOLDS, BETTER, DIFFERS])]
    lines = [
        f"Of {len(frame)} numbers and statements of the paper, {holds + better} hold here, {better} of them further in "
        f"the paper's own direction; {n.get(DIFFERS, 0)} differ."
    ]
    kept = judged["verdict"].ne(DIFFERS).groupby(judged["source"], sort=False).agg(["sum", "size"])
    if holds + better:
        places = ", ".join(f"{line.Index} {line.sum} of {line.size}" for line in kept.itertuples() if line.sum)
        lines.append(f"What holds, of what can be judged: {places}.")
    told = judged[judged["verdict"] == DIFFERS]
    told = told.sort_values("id", key=lambda ids: ~ids.str.startswith(FIRST), kind="stable")
    for line in told.head(MOST_TOLD).itertuples():
        ours = number(line.ours, line.unit)
        says = f"the paper {number(line.paper, line.unit)}, ours {ours}" if ours else "the paper says so, ours does not"
        lines.append(f"Differs: {line.claim}: {says} ({line.reason}).")
    if len(told) > MOST_TOLD:
        where = told["source"][MOST_TOLD:].value_counts(sort=False)
        places = ", ".join(f"{count} of {place}" for place, count in where.items())
        lines[-1] += f" And {len(told) - MOST_TOLD} more, in the table: {places}."
    if n.get(NOT_COMPARABLE, 0) + n.get(NOT_MEASURED, 0):
        reasons = frame.loc[frame["verdict"] == NOT_COMPARABLE, "reason"].value_counts(sort=True)
        why = "; ".join(f"{count} because: {reason}" for reason, count in reasons.head(MOST_REASONS).items())
        lines.append(
            f"{n.get(NOT_COMPARABLE, 0)} cannot be judged by these records{f' ({why})' * bool(why)}; "
            f"{n.get(NOT_MEASURED, 0)} are not measured yet."
        )
    return lines
