"""Which constraints of Table I the running kernel has: write records."""

from __future__ import annotations

from pathlib import Path

from .. import records
from ..config import RESULTS, Profile
from ..kernel.constraints import attempts


def measure(profile: Profile, results: Path = RESULTS) -> list[dict]:
    """Give the kernel a program that breaks each constraint, and what one writes instead, and record what it says.

    Parameters
    ----------
    profile : Profile
    results : Path
        Folder of the records, which are appended to constraint.jsonl.

    Returns
    -------
    list of dict
        The records, of kind "constraint": raw as `kernel.constraints.attempts` describes.
    """
    started, path = records.now(), results / "constraint.jsonl"
    return [
        records.append(path, "constraint", {"constraint": name, "profile": profile.name}, tried, started=started)
        for name, tried in attempts().items()
    ]
