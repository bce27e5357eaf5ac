"""What the records may say of a claim of the paper, and how a number of ours is judged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..published import slack
from ..text import rounded

HOLDS, BETTER, DIFFERS = "holds", "holds: better", "differs"
NOT_COMPARABLE, NOT_MEASURED = "not comparable", "not measured"
GRADES = {HOLDS: "good", BETTER: "good", DIFFERS: "bad", NOT_COMPARABLE: "none", NOT_MEASURED: "none"}
NAN = float("nan")


class Answer(NamedTuple):
    """What the records say of a claim.

    Attributes
    ----------
    ours : float or str
        In the claim's unit, or in words; NaN: none.
    verdict : str
        A key of GRADES.
    reason : str
        Empty if nothing was measured: then the reason is the command that measures it.
    low, high : float
        The interval of `ours`; NaN: none.
    used : sequence of record
        Where `ours` comes from.
    paper : float
        What the paper's tables say, if the claim itself has no number.
    """

    ours: float | str
    verdict: str
    reason: str = ""
    low: float = NAN
    high: float = NAN
    used: Sequence[Mapping[str, Any]] = ()
    paper: float = NAN


def unmeasured() -> Answer:
    """Return the answer if there is no record."""
    return Answer(NAN, NOT_MEASURED)


def judge(paper: float, ours: float, tolerance: Mapping[str, Any], low: float = NAN, high: float = NAN) -> str:
    """Say whether a number of ours is the paper's.

    Parameters
    ----------
    paper, ours : float
    tolerance : mapping
        One of published.json. With "within" or "share", ours is the same if its interval reaches that far from the
        paper's number; beyond that it "holds: better" on the side that "better" names. "least", "above", "most": ours
        alone must be at least, above, at most so much.
    low, high : float
        The interval of ours; NaN: it is ours alone.

    Returns
    -------
    str
        HOLDS, BETTER or DIFFERS.
    """
    limits = {"least": lambda x: ours >= x, "above": lambda x: ours > x, "most": lambda x: ours <= x}
    asked = [limits[name](tolerance[name]) for name in limits if name in tolerance]
    if asked:
        return HOLDS if all(asked) else DIFFERS
    low, high = (ours if math.isnan(end) else end for end in (low, high))
    most = slack(tolerance, paper) * (1 + 1e-9)  # 0.971 - 0.961 is a little more than 0.01 in binary
    if low <= paper + most and high >= paper - most:
        return HOLDS
    return BETTER if tolerance.get("better") == ("less" if ours < paper else "more") else DIFFERS


def in_words(tolerance: Mapping[str, Any], unit: str = "") -> str:
    """Return a tolerance of a number with a unit as people read it, such as "± 10 %, or less"."""
    if "text" in tolerance:
        return tolerance["text"]
    for name, words in {"least": "at least", "above": "above", "most": "at most"}.items():
        if name in tolerance:
            return f"{words} {tolerance[name]:g} {unit}".rstrip()
    points = "points" if unit in ("%", "percentage points") else unit
    share = f"{rounded(100 * tolerance.get('share', 0), 'g')} %"
    text = f"± {tolerance['within']:g} {points}".rstrip() if "within" in tolerance else f"± {share}"
    text += f" or {tolerance['draws']} standard deviations of the draw" if "draws" in tolerance else ""
    return text + (f", or {tolerance['better']}" if "better" in tolerance else "")
