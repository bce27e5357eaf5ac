"""Where a flow's label comes from: a schedule of what was run when, and between which hosts."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from .config import CLASSES, UserError

_OPTIONAL = ("dport", "proto")
_FIELDS = {
    "start_us": int,
    "end_us": int,
    "src": ipaddress.IPv4Address,
    "dst": ipaddress.IPv4Address,
    "dport": int,
    "proto": int,
}
COLUMNS = ("label", "activity", "start_us", "end_us", "src", "dst", "dport", "proto")
NO_MATCH = (
    "the label schedule matches none of the {n:,} flows: do its times (start_us, end_us, microseconds since 1970 in "
    "UTC) and addresses belong to this capture?"
)


@dataclass(frozen=True)
class Labeller:
    """A source of labels.

    Parameters
    ----------
    source : str
        Its name, such as "lab.csv".
    content : bytes
        What decides the labels; its hash goes into the data's metadata.
    find : callable
        First packets of flows, ndarray of shape (n,) and dtype native.ROW (time, addresses, ports and protocol are
        set), to their labels: ndarray of shape (n,), int8, index into CLASSES, -1 for none.
    """

    source: str
    content: bytes
    find: Callable[[np.ndarray], np.ndarray]


def read_schedule(path: Path | str) -> pd.DataFrame:
    """Read a schedule of labels.

    Parameters
    ----------
    path : Path or str
        CSV with the columns of COLUMNS. ``src`` opens the flow; an empty ``dport`` or ``proto`` means any.

    Returns
    -------
    DataFrame
        One row an activity.

    Raises
    ------
    UserError
        If the file or a column is missing, or a label is not one of the paper's seven.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: there is no such label schedule; name a CSV with the columns {', '.join(COLUMNS)}")
    try:
        schedule = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a CSV file ({error})") from None
    missing = [name for name in COLUMNS if name not in schedule]
    if missing:
        raise UserError(f"{path}: the column {missing[0]!r} is missing; a schedule has {', '.join(COLUMNS)}")
    unknown = sorted(set(schedule["label"].fillna("")) - set(CLASSES))
    if unknown:
        raise UserError(f"{path}: {unknown[0]!r} is no class; use {', '.join(CLASSES)}")
    for name, check in _FIELDS.items():
        for line, value in schedule[name].items():
            try:
                if not (pd.isna(value) and name in _OPTIONAL):
                    check(value)
            except ValueError:
                raise UserError(f"{path}: line {line + 2}: {value!r} is no {name}") from None
    return schedule


def label_flows(first: np.ndarray, schedule: pd.DataFrame) -> np.ndarray:
    """Label flows by their first packets: the first schedule row that matches decides.

    Parameters
    ----------
    first : ndarray of shape (n_flows,), dtype native.ROW
        The first packet of each flow.
    schedule : DataFrame
        From `read_schedule`.

    Returns
    -------
    ndarray of shape (n_flows,), int8
        Index into CLASSES, -1 where no row matches.

    """
    labels = np.full(len(first), -1, np.int8)
    time_us = first["ts_ns"] // 1000
    for row in schedule.itertuples():
        match = (labels < 0) & (time_us >= row.start_us) & (time_us <= row.end_us)
        match &= first["saddr"] == int(ipaddress.IPv4Address(row.src))
        match &= first["daddr"] == int(ipaddress.IPv4Address(row.dst))
        for field in _OPTIONAL:
            if not pd.isna(getattr(row, field)):
                match &= first[field] == int(getattr(row, field))
        labels[match] = CLASSES.index(row.label)
    return labels


def from_schedule(path: Path | str) -> Labeller:
    """Labels from a schedule file.

    Raises
    ------
    UserError
        As `read_schedule` does.
    """
    path = Path(path)
    schedule = read_schedule(path)
    return Labeller(path.name, path.read_bytes(), lambda first: label_flows(first, schedule))
