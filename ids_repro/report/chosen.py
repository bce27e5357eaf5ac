"""Which data set a report is of, and which records belong to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import records
from ..config import UserError

# Notebook 07 reads recordings itself, so these records say little of the data set of the notebooks before it.
ASIDE = ("detector", "end_to_end")
LAB = "lab capture"  # the data set that `make reproduce` makes
NOTEBOOKS = {"02": "02_training", "04": "04_inference", "05": "05_packet_processing", "07": "07_detector"}
PACKETS = ("per_packet", "discrepancy", "blinded_verdicts")  # need every packet of the data


@dataclass(frozen=True)
class Chosen:
    """A data set: its name, what labelled it, and the hash of both. None stands for what no record says.

    The hash tells two data sets of one name apart.
    """

    dataset: str | None = None
    labels: str | None = None
    data_hash: str | None = None

    def __str__(self) -> str:
        """Return name and labels as a caption has them."""
        return f"{self.dataset or 'an unnamed dataset'}" + f" (labels: {self.labels})" * bool(self.labels)

    def has(self, record: Mapping[str, Any]) -> bool:
        """Return whether a record was made with this data set, or without any.

        A detector may bear the name of the file that it was trained on, so that its name or its hash must agree.
        """
        made = records.scope(record)
        both = [(made[name], getattr(self, name)) for name in ("dataset", "data_hash")]
        agree = [theirs == ours for theirs, ours in both if None not in (theirs, ours)]
        return any(agree) or not agree if record["kind"] in ASIDE else all(agree)

    def command(self, kind: str, notebook: str) -> str:
        """Return the command that makes the records of a kind for this data set."""
        if self.dataset in (None, LAB):
            return f"sudo .venv/bin/python -m ids_repro reproduce --only {notebook}"
        more = {"02": "", "04": ' -p pcap ""', "05": "", "07": " -p train CAPTURE -p test ANOTHER_CAPTURE"}[notebook]
        first = ""
        if kind in PACKETS:
            first, more = "after extract --sampling every and notebooks 02 and 03: ", " -p pcap CAPTURE"
        return f"{first}sudo .venv/bin/papermill notebooks/{NOTEBOOKS[notebook]}.ipynb out.ipynb{more}"


def choose(rows: Sequence[Mapping[str, Any]], dataset: str | None = None) -> Chosen:
    """Return the data set of the newest ok record that names one.

    Parameters
    ----------
    rows : sequence of record
        Of any kind.
    dataset : str, optional
        Only data sets of this name.

    Raises
    ------
    UserError
        If no record is of a data set of this name.
    """
    ok = [record for record in rows if record["status"] == "ok"]
    if dataset is not None and dataset not in names(ok):
        known = ", ".join(f"'{name}'" for name in names(ok)) or "none"
        raise UserError(f"no record is of the data set '{dataset}'; there are records of: {known}")
    made = [(record["kind"] in ASIDE, records.scope(record)) for record in sorted(ok, key=_started)]
    made = [(aside, scope) for aside, scope in made if dataset in (None, scope["dataset"])]
    scopes = [scope for aside, scope in made if not aside and (scope["dataset"] or scope["data_hash"])]
    scopes = scopes or [scope for _, scope in made if scope["dataset"]]
    if not scopes:
        return Chosen()
    same = [scope for scope in scopes if scope["data_hash"] == scopes[-1]["data_hash"] and scope["dataset"]]
    name = same[-1] if same else scopes[-1]
    return Chosen(name["dataset"], name["labels"], scopes[-1]["data_hash"])


def names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of the data sets that records are of, in the order of the records."""
    found = (records.scope(record)["dataset"] for record in rows)
    return list(dict.fromkeys(name for name in found if name is not None))


def _started(record: Mapping[str, Any]) -> str:
    return record["provenance"].get("started_utc", "")
