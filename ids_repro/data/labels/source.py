"""Where a flow's label comes from: a schedule of what was run when, or the CSV files that CIC-IDS2017 came with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...config import CIC_IDS2017, CLASSES, LABELS, ROOT, UserError
from . import cicids_csv
from .flow_index import REASONS
from .schedule import find_rows, read_schedule

NAMED = ("published", "corrected")  # the schedules in config.LABELS
_NO_MATCH = (
    "the label source matches none of the {n:,} flows: do its times (UTC; in a schedule start_us and end_us, "
    "microseconds since 1970) and addresses belong to this capture?"
)


def _class_ids(names: Sequence[str]) -> np.ndarray:
    return np.array([CLASSES.index(name) for name in names], np.int8)


@dataclass(frozen=True)
class Report:
    """Flows and packets per label and activity, and those that nothing matched; reports of parts add up.

    Parameters
    ----------
    flows, packets : Counter
        Counts by (label, activity); of what has no label, by (None, reason).
    """

    flows: Counter = field(default_factory=Counter)
    packets: Counter = field(default_factory=Counter)

    def __add__(self, other: Report) -> Report:
        return Report(self.flows + other.flows, self.packets + other.packets)

    def as_dict(self) -> dict[str, dict]:
        """Return ``flows`` and ``packets`` as {"labels": {...}, "activities": {...}, "unmatched": {...}} for JSON."""
        return {name: self._grouped(getattr(self, name)) for name in ("flows", "packets")}

    @staticmethod
    def _grouped(counts: Counter) -> dict[str, dict[str, int]]:
        out = {"labels": Counter(), "activities": Counter(), "unmatched": Counter()}
        for (label, activity), n in sorted(counts.items(), key=str):
            out["unmatched" if label is None else "activities"][activity] += n
            if label is not None:
                out["labels"][label] += n
        return {name: dict(found) for name, found in out.items()}


@dataclass(frozen=True)
class LabelSource:
    """Labels for flows, whatever they come from: rows that each carry a label, and a way to find a flow's row.

    Parameters
    ----------
    name : str
        "published", "corrected", "csv" or the schedule's file name.
    content : bytes
        What decides the labels (the schedule, or the CSV files' hashes); its hash belongs into the data's metadata.
    rows_of : callable
        First packets, dtype native.ROW -> the number of each flow's row, or negative: -1 is the first of `reasons`.
    row_kind : ndarray of int
        Each row's index into `kinds`.
    kinds : sequence of (label, activity)
        The classes by name, with what was run.
    reasons : tuple of str
        Why a flow has no row.
    notes : dict of str to int
        What reading the files found and left out.
    """

    name: str
    content: bytes
    rows_of: Callable[[np.ndarray], np.ndarray]
    row_kind: np.ndarray
    kinds: Sequence[tuple[str, str]]
    reasons: tuple[str, ...] = ("no row matches",)
    notes: dict[str, int] = field(default_factory=dict)

    def label(self, first: np.ndarray, packets: np.ndarray | None = None) -> tuple[np.ndarray, Report]:
        """Label flows by their first packets.

        Parameters
        ----------
        first : ndarray of shape (n_flows,), dtype native.ROW
            The first packet of each flow; only time, addresses, ports and protocol count.
        packets : ndarray of shape (n_flows,), optional
            Packets of each flow, for the report.

        Returns
        -------
        labels : ndarray of shape (n_flows,), int8
            Index into CLASSES, -1 where no row matches.
        report : Report
        """
        rows = self.rows_of(first)
        of_row = np.append(self.row_kind, 0)[np.maximum(rows, 0)]  # a schedule may have no row
        kind = np.where(rows >= 0, of_row, len(self.kinds) - 1 - rows)
        names = [*self.kinds, *((None, reason) for reason in self.reasons)]
        report = Report(_counts(names, kind), Counter() if packets is None else _counts(names, kind, packets))
        unmatched = np.full(len(self.reasons), -1, np.int8)
        return np.append(_class_ids([label for label, _ in self.kinds]), unmatched)[kind], report

    def require_some(self, report: Report) -> None:
        """Refuse labels that fit no flow at all.

        Raises
        ------
        UserError
            If nothing in the report has a label.
        """
        if not any(label is not None for label, _ in report.flows):
            raise UserError(_NO_MATCH.format(n=report.flows.total()))


def _counts(names: list[tuple], kind: np.ndarray, weights: np.ndarray | None = None) -> Counter:
    counts = np.bincount(kind, weights, len(names))
    return Counter({name: int(n) for name, n in zip(names, counts, strict=True) if n})


def label_source(spec: Path | str | Sequence[Path | str]) -> LabelSource:
    """Open a source of labels.

    Parameters
    ----------
    spec : Path, str, or sequence of them
        "published": the windows that made the paper's dataset (data/labels/published.csv).
        "corrected": the windows of Liu et al. 2022 (data/labels/corrected.csv).
        "csv": CIC-IDS2017's GeneratedLabelledFlows below data/raw/cic-ids2017.
        Else the path of a schedule, of a GeneratedLabelledFlows file or of a folder of them, or a list of such files.

    Raises
    ------
    UserError
        As `read_schedule` and `labels_csv.read` do, or if a folder holds no CSV file.
    """
    if not isinstance(spec, str | Path):
        return _from_csv([Path(path) for path in spec])
    if str(spec) in NAMED:
        return _from_schedule(LABELS / f"{spec}.csv", str(spec))
    path = CIC_IDS2017 if str(spec) == "csv" else Path(spec)
    if not path.exists():
        path = ROOT / path  # the notebooks name files from the project's root
    if path.is_dir() or str(spec) == "csv":
        return _from_csv(cicids_csv.files(path))
    return _from_csv([path]) if cicids_csv.is_one(path) else _from_schedule(path, path.name)


def _from_schedule(path: Path, name: str) -> LabelSource:
    schedule = read_schedule(path)
    pairs = list(zip(schedule["label"], schedule["activity"].fillna("").astype(str), strict=True))
    kinds = sorted(set(pairs))
    kind = np.array([kinds.index(pair) for pair in pairs], np.int64)
    return LabelSource(name, path.read_bytes(), lambda first: find_rows(first, schedule), kind, kinds)


def _from_csv(paths: Sequence[Path]) -> LabelSource:
    table = cicids_csv.read(paths)
    content = "".join(sorted(table.sha256.values())).encode()
    attack = table.rows["attack"].astype(np.int64)
    return LabelSource("csv", content, table.find, attack, cicids_csv.KINDS, REASONS, table.notes)
