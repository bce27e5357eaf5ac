"""What is compressed in several streams is read to its end, or its damage is said: of each kind of compression."""

import bz2
import gzip
import io
import lzma

import pyarrow as pa
import pytest

from ids_repro.compressed import ERRORS, decompressed, kind_of

FIRST, SECOND = bytes(range(256)) * 500, b"another" * 20_000


def zstd(data: bytes) -> bytes:
    """Compress with the only zstd that there is before Python 3.14."""
    with pa.BufferOutputStream() as out:
        with pa.CompressedOutputStream(out, "zstd") as stream:
            stream.write(data)
        return out.getvalue().to_pybytes()


KINDS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": zstd}


class Slowly(io.RawIOBase):
    """A pipe that gives few bytes at a time."""

    def __init__(self, data: bytes, most: int) -> None:
        self._rest, self._most = data, most

    def readable(self) -> bool:
        return True

    def readinto(self, view) -> int:
        piece, self._rest = self._rest[: min(self._most, len(view))], self._rest[min(self._most, len(view)) :]
        view[: len(piece)] = piece
        return len(piece)


def read(kind: str, data: bytes, most: int = 1 << 20) -> bytes:
    """Return what is in a compressed file, read in pieces."""
    assert kind_of(data[:6]) == kind
    file, pieces = decompressed(Slowly(data, most), kind), []
    while piece := file.read1(777):
        pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize("most", [1, 1000, 1 << 20])
@pytest.mark.parametrize("kind", KINDS)
def test_every_stream_is_read(kind, most):
    one = KINDS[kind]
    assert read(kind, one(FIRST), most) == FIRST
    assert read(kind, one(FIRST) + one(b"") + one(SECOND), most) == FIRST + SECOND


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "zstd"])
@pytest.mark.parametrize("zeros", [4, 100_000])
def test_zeros_between_streams_and_at_the_end_are_no_damage(kind, zeros):
    one, pad = KINDS[kind], bytes(zeros)
    assert read(kind, one(FIRST) + pad + one(SECOND) + pad) == FIRST + SECOND


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["cut", "cut in its head", "other head", "no stream"])
def test_a_later_stream_that_is_damaged_or_cut_off_is_an_error(kind, fault):
    one, later = KINDS[kind], KINDS[kind](SECOND)
    later = {"cut": later[:-5], "cut in its head": later[:3], "other head": b"X" + later[1:], "no stream": b"junk" * 9}
    with pytest.raises(ERRORS):
        read(kind, one(FIRST) + later[fault])
