"""A capture file -> its packets. The bytes are parsed in C (bpf/user/capture.c); Python only brings them, in pieces.

The parser takes IPv6 too, in the kernel as here. Datasets are of IPv4, as the paper's is: labels, schedules and packet
tables know IPv4 addresses only. So IPv6 packets are left out here, and counted, unless they are asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..config import UserError
from ..native import stream
from ..native.layouts import OUTCOMES, ROW
from .byte_stream import PIECE_BYTES, ByteStream

MAX_BYTES = 1 << 25  # more than any record or block may have
_PCAP = (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d")
_MAGICS = (*_PCAP, b"\x0a\x0d\x0d\x0a")
HEADER_BYTES = 256 + 20  # from the IP header on, all that is ever parsed: IDS_REACH of bpf/parse.h, and TCP
_ETHERNET_BYTES = (14, 18, 22)  # with VLAN tags; the headers of no other link layer are as long
_BARE_ETHERNET = {4: bytes(12) + b"\x08\x00", 6: bytes(12) + b"\x86\xdd"}


class Packets:
    """The packets of a capture file, pcap or pcapng, plain or gzip, to be gone through once.

    Parameters
    ----------
    path : Path or str
        The file.
    dedup_ms, reorder_ms : float
        See `stream.Reader` and `stream.Order`; 0 leaves the file as it is.
    ipv6 : bool
        With its IPv6 packets.

    Attributes
    ----------
    source : Source
        While the packets are gone through and after.
    damage : str or None
        After the last packet: where and how the file broke off.

    Raises
    ------
    UserError
        If the file is missing, too short, no capture, or of a link layer that is not read.
    """

    def __init__(self, path: Path | str, dedup_ms: float = 0, reorder_ms: float = 0, ipv6: bool = False):
        self.path, self.damage = Path(path), None
        for name, value in (("--dedup-ms", dedup_ms), ("--reorder-ms", reorder_ms)):
            if not 0 <= value <= 60_000:  # also refuses what is not a number
                raise UserError(f"{name} is {value}: use 0 to 60000 ms")
        if not self.path.is_file():
            raise UserError(f"{self.path}: there is no such file")
        try:
            self.source = ByteStream(self.path)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({error.strerror})") from None
        self._reader = stream.Reader(dedup_ms, ipv6)
        self._order = stream.Order(reorder_ms) if reorder_ms else None

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the packets in pieces of dtype native.ROW, each valid until the next."""
        with self.source:
            for rows in self._rows():
                yield rows if self._order is None else self._order.push(rows)
        if self._order is not None:
            yield self._order.push(np.zeros(0, ROW), last=True)

    def _rows(self) -> Iterator[np.ndarray]:
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
                if not used:
                    break
                yield rows
            buffer[: held - done] = buffer[done:held]
            held -= done
        self.source.drain()
        self._say_damage(held)

    def _check(self, start: bytes) -> None:
        if len(start) < 24:
            raise UserError(f"{self.path}: the file is empty or shorter than a pcap header (24 bytes)")
        if start[:4] not in _MAGICS:
            raise UserError(f"{self.path}: not a pcap or pcapng file (it begins with {start[:4].hex()})")
        link = int.from_bytes(start[20:24], "little" if start[:4] in _PCAP[::2] else "big") & 0x03FFFFFF
        if start[:4] in _PCAP and not stream.link_is_known(link):
            raise UserError(f"{self.path}: link type {link} is not read, only {stream.LINKS}")

    def _say_damage(self, held: int) -> None:
        at = f"{self._reader.counts()['at']:,}"
        inside = " of the decompressed file" if self.source.compressed else ""
        if self._reader.damaged:
            self.damage = f"the record at byte {at}{inside} is damaged; what stands before it was read"
        elif held or self.source.cut:
            self.damage = f"the file is cut off in the record at byte {at}{inside}; what stands before it was read"

    def require_some(self) -> None:
        """Refuse a capture that held no IPv4 packet.

        Raises
        ------
        UserError
            If it held none.
        """
        counts = self.counts()
        if not counts["ok"]:
            found = ", ".join(f"{counts[name]:,} {name}" for name in OUTCOMES if counts[name])
            end = f"; {self.damage}" if self.damage else ""
            raise UserError(
                f"{self.path}: no IPv4 packet among its {counts['frames']:,} frames ({found or 'none'}){end}"
            )

    def counts(self) -> dict[str, int]:
        """Frames by outcome, see `stream.Reader.counts`; with re-ordering, "late" as `stream.Order` counts it."""
        return self._reader.counts() | ({} if self._order is None else {"late": self._order.late})


@dataclass(frozen=True)
class Capture:
    """The packets of one capture file, all in memory.

    Parameters
    ----------
    path : Path
        The file.
    rows : ndarray of shape (n_packets,), dtype native.ROW
        Time stamps [ns], header fields, and where each frame lies in the file.
    frames : dict of str to int
        Frames by what became of them, keys from stream.OUTCOMES.
    """

    path: Path
    rows: np.ndarray
    frames: dict[str, int]

    def headers(self) -> list[bytes]:
        """Return the beginning of each packet as an Ethernet frame, in the order of `rows`: what the kernel is given.

        HEADER_BYTES of each packet are kept. Where the capture has another link layer, a bare Ethernet header stands in
        for it.
        """
        with ByteStream(self.path) as source:
            data = source.all_bytes()
        out = []
        for row in self.rows:
            at = int(row["ip_at"])
            frame = data[row["offset"] :][: min(row["caplen"], at + HEADER_BYTES)].tobytes()
            out.append(frame if at in _ETHERNET_BYTES else _BARE_ETHERNET[frame[at] >> 4] + frame[at:])
        return out


def read(path: Path | str, ipv6: bool = False) -> Capture:
    """Read the packets of a capture file, as they stand in it, into memory; a file that broke off is warned about.

    Raises
    ------
    UserError
        As `Packets` does, and if it holds no packet.
    """
    packets = Packets(path, ipv6=ipv6)
    rows = np.concatenate([np.zeros(0, ROW), *(piece.copy() for piece in packets)])
    packets.require_some()
    if packets.damage:
        warnings.warn(f"{path}: {packets.damage}", stacklevel=2)
    counts = packets.counts()
    return Capture(packets.path, rows, {name: counts[name] for name in OUTCOMES})
