"""The paper's numbers, read from data/published.json."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from . import config

PUBLISHED = config.DATA / "published.json"


@lru_cache(maxsize=1)
def published() -> dict[str, Any]:
    """Return the paper's numbers: "table2" and "table3" (rows by name) and "claims", each with its source."""
    return json.loads(PUBLISHED.read_text(encoding="utf-8"))


def claim(kind: str, **where: Any) -> dict[str, Any]:
    """Return the paper's first claim of a kind that has these values.

    Parameters
    ----------
    kind : str
        Such as "max_rate".
    **where
        Values of the claim's other keys.

    Raises
    ------
    StopIteration
        If there is no such claim.
    """
    claims = (claim for claim in published()["claims"] if claim["kind"] == kind)
    return next(claim for claim in claims if where.items() <= claim.items())
