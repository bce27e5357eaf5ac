"""A file's bytes, once from front to end: plain or gzip, hashed and counted on the way."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

import numpy as np

PIECE_BYTES = 1 << 20  # small enough for the processor's cache
_GZIP, _GZIP_BITS = b"\x1f\x8b", 31  # the latter: zlib's way to say gzip


class ByteStream:
    """The bytes of a file, plain or gzip, read once from front to end.

    Parameters
    ----------
    path : Path
        The file.

    Attributes
    ----------
    position : int
        Bytes of the file read so far, compressed if it is.
    sha256
        Their hash object.
    compressed : bool
        A gzip file, known by its first bytes.
    cut : bool
        A gzip file that ended, or was damaged, before its end mark.
    """

    def __init__(self, path: Path):
        self._file = path.open("rb", buffering=0)
        self.position, self.sha256, self.cut = 0, hashlib.sha256(), False
        self.compressed = self._file.read(2) == _GZIP
        self._unzip = zlib.decompressobj(_GZIP_BITS)
        self._file.seek(0)
        self._tail = b""

    def __enter__(self) -> ByteStream:
        return self

    def __exit__(self, *_) -> None:
        self._file.close()

    def readinto(self, view: memoryview) -> int:
        """Fill some of a writable view of bytes; 0 at the end."""
        if not self.compressed:
            n = self._file.readinto(view)
            self._count(view[:n])
            return n
        out: bytes | None = b""
        while out == b"" and not self.cut:
            out = self._unzipped(len(view))
        out = out or b""
        view[: len(out)] = out
        return len(out)

    def _unzipped(self, most: int) -> bytes | None:
        """Some decompressed bytes, perhaps none yet; None at the end."""
        if self._unzip.eof:  # gzip files may be joined, or padded
            self._tail, self._unzip = self._unzip.unused_data, zlib.decompressobj(_GZIP_BITS)
            if not self._more() or not self._tail.strip(b"\0"):
                return None
        more = self._more()  # nothing more: what zlib still holds may come yet
        try:
            out = self._unzip.decompress(self._tail, most)
        except zlib.error:
            self.cut = True
            return None
        self._tail = self._unzip.unconsumed_tail
        self.cut = not (out or more or self._unzip.eof)
        return out

    def _more(self) -> bool:
        """Have compressed bytes at hand, if there are any left."""
        if not self._tail:
            self._tail = self._file.read(1 << 16)
            self._count(self._tail)
        return bool(self._tail)

    def all_bytes(self) -> np.ndarray:
        """Map the whole file, or decompress it into memory; shape (n,), uint8."""
        if not self.compressed:
            return np.memmap(self._file, np.uint8, mode="r")
        pieces, view = [], memoryview(bytearray(PIECE_BYTES))
        while n := self.readinto(view):
            pieces.append(bytes(view[:n]))
        return np.frombuffer(b"".join(pieces), np.uint8)

    def drain(self) -> None:
        """Read the rest of the file for its hash alone."""
        while data := self._file.read(PIECE_BYTES):
            self._count(data)

    def _count(self, data: bytes | memoryview) -> None:
        self.position += len(data)
        self.sha256.update(data)
