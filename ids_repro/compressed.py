"""Read compressed files. The first bytes of a file say how it is compressed, whatever its name is."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, BinaryIO

# How a file of each kind begins, and how its name ends.
_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}
_MAGIC |= {bytes([0x50 + n]) + b"\x2a\x4d\x18": "zstd" for n in range(16)}  # frames to skip: pzstd begins with one
SUFFIXES = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd", ".zip": "zip"}
MAGIC_BYTES = max(map(len, _MAGIC))
# What reading a compressed file raises if it is cut off (EOFError; zstd: OSError) or damaged.
ERRORS = (EOFError, OSError, zlib.error, lzma.LZMAError)


class _Streams(io.RawIOBase):
    """The streams of a bzip2 or an xz file, one after another, with zeros between them or none.

    Python's own `BZ2File` and `LZMAFile` end without a word at zeros, and at a stream after the first that is damaged.

    Parameters
    ----------
    file : binary file
    make : callable
        Returns a new decompressor, `bz2.BZ2Decompressor` or `lzma.LZMADecompressor`.
    """

    def __init__(self, file: BinaryIO, make: Callable[[], Any]) -> None:
        self._file, self._make, self._one = file, make, make()

    def readable(self) -> bool:
        return True

    def readinto(self, view: memoryview) -> int:
        while True:
            more = b""
            if self._one.eof:
                more = self._one.unused_data.lstrip(b"\0")
                while not more and (piece := self._file.read(io.DEFAULT_BUFFER_SIZE)):
                    more = piece.lstrip(b"\0")
                if not more:
                    return 0
                self._one = self._make()
            elif self._one.needs_input and not (more := self._file.read(io.DEFAULT_BUFFER_SIZE)):
                raise EOFError("the file ends within a compressed stream")
            if piece := self._one.decompress(more, len(view)):
                view[: len(piece)] = piece
                return len(piece)


def kind_of(start: bytes) -> str | None:
    """Return how a file is compressed: "gzip", "bzip2", "xz", "zstd", "zip", or None.

    Parameters
    ----------
    start : bytes
        Its first MAGIC_BYTES bytes, or all if it is shorter.
    """
    return next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)


def bare_name(path: PurePath) -> PurePath:
    """Return a file's path without the suffix of its compression: a.pcap for a.pcap.gz."""
    return path.with_suffix("") if path.suffix in SUFFIXES else path


def decompressed(file: BinaryIO, kind: str | None) -> BinaryIO:
    """Return a file that reads another one's decompressed bytes, front to end.

    Parameters
    ----------
    file : binary file
        It stands at its beginning. It is read front to end too, so it may be a pipe.
    kind : str or None
        What `kind_of` returns for it, but not "zip", which holds several files. None returns the file itself.

    Returns
    -------
    binary file
        Its methods raise one of ERRORS where the file is cut off or damaged.
    """
    if kind == "gzip":
        return gzip.GzipFile(fileobj=io.BufferedReader(file))  # it takes two bytes at once for the head of a stream
    if kind == "bzip2":
        return io.BufferedReader(_Streams(file, bz2.BZ2Decompressor))
    if kind == "xz":
        return io.BufferedReader(_Streams(file, lzma.LZMADecompressor))
    if kind == "zstd":
        import pyarrow as pa

        return pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd")
    return file
