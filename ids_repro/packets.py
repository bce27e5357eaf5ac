"""A capture file -> its IPv4 packets. The bytes are walked in C (bpf/user.c); Python only checks and maps the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import native
from .config import UserError

_MAGICS = (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d")
_PCAPNG = b"\x0a\x0d\x0d\x0a"
_ETHERNET = 1
HEADER_BYTES = 128


@dataclass(frozen=True)
class Capture:
    """The IPv4 packets of one capture file.

    Parameters
    ----------
    path : Path
        The file.
    rows : ndarray of shape (n_packets,), dtype native.ROW
        Time stamps [ns], header fields, and where each frame lies in the file.
    frames : dict of str to int
        Frames by what became of them, keys from native.REASONS.
    """

    path: Path
    rows: np.ndarray
    frames: dict[str, int]

    def headers(self) -> list[bytes]:
        """Return the beginning of each packet's frame, link layer included, in the order of `rows`.

        128 bytes hold Ethernet, IPv4 with all its options and TCP's fixed part: all that is ever parsed.
        """
        data = np.memmap(self.path, np.uint8, mode="r")
        ends = self.rows["offset"] + np.minimum(self.rows["caplen"], HEADER_BYTES)
        return [data[start:end].tobytes() for start, end in zip(self.rows["offset"], ends, strict=True)]


def read(path: Path | str) -> Capture:
    """Read the IPv4 packets of a pcap file of Ethernet frames.

    Raises
    ------
    UserError
        If the file is missing, empty, no pcap, cut off, not Ethernet, or holds no IPv4 packet.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    if path.stat().st_size < 24:
        raise UserError(f"{path}: the file is empty or shorter than a pcap header (24 bytes)")
    data = np.memmap(path, np.uint8, mode="r")
    magic = data[:4].tobytes()
    if magic == _PCAPNG:
        raise UserError(f"{path}: this is pcapng; convert it first: editcap -F pcap {path.name} out.pcap")
    if magic not in _MAGICS:
        raise UserError(f"{path}: not a pcap file (it begins with {magic.hex()})")
    link = int.from_bytes(data[20:24].tobytes(), "little" if magic in _MAGICS[::2] else "big")
    if link != _ETHERNET:
        raise UserError(f"{path}: link type {link} is not read yet, only Ethernet (1)")
    rows, reasons, end = native.read_pcap(data)
    if end != len(data):
        raise UserError(f"{path}: cut off in the record at byte {end:,}; {len(rows):,} IPv4 packets stand before it")
    frames = dict(zip(native.REASONS, map(int, reasons), strict=True))
    if not len(rows):
        raise UserError(f"{path}: no IPv4 packet among its {sum(frames.values()):,} frames ({frames})")
    return Capture(path, rows, frames)
