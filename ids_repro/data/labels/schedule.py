"""Read a schedule of what was run when and between which hosts, and find the row that a flow belongs to."""

from __future__ import annotations

import csv
import io
import ipaddress
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...config import CLASSES, UserError
from ...files import require_file
from .text_files import misfit, text_files

COLUMNS = ("label", "activity", "start_us", "end_us", "src", "dst", "dport", "proto")
EXTRA_COLUMNS = ("sport", "both")  # a schedule may lack these
MOST_BYTES = 1 << 26  # of a schedule, decompressed; that of four years of weeks has 1 MB
_OPTIONAL = ("activity", "src", "dst", "dport", "proto", *EXTRA_COLUMNS)


def _whole(most: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from 0 to `most`; some files write a port as 80.0."""

    def parse(text: str) -> int:
        value = Decimal(text)
        if not (value.is_finite() and value == value.to_integral_value() and 0 <= value <= most):
            raise ValueError
        return int(value)

    return parse


def _class(text: str) -> str:
    if text not in CLASSES:
        raise ValueError
    return text


# How a field is read, and what should be there.
_FIELDS = {
    "label": (_class, f"use {', '.join(CLASSES)}"),
    "activity": (str, ""),
    **dict.fromkeys(("start_us", "end_us"), (_whole(2**63 - 1), "a whole number of microseconds since 1970")),
    **dict.fromkeys(("src", "dst"), (lambda text: str(ipaddress.IPv4Address(text)), "an IPv4 address, or nothing")),
    **dict.fromkeys(("sport", "dport"), (_whole(65_535), "a port from 0 to 65535, or nothing")),
    "proto": (_whole(255), "a protocol from 0 to 255, or nothing"),
    "both": (_whole(1), "0 or 1, or nothing"),
}
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
        if path.exists():
            require_file(path)  # says what is there instead
        raise UserError(f"{path}: there is no such label schedule; name a CSV with the columns {', '.join(COLUMNS)}")
    files = text_files(path)
    if len(files) > 1:
        raise UserError(f"{path}: {len(files)} CSV files in it, and a schedule is one; unpack it and name one")
    try:
        with files[0].open() as file:
            content = file.read(MOST_BYTES + 1)
            if len(content) > MOST_BYTES:
                raise UserError(f"{path}: has more than {MOST_BYTES:,} bytes, so it is no schedule of labels")
            reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
            lines = [(reader.line_num, fields) for fields in reader if any(fields)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a CSV file ({error})") from None
    header = [name.strip() for name in lines[0][1]] if lines else []
    _require_columns(path, header)
    rows = [_row(f"{path}: line {number}", header, fields) for number, fields in lines[1:]]
    return pd.DataFrame(rows, columns=[*COLUMNS, *EXTRA_COLUMNS])


def _require_columns(path: Path, header: list[str]) -> None:
    missing = [name for name in COLUMNS if name not in header]
    if not header:
        raise UserError(f"{path}: the file is empty; a schedule has the columns {', '.join(COLUMNS)}")
    if len(missing) >= len(COLUMNS) - 1:
        text = f"neither the columns of a schedule ({', '.join(COLUMNS)}) nor those of GeneratedLabelledFlows"
        raise UserError(f"{path}: line 1 names {text} (Source IP, Source Port, ..., Timestamp, Label)")
    if missing:
        raise UserError(f"{path}: the column {missing[0]!r} is missing; a schedule has {', '.join(COLUMNS)}")


def _row(where: str, header: list[str], fields: list[str]) -> dict[str, Any]:
    """Return the values of a line; an empty field is NaN."""
    if wrong := misfit(fields, len(header)):
        raise UserError(f"{where}: {wrong}")
    texts, row = dict(zip(reversed(header), map(str.strip, reversed(fields)), strict=True)), {}
    for name, (parse, expected) in _FIELDS.items():
        text = texts.get(name, "")
        if not text and name in _OPTIONAL:
            row[name] = "" if name == "activity" else np.nan
            continue
        try:
            row[name] = parse(text)
        except (ValueError, InvalidOperation):
            what = "is no class" if name == "label" else f"is no {name}"
            raise UserError(f"{where}: column {name!r}: {text!r:.80} {what}; {expected}") from None
    if row["end_us"] < row["start_us"]:
        raise UserError(f"{where}: column 'end_us': {row['end_us']} is before start_us, {row['start_us']}")
    return row


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
