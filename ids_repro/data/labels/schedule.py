"""Read a schedule of what was run when and between which hosts, and find the row that a flow belongs to."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...config import CLASSES, UserError

COLUMNS = ("label", "activity", "start_us", "end_us", "src", "dst", "dport", "proto")
EXTRA_COLUMNS = ("sport", "both")  # a schedule may lack these
_FIELDS = {
    "start_us": int,
    "end_us": int,
    "src": ipaddress.IPv4Address,
    "dst": ipaddress.IPv4Address,
    "dport": int,
    "proto": int,
    "sport": int,
    "both": lambda value: (0, 1).index(float(value)),
}
_OPTIONAL = ("src", "dst", "dport", "proto", *EXTRA_COLUMNS)
# Field of a packet -> column of the schedule, for flows that `src` opens and for flows that `dst` opens.
_FORTH = {"saddr": "src", "daddr": "dst", "sport": "sport", "dport": "dport", "proto": "proto"}
_BACK = {"saddr": "dst", "daddr": "src", "sport": "dport", "dport": "sport", "proto": "proto"}


def read_schedule(path: Path | str) -> pd.DataFrame:
    """Read a schedule of labels.

    Parameters
    ----------
    path : Path or str
        CSV with COLUMNS, and EXTRA_COLUMNS if needed. ``src`` opens the flow; an empty ``src``, ``sport``, ``dst``,
        ``dport`` or ``proto`` means any. Where ``both`` is 1, flows that ``dst`` opens match too; then the ports are
        exchanged like the addresses. Other columns are not read.

    Returns
    -------
    DataFrame
        One row for each activity, with all columns.

    Raises
    ------
    UserError
        If the file or a column is missing, a field cannot be read, or a label is not one of the paper's seven.
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
    schedule = schedule.assign(**{name: np.nan for name in EXTRA_COLUMNS if name not in schedule})
    _check_fields(schedule, path)
    return schedule


def _check_fields(schedule: pd.DataFrame, path: Path) -> None:
    """Refuse a label that is no class, and a field that cannot be read."""
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


def find_rows(first: np.ndarray, schedule: pd.DataFrame) -> np.ndarray:
    """Find for each flow the first row of the schedule that matches the flow's first packet.

    Parameters
    ----------
    first : ndarray of shape (n_flows,), dtype ROW
        The first packet of each flow.
    schedule : DataFrame
        From `read_schedule`.

    Returns
    -------
    ndarray of shape (n_flows,), int64
        The number of the row, -1 if none matches.
    """
    time_us = (first["ts_ns"] // 1000).astype(np.int64)
    order = np.argsort(time_us, kind="stable")
    time_us = time_us[order]
    packets = {name: first[name][order] for name in _FORTH}
    found = np.full(len(first), -1)
    for number, row in enumerate(schedule.itertuples()):
        begin = np.searchsorted(time_us, int(row.start_us), side="left")
        at = slice(begin, max(begin, np.searchsorted(time_us, int(row.end_us), side="right")))
        match = _match(packets, at, row, _FORTH)
        if row.both == 1:
            match |= _match(packets, at, row, _BACK)
        found[at][match & (found[at] < 0)] = number
    rows = np.empty_like(found)
    rows[order] = found
    return rows


def _match(packets: dict[str, np.ndarray], at: slice, row: Any, way: dict[str, str]) -> np.ndarray:
    """Return which packets of the slice a row matches; `way` is _FORTH or _BACK."""
    match = np.ones(at.stop - at.start, bool)
    for name, column in way.items():
        value = getattr(row, column)
        if not pd.isna(value):
            match &= packets[name][at] == int(ipaddress.IPv4Address(value) if column in ("src", "dst") else value)
    return match
