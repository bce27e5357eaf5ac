"""Read a file's bytes once from front to end, plain or gzip, and hash and count them on the way."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

import numpy as np

PIECE_BYTES = 1 << 20  # a piece fits into the processor's cache
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_BITS = 31  # zlib's `wbits` for the gzip format


class ByteStream:
    """The bytes of a file, plain or gzip, to be read once from front to end.

    Parameters
    ----------
    path : Path
        The file.

    Attributes
    ----------
    position : int
        Bytes of the file that were read so far. They count as they are on disk, so compressed in a gzip file.
    sha256 : hashlib hash object
        The SHA-256 of these bytes.
    compressed : bool
        Whether the first two bytes are those of a gzip file.
    cut : bool
        Whether a gzip file ended, or turned out to be damaged, before its end mark.
    """

    def __init__(self, path: Path):
        self._file = path.open("rb", buffering=0)
        self.position, self.sha256, self.cut = 0, hashlib.sha256(), False
        self.compressed = self._file.read(2) == _GZIP_MAGIC
        self._unzip = zlib.decompressobj(_GZIP_BITS)
        self._file.seek(0)
        self._tail = b""

    def __enter__(self) -> ByteStream:
        return self

    def __exit__(self, *_) -> None:
        self._file.close()

    def readinto(self, view: memoryview) -> int:
        """Read the next bytes, decompressed, into a buffer.

        Parameters
        ----------
        view : memoryview
            A writable view of bytes. It need not become full.

        Returns
        -------
        int
            How many bytes were written to the view; 0 at the end of the file.
        """
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
        """Return the next decompressed bytes: empty if zlib needs more input, None at the end of the file."""
        if self._unzip.eof:  # another gzip file or padding may follow
            self._tail, self._unzip = self._unzip.unused_data, zlib.decompressobj(_GZIP_BITS)
            if not self._more() or not self._tail.strip(b"\0"):
                return None
        more = self._more()  # even without more input, zlib may still hold decompressed bytes
        try:
            out = self._unzip.decompress(self._tail, most)
        except zlib.error:
            self.cut = True
            return None
        self._tail = self._unzip.unconsumed_tail
        self.cut = not (out or more or self._unzip.eof)
        return out

    def _more(self) -> bool:
        """Read compressed bytes into `_tail` if it is empty; return whether it now holds any."""
        if not self._tail:
            self._tail = self._file.read(1 << 16)
            self._count(self._tail)
        return bool(self._tail)

    def all_bytes(self) -> np.ndarray:
        """Return the whole file as an array of shape (n,), uint8: mapped, or decompressed into memory."""
        if not self.compressed:
            return np.memmap(self._file, np.uint8, mode="r")
        pieces, view = [], memoryview(bytearray(PIECE_BYTES))
        while n := self.readinto(view):
            pieces.append(bytes(view[:n]))
        return np.frombuffer(b"".join(pieces), np.uint8)

    def drain(self) -> None:
        """Read the rest of the file, so that `sha256` covers all of it."""
        while data := self._file.read(PIECE_BYTES):
            self._count(data)

    def _count(self, data: bytes | memoryview) -> None:
        self.position += len(data)
        self.sha256.update(data)
