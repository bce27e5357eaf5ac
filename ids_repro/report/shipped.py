"""Records that come with the project: they stand in, marked, for what this machine has not measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import config, records

EXAMPLE = config.DATA / "example"
SAID = " (not this machine: a record that comes with the project)"


def read_shipped() -> list[dict]:
    """Return the records that come with the project: the kernel's rows of a smoke run, then all of the example."""
    return [*records.read(EXAMPLE / "smoke"), *records.read(EXAMPLE)]


def marked(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record as one that comes with the project."""
    return {**record, "shipped": True}


def is_shipped(record: Mapping[str, Any]) -> bool:
    """Return whether a record came with the project."""
    return bool(record.get("shipped"))


def completed(own: Sequence[dict], shipped: Sequence[dict]) -> list[dict]:
    """Return records of one kind, and shipped ones of what these lack.

    Parameters
    ----------
    own, shipped : sequence of record
        As `records.current` returns them. If there are none of `own`, all that is shipped stands in. If they are of
        implementations, those of other implementations do, if they were asked for under the same profile and data.
    """
    there = {record["asked"].get("row") for record in own}
    same = not own or (shipped and None not in there and records.scope(shipped[-1]) == records.scope(own[-1]))
    return [*own, *(record for record in shipped if same and record["asked"].get("row") not in there)]
