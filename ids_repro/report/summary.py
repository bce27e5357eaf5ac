"""What the records say of the paper's claims, in a few lines."""

from __future__ import annotations

import math

import pandas as pd

from .verdicts import BETTER, DIFFERS, HOLDS, NO_RECORDS, NOT_COMPARABLE

MOST_TOLD = 3  # of the claims that differ, `summary` names so many


def summary(frame: pd.DataFrame) -> list[str]:
    """Return in at most five lines what holds, what differs and why, and what these records cannot tell.

    Parameters
    ----------
    frame : DataFrame
        As `claims.table` returns it.
    """
    n = frame["verdict"].value_counts()
    holds, better = int(n.get(HOLDS, 0)), int(n.get(BETTER, 0))
    lines = [
        f"Of {len(frame)} statements of the paper, {holds + better} hold here, {better} of them further in the paper's "
        f"own direction; {n.get(DIFFERS, 0)} differ."
    ]
    told = frame[frame["verdict"] == DIFFERS]
    for line in told.head(MOST_TOLD).itertuples():
        lines.append(
            f"Differs: {line.claim}: the paper {number(line.paper, line.unit)}, ours {number(line.ours, line.unit)} "
            f"({line.detail})."
        )
    if len(told) > MOST_TOLD:
        lines[-1] += f" And {len(told) - MOST_TOLD} more, in the table."
    if unknown := n.get(NOT_COMPARABLE, 0) + n.get(NO_RECORDS, 0):
        reasons = frame.loc[frame["verdict"] == NOT_COMPARABLE, "detail"].unique()
        why = f" ({'; '.join(reasons)})" if len(reasons) else ""
        lines.append(f"{unknown} cannot be judged by these records{why}.")
    return lines


def number(value: float, unit: str) -> str:
    """Return a claim's number as text, nothing for NaN."""
    if not math.isfinite(value):
        return ""
    digits = 0 if unit in ("pps", "flows") else 2 if 0.005 < abs(value) < 0.95 else 1
    return f"{round(value, digits) + 0.0:,.{digits}f} {unit}"
