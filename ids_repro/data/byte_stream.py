"""Read a file's bytes once from front to end, plain or compressed, and hash and count them on the way."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np

from .. import compressed

PIECE_BYTES = 1 << 20  # a piece fits into the processor's cache
STDIN = Path("-")
_STEP_BYTES = 1 << 15  # a decompressor that fails loses what it was asked for, so it is asked for little


class _Counted(io.RawIOBase):
    """A file as it is on disk or comes through a pipe; its first bytes are known before they are read."""

    def __init__(self, path: Path):
        self.file = io.FileIO(0, closefd=False) if path == STDIN else path.open("rb", buffering=0)
        self.position, self.sha256 = 0, hashlib.sha256()
        self._ahead = b""
        while len(self._ahead) < compressed.MAGIC_BYTES and (more := self.file.read(compressed.MAGIC_BYTES)):
            self._ahead += more
        self.start = self._ahead

    def readable(self) -> bool:
        return True

    def readinto(self, view: memoryview) -> int:
        if self._ahead:
            n = min(len(view), len(self._ahead))
            view[:n], self._ahead = self._ahead[:n], self._ahead[n:]
        else:
            n = self.file.readinto(view) or 0
        self.position += n
        self.sha256.update(view[:n])
        return n


class ByteStream:
    """The bytes of a file, plain or compressed, to be read once from front to end.

    Parameters
    ----------
    path : Path
        The file or the pipe; "-" is the standard input.

    Attributes
    ----------
    kind : str or None
        How the file is compressed; see `compressed.kind_of`.
    fault : str or None
        Why a compressed file could not be read to its end mark: "cut off" or "damaged (...)".
    """

    def __init__(self, path: Path):
        self._raw = _Counted(path)
        self.kind, self.fault = compressed.kind_of(self._raw.start), None
        self._plain = compressed.decompressed(self._raw, self.kind)

    @property
    def position(self) -> int:
        """Bytes of the file that were read so far. They count as they are on disk, so compressed."""
        return self._raw.position

    @property
    def sha256(self) -> hashlib._Hash:
        """A hash object that has taken in these bytes."""
        return self._raw.sha256

    def __enter__(self) -> ByteStream:
        return self

    def __exit__(self, *_) -> None:
        self._raw.file.close()

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
        if self.kind in (None, "zip"):  # a zip file is no capture, but its first bytes say so
            return self._raw.readinto(view)
        n = 0
        try:
            while not self.fault and n < len(view):
                piece = self._plain.read1(min(_STEP_BYTES, len(view) - n))
                view[n : n + len(piece)] = piece
                n += len(piece)
                if not piece:
                    break
        except EOFError:
            self.fault = "cut off"
        except compressed.ERRORS as error:
            self.fault = "cut off" if "Truncated" in str(error) else f"damaged ({error})"
        return n

    def all_bytes(self) -> np.ndarray:
        """Return the whole file as an array of shape (n,), uint8: mapped, or decompressed into memory."""
        if self.kind is None:
            return np.memmap(self._raw.file, np.uint8, mode="r")
        pieces, view = [], memoryview(bytearray(PIECE_BYTES))
        while n := self.readinto(view):
            pieces.append(bytes(view[:n]))
        return np.frombuffer(b"".join(pieces), np.uint8)

    def drain(self) -> None:
        """Read the rest of the file, so that `sha256` covers all of it."""
        while self._raw.read(PIECE_BYTES):
            pass
