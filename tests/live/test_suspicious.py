"""Suspects as lines of text and as a pcap; tests/live/test_attached.py takes them from a program."""

import itertools
import os
import struct
import threading
import time
from types import SimpleNamespace

import made_captures as made
import numpy as np
import pytest

from ids_repro.kernel.ring import wall_ns
from ids_repro.live import suspicious
from ids_repro.native.layouts import SUSPECT

CLASSES = ("Normal", "Attack")


def suspects_of(*frames: bytes) -> np.ndarray:
    """Suspects of these frames, taken now, by generation 3."""
    made_of = np.zeros(len(frames), SUSPECT)
    for suspect, frame in zip(made_of, frames, strict=True):
        kept = frame[:128]
        suspect["now_ns"], suspect["generation"], suspect["class"] = time.monotonic_ns(), 3, 1
        suspect["len"], suspect["caplen"] = len(frame), len(kept)
        suspect["data"][: len(kept)] = np.frombuffer(kept, np.uint8)
    return made_of


FRAMES = {
    "tcp 10.0.0.1:1000 > 10.0.0.2:80": made.ethernet(made.ipv4()),
    "udp 10.0.0.1:5 > 10.0.0.2:53": made.ethernet(made.ipv4(sport=5, dport=53, proto=made.UDP, payload=bytes(500))),
    "udp [fd00::a00:1]:1000 > [fd00::a00:2]:80": made.ethernet(made.ipv6(proto=made.UDP), type_=0x86DD),
    "its headers are longer than the bytes that were kept": made.ethernet(
        made.ipv6(*[made.DESTINATION] * 8, size=16), type_=0x86DD
    ),
}


def test_a_line_tells_verdict_generation_ends_and_length():
    said = suspicious.lines(suspects_of(*FRAMES.values()), CLASSES)
    for line, (ends, frame) in zip(said, FRAMES.items(), strict=True):
        _, rest = line.split("  ", 1)
        assert rest == f"Attack (gen. 3)  {ends}  {len(frame)} bytes"


def test_times_are_of_the_day():
    (now,) = wall_ns(np.array([time.monotonic_ns()], np.uint64))
    assert abs(int(now) - time.time_ns()) < 1e9


def test_pcap_records_hold_the_bytes_that_were_kept_and_the_length_on_the_wire():
    frames = list(FRAMES.values())
    rest = suspicious.pcap_records(suspects_of(*frames))
    for frame in frames:
        _, _, caplen, length = struct.unpack("<IIII", rest[:16])
        assert (rest[16 : 16 + caplen], length) == (frame[:128], len(frame))
        rest = rest[16 + caplen :]
    assert rest == b""


@pytest.fixture
def live(tmp_path):
    """Stand in for a program: it has no suspects, then 5, then none again, and so on; 12 in all."""
    left = iter(suspects_of(*[FRAMES["tcp 10.0.0.1:1000 > 10.0.0.2:80"]] * 12))
    some = itertools.cycle([0, 5])

    def take(most: int, _wait_ms: int) -> np.ndarray:
        return np.array(list(itertools.islice(left, min(most, next(some)))), SUSPECT)

    return SimpleNamespace(suspects=take, folder=tmp_path)


@pytest.mark.parametrize(("count", "pieces"), [(0, []), (3, [3]), (7, [5, 2]), (12, [5, 5, 2])])
def test_taking_ends_after_so_many(live, count, pieces):
    assert [len(suspects) for suspects in suspicious.take(live, count)] == pieces


def test_taking_ends_when_the_program_is_detached(live):
    taken = []
    for suspects in suspicious.take(live):
        taken.append(len(suspects))
        if sum(taken) == 12:
            live.folder.rmdir()
    assert taken == [5, 5, 2]


def test_the_score_is_told_where_there_is_one():
    suspects = suspects_of(*FRAMES.values())
    suspects["score"] = -17
    assert all("  Attack (score -17, gen. 3)  " in line for line in suspicious.lines(suspects, CLASSES, True))


def test_a_pcap_gets_its_name_when_the_command_ends_in_whatever_way(tmp_path):
    path, suspects = tmp_path / "a.pcap", suspects_of(*FRAMES.values())
    with pytest.raises(OSError, match="the device"), suspicious.pcap_file(path) as file:
        file.write(suspicious.pcap_records(suspects))
        assert not path.exists()
        raise OSError("the device has gone")
    assert path.read_bytes()[:24] == suspicious.PCAP_HEADERS["ethernet"] and list(tmp_path.iterdir()) == [path]
    assert len(path.read_bytes()) == 24 + sum(16 + suspect["caplen"] for suspect in suspects)


def test_a_pipe_gets_packets_as_they_come_and_stays_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    got = []

    def read() -> None:
        with (tmp_path / "pipe").open("rb", buffering=0) as file:
            got.append(file.read(24))

    reader = threading.Thread(target=read)
    reader.start()
    with suspicious.pcap_file(tmp_path / "pipe") as file:
        reader.join(10)
        assert got == [suspicious.PCAP_HEADERS["ethernet"]]
        with pytest.raises(BrokenPipeError):
            file.write(b"more")
    assert (tmp_path / "pipe").is_fifo()
