"""Read the labels that CIC-IDS2017 comes with: the CSV files of GeneratedLabelledFlows, a row for each flow.

The files that Engelen et al. 2021 and Liu et al. 2022 made of the same captures with a newer CICFlowMeter are read too.

Differs: the rows are CICFlowMeter's flows. CICFlowMeter ends a TCP flow at the first FIN, so one flow here may be
several rows there. The first of these rows has the flow's start.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ...config import CIC_IDS2017, UserError
from ...files import require_file
from . import stamps
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

DEPTH = 3  # folders: the publisher's zip file has two
FOLDER = CIC_IDS2017  # where the files are if `--labels` has only this source's name
COLUMNS = ("Source IP", "Source Port", "Destination IP", "Destination Port", "Protocol", "Timestamp", "Label")
_NEWER = {"src ip": "Source IP", "src port": "Source Port", "dst ip": "Destination IP", "dst port": "Destination Port"}
_USUAL = {name.lower(): name for name in COLUMNS} | _NEWER
ENCODING = "cp1252"  # the publisher's; re-saved files are in UTF-8
KINDS = [(label, name) for label, names in ATTACKS.items() for name in names]  # (class, attack)
KINDS += [("Normal", name + ATTEMPTED) for label, name in KINDS if label != "Normal"]
_KIND = {name.lower(): i for i, (_, name) in enumerate(KINDS)}
_LABELS = sorted({name for names in ATTACKS.values() for name in names if ":" not in name})
_WEB = ("brute force", "xss", "sql injection")


def files(folder: Path) -> list[Path]:
    """List the CSV files in a folder and at most DEPTH below it, but not MachineLearningCSV, which names no hosts.

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
    below = list(_below(folder))
    found = sorted(path for path in below if is_label_file(str(path.relative_to(folder))))
    found = found or sorted(path for path in below if path.match("GeneratedLabelledFlows*.zip"))
    if not found:
        raise UserError(f"{folder}: no CSV file in it; put CIC-IDS2017's GeneratedLabelledFlows.zip there")
    return found


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        if len(Path(place).relative_to(folder).parts) == DEPTH:
            folders.clear()
        yield from (Path(place, name) for name in names)


def is_one(path: Path) -> bool:
    """Return whether a file is one of GeneratedLabelledFlows: its first line has two of COLUMNS besides the label."""
    return path.is_file() and len(set(COLUMNS[:-1]) & set(map(_usual, header_of(text_files(path)[0])))) >= 2


def _usual(name: str) -> str:
    """Return a column's name as the publisher has it; others have small letters, or _ for a space."""
    return _USUAL.get(name.lower().replace("_", " "), name)


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
        CICFlowMeter makes by mistake; "header", which repeat the first line), those that contradict the row before them
        of the same flow and time ("contradictory"), and those whose time got seconds when a program saved the file
        ("seconds_added"; see `stamps.expanded`).

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
            ("Timestamp", stamps.read),
            ("Label", _attack),
        )
    }
    source = column["Source IP"] << 16 | column["Source Port"]
    sink = column["Destination IP"] << 16 | column["Destination Port"]
    rows = np.zeros(int(keep.sum()), ROW)
    rows["low"], rows["high"] = np.minimum(source, sink)[keep], np.maximum(source, sink)[keep]
    rows["proto"], rows["attack"] = proto[keep], column["Label"][keep]
    rows, added = stamps.expanded(rows, column["Timestamp"][keep])
    if added:
        notes["seconds_added"] += added
    return rows


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
            why = f"{_decoded(text)!r:.80} cannot be read; {_EXPECTED[name]}"
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
    "Timestamp": stamps.EXPECTED,
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
