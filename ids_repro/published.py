"""The paper's numbers and the released code's discrepancies, from data/published.json."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from . import config

PUBLISHED = config.DATA / "published.json"
NONE = "none"  # the row of `discrepancies` that follows the paper's text


@lru_cache(maxsize=1)
def published() -> dict[str, Any]:
    """Return the whole file: "table1" to "table3" (rows by name), "claims", "tolerances", "discrepancies" and more."""
    return json.loads(PUBLISHED.read_text(encoding="utf-8"))


def claim(kind: str, **where: Any) -> dict[str, Any]:
    """Return the paper's first claim of a kind, such as "max_rate", with these values."""
    claims = (claim for claim in published()["claims"] if claim["kind"] == kind)
    return next(claim for claim in claims if where.items() <= claim.items())


def tolerance(claim: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tolerance of a claim: the one that it names, or that of its kind."""
    return published()["tolerances"][claim.get("tolerance", claim["kind"])]


def slack(tolerance: Mapping[str, Any], paper: float) -> float:
    """Return how far a number may be from the paper's and count as the same.

    Parameters
    ----------
    tolerance : mapping
        One of "tolerances": it was stated before anything was measured. "within" is in the number's own unit, "share"
        is of the paper's number.
    paper : float
    """
    return tolerance["within"] if "within" in tolerance else tolerance["share"] * abs(paper)


class FlowCount(NamedTuple):
    """A number of flows beside the paper's.

    Attributes
    ----------
    of : str
        "all", "normal", "attack" (Sec. III-C), or one of `config.CLASSES`. For a class the paper gives no number: here
        are the flows that the released models were trained on, 8/15 of all.
    ours : float
        Of a class the 8/15.
    paper : int
    slack : float
        How far ours may be from the paper's and count as the same: for a class also what the draw of the training part
        explains, if that is more.
    """

    of: str
    ours: float
    paper: int
    slack: float

    @property
    def same(self) -> bool:
        """Whether ours is the paper's, to within the slack."""
        return abs(self.ours - self.paper) <= self.slack


def flow_counts(ours: Mapping[str, int]) -> list[FlowCount]:
    """Set the number of flows of each class beside the paper's.

    Parameters
    ----------
    ours : mapping of str to int
        Flows by class; a class may be missing.
    """
    normal, every = ours.get(config.CLASSES[config.NORMAL], 0), sum(ours.values())
    counts = {"all": every, "normal": normal, "attack": every - normal}
    found, tolerances = [], published()["tolerances"]
    for of, n in counts.items():
        paper = claim("flows", of=of)["value"]
        found.append(FlowCount(of, n, paper, slack(tolerances["flows"], paper)))
    tolerance = tolerances["class_flows"]
    trained = published()["training_flows"]
    share = trained["share"]["of"] / trained["share"]["in"]
    for of, paper in trained["classes"].items():
        drawn = tolerance["draws"] * math.sqrt(paper * (1 - share))
        found.append(FlowCount(of, share * ours.get(of, 0), paper, max(slack(tolerance, paper), drawn)))
    return found


def discrepancies() -> dict[str, dict[str, Any]]:
    """Return the rows of the table of discrepancies by name: each alone, then some together.

    Returns
    -------
    dict of str to dict
        "text": one sentence that says what the released code does; "source": the file of its repository that shows
        it; "switches": the names of the discrepancies that the row switches on, in the order in which they act.
    """
    return published()["discrepancies"]
