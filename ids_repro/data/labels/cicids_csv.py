"""Read the labels that CIC-IDS2017 comes with: the CSV files of GeneratedLabelledFlows, a row for each flow.

Differs: the rows are CICFlowMeter's flows. CICFlowMeter ends a TCP flow at the first FIN, so one flow here may be
several rows there. The first of these rows has the flow's start.
"""

from __future__ import annotations

import calendar
import hashlib
import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from ...config import CIC_IDS2017, UserError
from .flow_index import ROW, FlowIndex

# Attack names in CIC-IDS2017's three labellings, mapped to classes as the paper's training script maps CN-TU's. The
# three are the dataset's CSV files, the time windows behind the paper's data (CN-TU), and Liu et al. 2022.
# Differs: Liu et al. keep "... - Attempted" (traffic of the attacker that carries no attack) apart; here it is Normal.
ATTACKS = {
    "Botnet": ("Bot", "Botnet:ARES", "Botnet"),
    "Brute force": ("FTP-Patator", "SSH-Patator", "Brute Force:FTP-Patator", "Brute Force:SSH-Patator"),
    "DoS": (
        *("DoS Hulk", "DoS GoldenEye", "DoS slowloris", "DoS Slowhttptest", "Heartbleed", "DDoS", "DDoS:LOIT"),
        *(f"DoS / DDoS:{name}" for name in ("DoS Hulk", "DoS GoldenEye", "DoS slowloris", "DoS Slowhttptest")),
        "DoS / DDoS:Heartbleed",
    ),
    "Infiltration": (
        *("Infiltration", "Infiltration - Portscan", "Infiltration:Dropbox download", "Infiltration:Cool disk"),
        "Infiltration:Dropbox download - (Portscan + Nmap) from victim",
    ),
    "Normal": ("BENIGN", "Normal"),
    "Portscan": ("PortScan", "PortScan:PortScan - Firewall on", "PortScan:PortScan - Firewall off"),
    "Web attack": (
        *("Web Attack - Brute Force", "Web Attack - XSS", "Web Attack - SQL Injection"),
        *("Web Attack:Brute Force", "Web Attack:XSS", "Web Attack:Sql Injection"),
    ),
}

FOLDER = CIC_IDS2017  # where the files are if `--labels` has only this source's name
COLUMNS = ("Source IP", "Source Port", "Destination IP", "Destination Port", "Protocol", "Timestamp", "Label")
ENCODING = "cp1252"
UTC_MINUS_LOCAL = timedelta(hours=3)  # the files' clock is ADT
KINDS = [(label, name) for label, names in ATTACKS.items() for name in names]  # (class, attack)
_KIND = {name.lower(): i for i, (_, name) in enumerate(KINDS)}
_WEB = ("brute force", "xss", "sql injection")
_TIME = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}) (\d{1,2}):(\d{2})(?::(\d{2}))?")


def files(folder: Path) -> list[Path]:
    """List the CSV files in a folder and below it, except those of MachineLearningCSV, which name no hosts.

    Parameters
    ----------
    folder : Path
        For example where GeneratedLabelledFlows.zip was unpacked.

    Returns
    -------
    list of Path
        Sorted.

    Raises
    ------
    UserError
        If there is none.
    """
    found = sorted(
        path
        for path in folder.rglob("*.csv")
        if not any(part.startswith("MachineLearning") for part in path.relative_to(folder).parts)
    )
    if not found:
        raise UserError(f"{folder}: no CSV file in it; unpack CIC-IDS2017's GeneratedLabelledFlows.zip there")
    return found


def is_one(path: Path) -> bool:
    """Return whether a file is one of GeneratedLabelledFlows: its first line has at least two of COLUMNS."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return len(set(COLUMNS) & set(_header(file.readline()))) >= 2


def _header(line: bytes) -> list[str]:
    return [_plain(name) for name in line.replace(b"\0", b"").decode("latin-1").strip().split(",")]


def _plain(name: str) -> str:
    return name.removeprefix("\ufeff").removeprefix("ï»¿").strip().strip('"').strip()


def read(paths: Sequence[Path]) -> FlowIndex:
    """Read GeneratedLabelledFlows files.

    Parameters
    ----------
    paths : sequence of Path
        The files. Their order decides which of two contradicting rows counts.

    Returns
    -------
    FlowIndex
        Its `notes` count the rows that are kept ("rows"), the rows that are left out ("empty"; "protocol_0", which
        CICFlowMeter makes by mistake), and those that contradict the row before them of the same flow and time
        ("contradictory").

    Raises
    ------
    UserError
        If a file is missing, is not cp1252, lacks a column, or a field cannot be read. The message names file, line and
        column.
    """
    notes, digests, parts = Counter(rows=0, empty=0, protocol_0=0), {}, []
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path}: there is no such file")
        digests[str(path)] = _sha256(path)
        parts.append(_rows(path, notes))
    rows = np.concatenate([np.zeros(0, ROW), *parts])
    if not len(rows):
        raise UserError(f"no row with a flow in {', '.join(map(str, paths)) or 'an empty list of label files'}")
    notes["rows"] = len(rows)
    return FlowIndex(rows, digests, notes)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _frame(path: Path) -> pd.DataFrame:
    """Read the columns of COLUMNS as text, one category for each different text; an empty field is NaN."""
    with path.open("rb") as file:
        start = file.read(1 << 16)
    if b"\0" in start:
        raise UserError(f"{path}: line 1: column {COLUMNS[0]!r}: not {ENCODING} text (UTF-16?); save the file in UTF-8")
    header = _header(start.split(b"\n")[0])
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise UserError(f"{path}: line 1: the column {missing[0]!r} is missing; needed are {', '.join(COLUMNS)}")
    try:
        frame = pd.read_csv(
            path,
            encoding=ENCODING,
            usecols=lambda name: _plain(name) in COLUMNS,
            dtype="category",
            skip_blank_lines=False,
            na_values=[""],
            keep_default_na=False,
        )
    except UnicodeDecodeError:
        raise UserError(_undecodable(path)) from None
    except pd.errors.ParserError as error:
        raise UserError(f"{path}: not a CSV file ({error})") from None
    frame.columns = [_plain(name) for name in frame.columns]
    return frame.loc[:, ~frame.columns.duplicated()]


def _undecodable(path: Path) -> str:
    """Return a message that names the first byte that is not cp1252, with its line and column."""
    with path.open("rb") as file:
        names = _header(file.readline())
        file.seek(0)
        for number, line in enumerate(file, 1):
            try:
                line.decode(ENCODING)
            except UnicodeDecodeError as error:
                column = names[min(line[: error.start].count(b","), len(names) - 1)]
                return (
                    f"{path}: line {number}: column {column!r}: byte 0x{line[error.start]:02x} is not {ENCODING} text; "
                    f"save the file in {ENCODING} or UTF-8"
                )
    return f"{path}: not {ENCODING} text"


def _rows(path: Path, notes: Counter) -> np.ndarray:
    """Read a file into rows of dtype `flow_index.ROW`, and count in `notes` what is left out."""
    frame = _frame(path)
    empty = frame.isna().all(axis=1).to_numpy()
    proto = _parse(path, frame, ~empty, "Protocol", _number(255))
    artefact = ~empty & (proto == 0)
    notes["empty"] += int(empty.sum())
    notes["protocol_0"] += int(artefact.sum())
    keep = ~empty & ~artefact
    column = {
        name: _parse(path, frame, keep, name, parse)
        for name, parse in (
            ("Source IP", lambda text: int(ipaddress.IPv4Address(text))),
            ("Destination IP", lambda text: int(ipaddress.IPv4Address(text))),
            ("Source Port", _number(65535)),
            ("Destination Port", _number(65535)),
            ("Timestamp", _time),
            ("Label", _attack),
        )
    }
    source = column["Source IP"] << 16 | column["Source Port"]
    sink = column["Destination IP"] << 16 | column["Destination Port"]
    rows = np.zeros(int(keep.sum()), ROW)
    rows["low"], rows["high"] = np.minimum(source, sink)[keep], np.maximum(source, sink)[keep]
    rows["start_s"], rows["window_s"] = np.divmod(column["Timestamp"][keep], 100)
    rows["proto"], rows["attack"] = proto[keep], column["Label"][keep]
    return rows


def _parse(path: Path, frame: pd.DataFrame, wanted: np.ndarray, name: str, parse: Callable[[str], int]) -> np.ndarray:
    """Parse each different text of a column once, and return the values; only `wanted` rows must be readable."""
    codes = frame[name].cat.codes.to_numpy().astype(np.int64)
    texts = frame[name].cat.categories
    values = np.zeros(len(texts) + 1, np.int64)  # an empty field has code -1, and so the last value
    bad = np.zeros(len(values), bool)
    bad[-1] = True
    for i, text in enumerate(texts):
        try:
            values[i] = parse(text.strip())
        except ValueError:
            bad[i] = True
    wrong = np.flatnonzero(bad[codes] & wanted)
    if len(wrong):
        text = "" if codes[wrong[0]] < 0 else texts[codes[wrong[0]]]
        raise UserError(f"{path}: line {wrong[0] + 2}: column {name!r}: {text!r} cannot be read; {_EXPECTED[name]}")
    return values[codes]


_EXPECTED = {
    "Source IP": "an IPv4 address should be there",
    "Destination IP": "an IPv4 address should be there",
    "Source Port": "a number up to 65535 should be there",
    "Destination Port": "a number up to 65535 should be there",
    "Protocol": "a number up to 255 should be there",
    "Timestamp": "D/M/YYYY H:MM or DD/MM/YYYY HH:MM:SS should be there",
    "Label": f"the labels are {', '.join(sorted({name for _, name in KINDS if ':' not in name}))}",
}


def _number(most: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from 0 to `most`."""

    def parse(text: str) -> int:
        value = float(text)  # some files write a port as 80.0
        if not (value.is_integer() and 0 <= value <= most):
            raise ValueError
        return int(value)

    return parse


def _time(text: str) -> int:
    """Return the time since 1970 in UTC [s], times 100, plus the stamp's resolution [s]: 60, or 1 if it has seconds.

    The stamps have twelve hours without AM or PM. Nothing was captured between 7 p.m. and 7 a.m., so an hour before 7
    is in the afternoon.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError
    day, month, year, hour, minute, second = (int(part or 0) for part in match.groups())
    moment = datetime(year, month, day, hour + 12 if hour < 7 else hour, minute, second) + UTC_MINUS_LOCAL
    return calendar.timegm(moment.timetuple()) * 100 + (60 if match[6] is None else 1)


def _attack(text: str) -> int:
    """Return the index into KINDS.

    The names of web attacks contain a dash, byte 0x96. Programs that re-save the file turn it into various characters,
    so only the words are compared.
    """
    text = text.lower()
    if text.startswith("web attack"):
        text = "web attack - " + next((words for words in _WEB if text.endswith(words)), "?")
    if text not in _KIND:
        raise ValueError
    return _KIND[text]
