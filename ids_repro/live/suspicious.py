"""Suspects, which are packets that the action "redirect" or a detector gave to user space, as lines and as a pcap."""

from __future__ import annotations

import contextlib
import ipaddress
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..files import replaced
from ..kernel.ring import wall_ns
from ..native import stream
from .program import Live

MOST = 256  # suspects taken at once
WAIT_MS = 200  # for a suspect, before `take` looks whether the program is still attached
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp6"}
# https://www.tcpdump.org/manpages/pcap-savefile.5.txt: time stamps in ns; by the variant's link
PCAP_HEADERS = {
    link: struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, number)
    for link, number in {"ethernet": 1, "bare": 101}.items()
}
_RECORD_BYTES = 16  # before each frame


def take(live: Live, count: int | None = None) -> Iterator[np.ndarray]:
    """Yield suspects as they come, until the program is detached.

    Parameters
    ----------
    live : Live
        The opened program: its action is "redirect", or it runs a detector.
    count : int, optional
        End after this many suspects.

    Yields
    ------
    ndarray of shape (n,), dtype SUSPECT
        At least one suspect, at most `MOST`.
    """
    left = count if count is not None else np.inf
    while left > 0:
        suspects = live.suspects(int(min(left, MOST)), WAIT_MS)
        left -= len(suspects)
        if len(suspects):
            yield suspects
        elif not live.folder.exists():
            return


@contextlib.contextmanager
def pcap_file(path: Path, link: str = "ethernet") -> Iterator[BinaryIO]:
    """Open a pcap and write its header. It gets its name when the block ends, in whatever way; a pipe gets it at once.

    Parameters
    ----------
    path : Path
        A file, or a pipe, such as /dev/stdout in front of ``| tcpdump -r -``.
    link : str
        What a frame is (`Variant.link`).

    Raises
    ------
    UserError
        As `files.replaced` does.
    """
    with path.open("wb", buffering=0) if path.is_fifo() else replaced(path, keep=True) as file:
        file.write(PCAP_HEADERS[link])
        file.flush()
        yield file


def _endpoint(address: bytes, port: int) -> str:
    ip = ipaddress.ip_address(address)
    return f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"


def _ends(frame: bytes, row: np.void) -> str:
    """Return protocol, source and destination of a frame whose IP header begins at ``row["ip_at"]``."""
    packet = frame[row["ip_at"] :]
    at, size = (8, 16) if packet[0] >> 4 == 6 else (12, 4)
    source, sink = packet[at : at + size], packet[at + size : at + 2 * size]
    proto = PROTOCOLS.get(int(row["proto"]), f"protocol {row['proto']}")
    return f"{proto} {_endpoint(source, row['sport'])} > {_endpoint(sink, row['dport'])}"


def lines(
    suspects: np.ndarray, classes: tuple[str, ...], with_score: bool = False, link: str = "ethernet"
) -> list[str]:
    """Return a line of text for each suspect: time of day, class, generation, protocol, source, destination, length.

    Parameters
    ----------
    suspects : ndarray of shape (n,), dtype SUSPECT
    classes : tuple of str
        Names of the classes (`Live.suspect_classes`).
    with_score : bool
        Whether to add the score, which a detector's packets have.
    link : {"ethernet", "bare"}
        What a frame is (`Variant.link`).
    """
    header = PCAP_HEADERS[link]
    rows, _ = stream.Reader(rules="both").read(np.frombuffer(header + pcap_records(suspects), np.uint8))
    parsed, out, at = {int(row["offset"]): row for row in rows}, [], len(header)
    for suspect, ns in zip(suspects, wall_ns(suspects["now_ns"]).tolist(), strict=True):
        at += _RECORD_BYTES
        frame, row = suspect["data"].tobytes(), parsed.get(at)
        ends = "its headers are longer than the bytes that were kept" if row is None else _ends(frame, row)
        at += int(suspect["caplen"])
        clock = time.strftime("%H:%M:%S", time.localtime(ns // 10**9)) + f".{ns // 1000 % 10**6:06}"
        score = f"score {suspect['score']}, " * with_score
        verdict = f"{classes[suspect['class']]} ({score}gen. {suspect['generation']})"
        out.append(f"{clock}  {verdict}  {ends}  {suspect['len']} bytes")
    return out


def pcap_records(suspects: np.ndarray) -> bytes:
    """Return suspects, of shape (n,) and dtype SUSPECT, as records of a pcap that follow its header."""
    out = []
    for suspect, ns in zip(suspects, wall_ns(suspects["now_ns"]).tolist(), strict=True):
        head = struct.pack("<IIII", ns // 10**9, ns % 10**9, suspect["caplen"], suspect["len"])
        out.append(head + suspect["data"].tobytes()[: suspect["caplen"]])
    return b"".join(out)
