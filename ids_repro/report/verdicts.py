"""What the records may say of a claim of the paper."""

from __future__ import annotations

from typing import NamedTuple

HOLDS, BETTER, DIFFERS = "holds", "holds: better", "differs"
NOT_COMPARABLE, NO_RECORDS = "not comparable", "no records yet"
GRADES = {HOLDS: "good", BETTER: "good", DIFFERS: "bad", NOT_COMPARABLE: "none", NO_RECORDS: "none"}


class Answer(NamedTuple):
    """What the records say of a claim.

    Attributes
    ----------
    ours : float
        In the claim's unit; NaN: none.
    verdict : str
        A key of GRADES.
    detail : str
        The reason.
    """

    ours: float
    verdict: str
    detail: str = ""
