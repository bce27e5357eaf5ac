"""Read the packets of a capture file. Python reads its bytes piece by piece, and C parses them (bpf/user/capture.c).

The parser can read IPv6, here as in the kernel. Label files, schedules and packet tables know only IPv4 addresses. So
IPv6 packets are counted and left out unless the caller wants them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..config import DamagedWarning, UserError, number
from ..files import require_file
from ..native import stream
from ..native.layouts import OUTCOMES, ROW
from .byte_stream import PIECE_BYTES, STDIN, ByteStream

MAX_BYTES = 1 << 25  # no record and no block of a capture may be longer
# The first bytes of a pcap file: little-endian and big-endian, with stamps in microseconds and then in nanoseconds.
_PCAP = (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d")
_PCAPNG = b"\x0a\x0d\x0d\x0a"
# From the IP header on, the parser reads no more than this: IDS_REACH of bpf/parse.h, and a TCP header.
HEADER_BYTES = 256 + 20
# Lengths of an Ethernet header with 0, 1 and 2 VLAN tags. No other link layer's header has one of these lengths.
_ETHERNET_BYTES = (14, 18, 22)
# By IP version: an Ethernet header whose addresses are zeros.
_BARE_ETHERNET = {4: bytes(12) + b"\x08\x00", 6: bytes(12) + b"\x86\xdd"}


def open_source(path: Path, dedup_ms: float = 0, reorder_ms: float = 0, rules: str | None = None) -> Packets:
    """Open any path as a capture file; see `Packets` and `extract.PacketSource`."""
    return Packets(path, dedup_ms, reorder_ms, "go-flows" if rules == "go-flows" else "ipv4")


def is_pipe(path: Path) -> bool:
    """Return whether a path is a pipe or the standard input ("-"), which can be read only once."""
    return path == STDIN or path.is_fifo()


class Packets:
    """The packets of a capture file, pcap or pcapng, to be read once. It may be compressed; see `compressed`.

    Parameters
    ----------
    path : Path or str
        The file or the pipe; "-" is the standard input.
    dedup_ms, reorder_ms, rules
        See `stream.Reader`.

    Attributes
    ----------
    source : ByteStream
        The file's bytes.
    size, position : int
        Bytes of the file, 0 for a pipe, and how many of them were read.
    damage : str or None
        Known after the last packet: where and how the file broke off.

    Raises
    ------
    UserError
        If the file is missing or cannot be read, or an option is out of range. While the packets are read: if the file
        is too short, is no capture, or has a link layer that is not read.
    """

    unit = "B"
    labels = None  # a capture has no labels of its own

    def __init__(self, path: Path | str, dedup_ms: float = 0, reorder_ms: float = 0, rules: str = "ipv4"):
        path, self.damage = Path(path), None
        self.path = Path("standard input") if path == STDIN else path
        self._parameters = {"dedup_ms": float(dedup_ms), "reorder_ms": float(reorder_ms)}
        for name, value in (("--dedup-ms", dedup_ms), ("--reorder-ms", reorder_ms)):
            number(name, value)
        if not is_pipe(path):
            require_file(path)
        try:
            self.source = ByteStream(path)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({error.strerror})") from None
        self.size = 0 if is_pipe(path) else path.stat().st_size
        self._reader = stream.Reader(dedup_ms, reorder_ms, rules)
        self._what = "IPv4" if rules == "ipv4" else "usable"

    @property
    def position(self) -> int:
        """Bytes of the file that were read so far."""
        return self.source.position

    def pieces(self) -> Iterator[tuple[np.ndarray, None]]:
        """Yield what iteration yields, and None: a capture does not say to which flow a packet belongs."""
        for rows in self:
            yield rows, None

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the packets in pieces of shape (n,), dtype ROW. A piece is valid until the next one is asked for."""
        with self.source:
            yield from self._rows()
        while len(rows := self._reader.end()):
            yield rows

    def _rows(self) -> Iterator[np.ndarray]:
        """Yield the packets while the file is read; `held` bytes at the beginning of the buffer are not used yet."""
        buffer, held, at_end = np.empty(PIECE_BYTES, np.uint8), 0, False
        checked = False
        while not at_end and not self._reader.damaged:
            if held == len(buffer) and held < MAX_BYTES:
                buffer = np.concatenate([buffer, np.empty(held, np.uint8)])
            n = self.source.readinto(memoryview(buffer)[held:])
            held, at_end = held + n, n == 0
            if not checked and (held >= 24 or at_end):
                self._check(buffer[:held].tobytes())
                checked = True
            done = 0
            while not self._reader.damaged:
                rows, used = self._reader.read(buffer[done:held])
                done += used
                if not used and not len(rows):
                    break
                yield rows
            buffer[: held - done] = buffer[done:held]
            held -= done
        self.source.drain()
        self._note_damage(held)

    def _check(self, start: bytes) -> None:
        """Refuse a file whose first bytes are no header of a capture, or name a link layer that is not read."""
        if self.source.kind == "zip":
            raise UserError(f"{self.path}: a zip file, which may hold several captures; unpack it and name them")
        if len(start) < 24 and self.source.fault:
            raise UserError(f"{self.path}: the {self.source.kind} file is {self.source.fault} before the first packet")
        if len(start) < 24:
            raise UserError(f"{self.path}: the file is empty or shorter than a pcap header (24 bytes)")
        if start[:4] not in (*_PCAP, _PCAPNG):
            raise UserError(f"{self.path}: not a pcap or pcapng file (it begins with {start[:4].hex()})")
        link = int.from_bytes(start[20:24], "little" if start[:4] in _PCAP[::2] else "big") & 0x03FFFFFF
        if start[:4] in _PCAP and not stream.link_is_known(link):
            raise UserError(f"{self.path}: link type {link} is not read, only {stream.LINKS}")

    def _note_damage(self, held: int) -> None:
        source, at = self.source, f"{self._reader.counts()['at']:,}"
        inside = " of the decompressed file" if source.kind else ""
        if self._reader.damaged:
            self.damage = f"the record at byte {at}{inside} is damaged; what stands before it was read"
        elif source.fault not in (None, "cut off"):
            self.damage = f"the {source.kind} file is {source.fault} at byte {at}{inside}; what stands before was read"
        elif held or source.fault:
            self.damage = f"the file is cut off in the record at byte {at}{inside}; what stands before it was read"

    def require_some(self) -> None:
        """Refuse a capture without a packet that can be used. Call it after the last packet.

        Raises
        ------
        UserError
            If no frame held one. The message counts the frames by what they held.
        """
        counts = self.counts()
        if not counts["ok"]:
            found = ", ".join(f"{counts[name]:,} {name}" for name in OUTCOMES if counts[name])
            end = f"; {self.damage}" if self.damage else ""
            what = f"no {self._what} packet among its {counts['frames']:,} frames ({found or 'none'})"
            raise UserError(f"{self.path}: {what}{end}")

    def counts(self) -> dict[str, int]:
        """Return the counts of `stream.Reader.counts`."""
        return self._reader.counts()

    def facts(self) -> dict[str, Any]:
        """Return what `extract.PacketSource.facts` describes.

        Raises
        ------
        UserError
            See `require_some`.
        """
        self.require_some()
        counts = self.counts()
        return {
            "parameters": self._parameters,
            "sources": {self.path.name: self.source.sha256.hexdigest()},
            "frames": {name: counts[name] for name in OUTCOMES},
            "out_of_order": counts["out_of_order"],
            "most_back_ms": counts["most_back_ns"] / 1e6,
            "late": counts["late"],
            "no_length": counts["no_length"],
            "unread_links": {str(link): n for link, n in self._reader.strange_links().items()},
            "damage": self.damage,
        }

    def sha256(self) -> Any:
        """Return a hash object that has taken in the file's bytes."""
        return self.source.sha256.copy()


@dataclass(frozen=True)
class Capture:
    """The packets of one capture file, all in memory.

    Parameters
    ----------
    path : Path
        The file.
    rows : ndarray of shape (n_packets,), dtype ROW
        Time stamps [ns], header fields, and where each frame is in the file.
    frames : dict of str to int
        How many frames had each outcome; the keys are `layouts.OUTCOMES`.
    sha256 : str
        The hash of the file.
    damage : str or None
        Where and how the file broke off.
    """

    path: Path
    rows: np.ndarray
    frames: dict[str, int]
    sha256: str
    damage: str | None = None

    def headers(self) -> list[bytes]:
        """Return the beginning of each packet as an Ethernet frame, in the order of `rows`, for the kernel program.

        A frame keeps HEADER_BYTES from its IP header on. If the capture has another link layer, a bare Ethernet header
        takes its place. The file is read for this once, however many programs get the packets.
        """
        return list(self._headers)

    @cached_property
    def _headers(self) -> list[bytes]:
        with ByteStream(self.path) as source:
            data = source.all_bytes()
        out = []
        for row in self.rows:
            at = int(row["ip_at"])
            frame = data[row["offset"] :][: min(row["caplen"], at + HEADER_BYTES)].tobytes()
            out.append(frame if at in _ETHERNET_BYTES else _BARE_ETHERNET[frame[at] >> 4] + frame[at:])
        return out


def read(path: Path | str, ipv6: bool = False) -> Capture:
    """Read all packets of a capture file into memory, in the order of the file. Warn if the file broke off.

    Parameters
    ----------
    path : Path or str
        The file.
    ipv6 : bool
        Whether to read IPv6 packets too.

    Raises
    ------
    UserError
        As `Packets` does, and if the file holds no packet or is a pipe.
    """
    if is_pipe(Path(path)):
        raise UserError(f"{path}: a pipe can be read only once; save what comes through it to a file, and name that")
    packets = Packets(path, rules="both" if ipv6 else "ipv4")
    rows = np.concatenate([np.zeros(0, ROW), *(piece.copy() for piece in packets)])
    packets.require_some()
    if packets.damage:
        warnings.warn(f"{packets.path.name}: {packets.damage}", DamagedWarning, stacklevel=2)
    counts = packets.counts()
    outcomes = {name: counts[name] for name in OUTCOMES}
    return Capture(packets.path, rows, outcomes, packets.sha256().hexdigest(), packets.damage)
