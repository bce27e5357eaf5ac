"""Label flows from a schedule of what was run when, or from files that have a row for each flow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from ...compressed import bare_name
from ...config import CLASSES, LABELS, UserError
from . import cicids_csv
from .flow_index import REASONS, FlowIndex
from .schedule import find_rows, read_schedule

# The sources that have a name, for `--labels`. A schedule is the file data/labels/NAME.csv. A reader is a module that
# has FOLDER, KINDS, `files`, `is_one` and `read`, as `cicids_csv` has.
SCHEDULES = ("published", "corrected")
READERS = {"csv": cicids_csv}
_NO_MATCH = (
    "the label source matches none of the {n:,} flows: do its times (UTC; in a schedule start_us and end_us, "
    "microseconds since 1970) and addresses belong to this capture?"
)


def _class_ids(names: Sequence[str]) -> np.ndarray:
    return np.array([CLASSES.index(name) for name in names], np.int8)


@dataclass(frozen=True)
class Report:
    """How many flows and packets have each label and activity, and how many have none. Reports of parts can be added.

    Parameters
    ----------
    flows, packets : Counter
        The key is (label, activity), or (None, reason) for what has no label.
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
    """Labels for flows, from any source: rows that have a label each, and a function that finds a flow's row.

    Parameters
    ----------
    name : str
        A name in SCHEDULES or READERS, or the schedule's file name.
    content : bytes
        What decides the labels: the schedule, or the hashes of the files. The data's metadata get its hash.
    rows_of : callable
        Takes first packets, shape (n_flows,), dtype ROW, and returns the number of each flow's row. A negative number
        means that there is none: -1 stands for the first of `reasons`, -2 for the second.
    row_kind : ndarray of shape (n_rows,), int
        Each row's index into `kinds`.
    kinds : sequence of (label, activity)
        The names of the classes, and what was run.
    reasons : tuple of str
        Why a flow has no row.
    notes : dict of str to int
        What the reader of the files counted.
    incidents : bool
        Whether a row stands for something that was done, with any number of flows, and not for a flow.
    index : FlowIndex or None
        The rows, if each stands for a flow.
    """

    name: str
    content: bytes
    rows_of: Callable[[np.ndarray], np.ndarray]
    row_kind: np.ndarray
    kinds: Sequence[tuple[str, str]]
    reasons: tuple[str, ...] = ("no row matches",)
    notes: dict[str, int] = field(default_factory=dict)
    incidents: bool = False
    index: FlowIndex | None = None

    def label(self, first: np.ndarray, packets: np.ndarray | None = None) -> tuple[np.ndarray, Report]:
        """Label flows by their first packets.

        Parameters
        ----------
        first : ndarray of shape (n_flows,), dtype ROW
            The first packet of each flow. Only time, addresses, ports and protocol are read.
        packets : ndarray of shape (n_flows,), int, optional
            How many packets each flow has, for the report.

        Returns
        -------
        labels : ndarray of shape (n_flows,), int8
            Index into `config.CLASSES`, -1 if no row matches.
        report : Report
            Counts of these flows, and of their packets if they are given.
        """
        rows = self.rows_of(first)
        of_row = np.append(self.row_kind, 0)[np.maximum(rows, 0)]  # the 0 is for a schedule without rows
        kind = np.where(rows >= 0, of_row, len(self.kinds) - 1 - rows)
        names = [*self.kinds, *((None, reason) for reason in self.reasons)]
        report = Report(_counts(names, kind), Counter() if packets is None else _counts(names, kind, packets))
        unmatched = np.full(len(self.reasons), -1, np.int8)
        return np.append(_class_ids([label for label, _ in self.kinds]), unmatched)[kind], report

    def require_some(self, report: Report) -> None:
        """Refuse a source that labels no flow at all.

        Parameters
        ----------
        report : Report
            Of all flows.

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


def labels_beside(capture: Path) -> Path:
    """Return where a capture's labels are unless the user says otherwise: lab.csv beside lab.pcap or lab.pcap.gz."""
    return bare_name(capture).with_suffix(".csv")


def resolved(spec: Path | str | None, folder: Path = Path()) -> str | None:
    """Return a source of labels so that it means the same everywhere: a name, or an absolute path; None for None.

    Parameters
    ----------
    spec : Path or str, optional
        See `label_source`.
    folder : Path
        From which a relative path counts; by default the working directory.
    """
    if spec is None or str(spec) in (*SCHEDULES, *READERS):
        return spec and str(spec)
    return str((folder / spec).absolute())


def label_files(spec: Path | str | Sequence[Path | str] | None) -> list[Path]:
    """Return the files and folders that `label_source` reads for a source of labels; none for None."""
    if spec is None or not isinstance(spec, str | Path):
        return [Path(path) for path in spec or ()]
    if str(spec) in SCHEDULES:
        return [LABELS / f"{spec}.csv"]
    return [READERS[str(spec)].FOLDER if str(spec) in READERS else Path(spec)]


def label_source(spec: Path | str | Sequence[Path | str], folder: Path | None = None) -> LabelSource:
    """Open a source of labels.

    Parameters
    ----------
    spec : Path, str, or sequence of them
        "published": the windows behind the paper's dataset (data/labels/published.csv).
        "corrected": the windows of Liu et al. 2022 (data/labels/corrected.csv).
        "csv": the GeneratedLabelledFlows of CIC-IDS2017, in `folder`.
        Else the path of a schedule, of a GeneratedLabelledFlows file, zip file or folder, or a list of such files.
        Files may be compressed.
    folder : Path, optional
        Where the files of a named reader ("csv") are; by default its own FOLDER (data/raw/cic-ids2017).

    Returns
    -------
    LabelSource

    Raises
    ------
    UserError
        As `read_schedule` and `cicids_csv.read` do, or if a folder holds no CSV file.
    """
    if not isinstance(spec, str | Path):
        return _from_rows("csv", [Path(path) for path in spec])
    name = str(spec)
    if name in SCHEDULES:
        return _from_schedule(LABELS / f"{name}.csv", name)
    if name in READERS:
        return _from_rows(name, READERS[name].files(folder or READERS[name].FOLDER))
    path = Path(spec)
    if path.is_dir():
        return _from_rows("csv", cicids_csv.files(path))
    reader = next((name for name, module in READERS.items() if module.is_one(path)), None)
    return _from_rows(reader, [path]) if reader else _from_schedule(path, path.name)


def _from_schedule(path: Path, name: str) -> LabelSource:
    schedule = read_schedule(path)
    pairs = list(zip(schedule["label"], schedule["activity"], strict=True))
    kinds = sorted(set(pairs))
    kind = np.array([kinds.index(pair) for pair in pairs], np.int64)
    find = partial(find_rows, schedule=schedule)
    return LabelSource(name, path.read_bytes(), find, kind, kinds, incidents=True)


def _from_rows(name: str, paths: Sequence[Path]) -> LabelSource:
    return from_index(name, READERS[name].read(paths))


def from_index(name: str, index: FlowIndex) -> LabelSource:
    """Make a source of rows that a reader has read before.

    Parameters
    ----------
    name : str
        The reader's, in READERS.
    index : FlowIndex
        The rows.
    """
    content = "".join(sorted(index.sha256.values())).encode()
    kind = index.rows["attack"].astype(np.int64)
    return LabelSource(name, content, index.find, kind, READERS[name].KINDS, REASONS, index.notes, index=index)
