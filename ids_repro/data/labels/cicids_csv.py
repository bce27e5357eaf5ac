"""Read the labels that CIC-IDS2017 comes with: the CSV files of GeneratedLabelledFlows, a row for each flow.

The files that Engelen et al. 2021 and Liu et al. 2022 made of the same captures with a newer CICFlowMeter are read too.

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
from datetime import datetime
from pathlib import Path

import numpy as np

from ...config import CIC_IDS2017, UserError
from ...files import require_file
from .csv_table import CsvTable
from .csv_table import header as header_of
from .flow_index import ROW, FlowIndex
from .text_files import TextFile, is_label_file, text_files

# Attack names in CIC-IDS2017's three labellings, mapped to classes as the paper's training script maps CN-TU's. The
# three are the dataset's CSV files, the time windows behind the paper's data (CN-TU), and Liu et al. 2022.
# Differs: Liu et al. keep "... - Attempted" (traffic of the attacker that carries no attack) apart; here it is Normal.
ATTEMPTED = " - Attempted"
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
_NEWER = {"Src IP": "Source IP", "Src Port": "Source Port", "Dst IP": "Destination IP", "Dst Port": "Destination Port"}
ENCODING = "cp1252"  # the publisher's; re-saved files are in UTF-8
KINDS = [(label, name) for label, names in ATTACKS.items() for name in names]  # (class, attack)
KINDS += [("Normal", name + ATTEMPTED) for label, name in KINDS if label != "Normal"]
_KIND = {name.lower(): i for i, (_, name) in enumerate(KINDS)}
_LABELS = sorted({name for names in ATTACKS.values() for name in names if ":" not in name})
_WEB = ("brute force", "xss", "sql injection")
_TIMES = (
    r"(?P<day>\d{1,2})/(?P<month>\d{1,2})/(?P<year>\d{4}) (?P<hour>\d{1,2}):(?P<minute>\d{2})(:(?P<second>\d{2}))?"
    r"( (?P<half>[AaPp][Mm]))?",
    r"(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})[ T](?P<hour>\d{2}):(?P<minute>\d{2})(:(?P<second>\d{2})(\.\d+)?)?"
    r"(?P<zone>Z|\+00:?00)?",
)
_TIMES = tuple(map(re.compile, _TIMES))
# What a file's clock may be, as hours that are added to get UTC. The publisher's clock is ADT. CICFlowMeter writes the
# time of the machine that it runs on: UTC + 2 h for Engelen et al., UTC for Liu et al. A row counts at each of these
# hours: that a flow of the same two ends began in the same second, hours apart, is not to be expected.
_CLOCKS = {"without AM and PM": (3,), "AM and PM": (3, -2), "ISO": (0, 3), "UTC": (0,)}


def files(folder: Path) -> list[Path]:
    """List the CSV files in a folder and below it, except those of MachineLearningCSV, which name no hosts.

    Parameters
    ----------
    folder : Path
        Where GeneratedLabelledFlows.zip is, or was unpacked. The files may be compressed.

    Returns
    -------
    list of Path
        Sorted.

    Raises
    ------
    UserError
        If there is none.
    """
    found = sorted(path for path in folder.rglob("*") if is_label_file(str(path.relative_to(folder))))
    found = found or sorted(folder.rglob("GeneratedLabelledFlows*.zip"))
    if not found:
        raise UserError(f"{folder}: no CSV file in it; put CIC-IDS2017's GeneratedLabelledFlows.zip there")
    return found


def is_one(path: Path) -> bool:
    """Return whether a file is one of GeneratedLabelledFlows: its first line has at least two of COLUMNS."""
    return path.is_file() and len(set(COLUMNS) & set(map(_usual, header_of(text_files(path)[0])))) >= 2


def _usual(name: str) -> str:
    return _NEWER.get(name, name)


def read(paths: Sequence[Path]) -> FlowIndex:
    """Read GeneratedLabelledFlows files.

    Parameters
    ----------
    paths : sequence of Path
        The files, plain or compressed, or zip files of them. Their order decides which of two contradicting rows
        counts.

    Returns
    -------
    FlowIndex
        Its `notes` count the rows that are kept ("rows"), the rows that are left out ("empty"; "protocol_0", which
        CICFlowMeter makes by mistake; "header", which repeat the first line), and those that contradict the row before
        them of the same flow and time ("contradictory").

    Raises
    ------
    UserError
        If a file is missing, is not cp1252 or UTF-8, lacks a column, or a line or a field cannot be read. The message
        names file, line and column.
    """
    notes, digests, parts = Counter(rows=0, empty=0, protocol_0=0), {}, []
    for path in paths:
        require_file(path)
        parts += [_rows(file, notes) for file in text_files(path)]
        digests[str(path)] = _sha256(path)
    rows = np.concatenate([np.zeros(0, ROW), *parts])
    if not len(rows):
        raise UserError(f"no row with a flow in {', '.join(map(str, paths)) or 'an empty list of label files'}")
    return FlowIndex.of(rows, digests, dict(notes))


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _rows(file: TextFile, notes: Counter) -> np.ndarray:
    """Read a file into rows of dtype `flow_index.ROW`, and count in `notes` what is left out."""
    table = CsvTable(file, {name: _usual(name) for name in header_of(file)}, COLUMNS)
    empty = np.all([codes < 0 for codes in table.codes.values()], axis=0)
    header = table.repeats_header()
    proto = _parse(table, ~empty & ~header, "Protocol", _number(255))
    artefact = ~empty & ~header & (proto == 0)
    keep = ~empty & ~header & ~artefact
    notes["empty"] += int(empty.sum()) + table.blank
    notes["protocol_0"] += int(artefact.sum())
    notes["rows"] += int(keep.sum())
    if header.any():
        notes["header"] += int(header.sum())
    column = {
        name: _parse(table, keep, name, parse)
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
    rows["proto"], rows["attack"] = proto[keep], column["Label"][keep]
    local_s, rest = np.divmod(column["Timestamp"][keep], 1000)
    clock, rows["window_s"] = np.divmod(rest, 100)
    parts = []
    for number, hours in enumerate(_CLOCKS.values()):
        for hour in hours:
            part = rows[clock == number]
            part["start_s"] = local_s[clock == number] + 3600 * hour
            parts.append(part)
    return np.concatenate(parts)


def _parse(table: CsvTable, wanted: np.ndarray, name: str, parse: Callable[[str], int]) -> np.ndarray:
    """Parse each different text of a column once, and return the values; only `wanted` rows must be readable."""
    codes, texts = table.codes[name], table.texts[name]
    values = np.zeros(len(texts) + 1, np.int64)  # an empty field has code -1, and so the last value
    bad = np.zeros(len(values), bool)
    bad[-1] = True
    for i, text in enumerate(texts):
        try:
            values[i] = parse(_decoded(text).strip())
        except ValueError:
            bad[i] = True
    wrong = np.flatnonzero(bad[codes] & wanted)
    if len(wrong):
        text = b"" if codes[wrong[0]] < 0 else texts[codes[wrong[0]]]
        try:
            why = f"{_decoded(text)!r} cannot be read; {_EXPECTED[name]}"
        except UnicodeDecodeError as error:
            byte = f"byte 0x{text[error.start]:02x} is not {ENCODING} text"
            why = f"{byte}; save the file in {ENCODING} or UTF-8"
        raise table.fault(name, int(wrong[0]), why)
    return values[codes]


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode(ENCODING)


_EXPECTED = {
    "Source IP": "an IPv4 address should be there",
    "Destination IP": "an IPv4 address should be there",
    "Source Port": "a number up to 65535 should be there",
    "Destination Port": "a number up to 65535 should be there",
    "Protocol": "a number up to 255 should be there",
    "Timestamp": "D/M/YYYY H:MM, DD/MM/YYYY HH:MM:SS (both also with AM or PM) or YYYY-MM-DD HH:MM:SS should be there",
    "Label": f"the labels are {', '.join(_LABELS)}, and these with {ATTEMPTED!r}",
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
    """Return the local time since 1970 [s] times 1000, plus the clock times 100, plus the stamp's resolution [s].

    The clock is an index into _CLOCKS. The resolution is 60, or 1 if the stamp has seconds. In stamps of twelve hours
    without AM or PM, an hour before 7 is in the afternoon: nothing was captured between 7 p.m. and 7 a.m.
    """
    match = next(filter(None, (pattern.fullmatch(text) for pattern in _TIMES)), None)
    if match is None:
        raise ValueError
    parts = match.groupdict()
    hour, half, iso = int(parts["hour"]), (parts.get("half") or "").lower(), "zone" in parts
    if half:
        if not 1 <= hour <= 12:
            raise ValueError
        hour = hour % 12 + (12 if half == "pm" else 0)
    elif not iso and hour < 7:
        hour += 12
    clock = "UTC" if parts.get("zone") else "ISO" if iso else "AM and PM" if half else "without AM and PM"
    year, month, day, minute, second = (int(parts[name] or 0) for name in ("year", "month", "day", "minute", "second"))
    local_s = calendar.timegm(datetime(year, month, day, hour, minute, second).timetuple())
    if not 86_400 <= local_s < 2**32 - 86_400:
        raise ValueError  # outside 1970 to 2106, which no capture's stamps leave
    return local_s * 1000 + list(_CLOCKS).index(clock) * 100 + (60 if parts["second"] is None else 1)


def _attack(text: str) -> int:
    """Return the index into KINDS.

    The names of web attacks contain a dash, byte 0x96. Programs that re-save the file turn it into various characters,
    so only the words are compared.
    """
    text = text.lower()
    name = text.removesuffix(ATTEMPTED.lower())
    if name.startswith("web attack"):
        name = "web attack - " + next((words for words in _WEB if name.endswith(words)), "?")
    name += ATTEMPTED.lower() if text.endswith(ATTEMPTED.lower()) else ""
    if name not in _KIND:
        raise ValueError
    return _KIND[name]
