"""The paper's numbers and the released code's discrepancies, from data/published.json."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from . import config

PUBLISHED = config.DATA / "published.json"
NONE = "none"  # the row of `discrepancies` that follows the paper's text


@lru_cache(maxsize=1)
def published() -> dict[str, Any]:
    """Return the whole file: "table2" and "table3" (rows by name), "claims", "discrepancies"; each has its source."""
    return json.loads(PUBLISHED.read_text(encoding="utf-8"))


def claim(kind: str, **where: Any) -> dict[str, Any]:
    """Return the paper's first claim of a kind, such as "max_rate", with these values."""
    claims = (claim for claim in published()["claims"] if claim["kind"] == kind)
    return next(claim for claim in claims if where.items() <= claim.items())


def discrepancies() -> dict[str, dict[str, Any]]:
    """Return the rows of the table of discrepancies by name: each alone, then some together.

    Returns
    -------
    dict of str to dict
        "text": one sentence that says what the released code does; "source": the file of its repository that shows
        it; "switches": the names of the discrepancies that the row switches on, in the order in which they act.
    """
    return published()["discrepancies"]
