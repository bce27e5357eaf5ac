"""Reading captures: file formats, link layers, duplicates, order, and files that are cut off or damaged.

Covers also: ids_repro.compressed, ids_repro.data.byte_stream and ids_repro.native.stream.
"""

import bz2
import gzip
import hashlib
import lzma
import os
import shutil
import struct
import subprocess
import threading
from pathlib import Path

import made_captures as made
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ids_repro import config
from ids_repro.config import UserError
from ids_repro.data import byte_stream, packets
from ids_repro.native import library, stream
from ids_repro.native.layouts import OUTCOMES, ROW

PACKET = made.ipv4(1234, 443)
NS = 1_500_000_000_123_456_789


def read(tmp_path, data, **options):
    """Write a file with these bytes; return its packets, counts and damage."""
    path = tmp_path / "made.pcap"
    path.write_bytes(data)
    found = packets.Packets(path, **options)
    rows = np.concatenate([np.zeros(0, ROW), *(rows.copy() for rows in found)])
    return rows, found.counts(), found.damage


def fields(row):
    return {name: int(row[name]) for name in ("saddr", "daddr", "sport", "dport", "len", "proto", "tcp_flags")}


EXPECTED = {
    "saddr": made.A,
    "daddr": made.B,
    "sport": 1234,
    "dport": 443,
    "len": 40,
    "proto": 6,
    "tcp_flags": made.ACK,
}


@pytest.mark.parametrize("endian", "<>")
@pytest.mark.parametrize("ns", [False, True])
def test_pcap_stamps(tmp_path, endian, ns):
    time = NS if ns else NS // 1000
    rows, counts, damage = read(tmp_path, made.pcap([(time, made.ethernet(PACKET))], endian=endian, ns=ns))
    assert damage is None and counts["frames"] == counts["ok"] == 1
    assert rows["ts_ns"][0] == (NS if ns else NS // 1000 * 1000)
    assert fields(rows[0]) == EXPECTED


@pytest.mark.parametrize("endian", "<>")
@pytest.mark.parametrize(
    ("resolution", "ticks"),
    [
        (None, NS // 1000),
        (6, NS // 1000),
        (9, NS),
        (3, NS // 10**6),
        (0, NS // 10**9),
        (10, NS * 10),
        (0x80 | 20, (NS << 20) // 10**9),
    ],
)
def test_pcapng_stamps(tmp_path, endian, resolution, ticks):
    data = made.section(endian) + made.interface(endian=endian, resolution=resolution)
    data += made.enhanced(ticks, made.ethernet(PACKET), endian=endian)
    rows, _, _ = read(tmp_path, data)
    unit_ns = {None: 10**3, 6: 10**3, 9: 1, 3: 10**6, 0: 10**9, 10: 1, 0x94: 954}[resolution]
    assert 0 <= NS - int(rows["ts_ns"][0]) <= unit_ns
    assert fields(rows[0]) == EXPECTED


def test_pcapng_interfaces_sections_and_blocks(tmp_path):
    data = made.section() + made.interface(snap=64) + made.interface(link=101, resolution=9, offset_s=100)
    data += made.block(0x0BAD, b"a block nobody knows")
    data += (
        made.enhanced(7, PACKET, 1)
        + made.enhanced(8, made.ethernet(PACKET))
        + made.old_packet(9, made.ethernet(PACKET))
    )
    data += made.simple(made.ethernet(PACKET)) + made.section(">") + made.interface(113, ">")
    data += made.enhanced(10, made.cooked(PACKET), endian=">")
    rows, counts, damage = read(tmp_path, data)
    assert rows["ts_ns"].tolist() == [100 * 10**9 + 7, 8000, 9000, 10_000]
    assert rows["ip_at"].tolist() == [0, 14, 14, 16]
    assert all(fields(row) == EXPECTED for row in rows)
    assert (counts["frames"], counts["no_timestamp"], damage) == (5, 1, None)


LINKS = {
    "ethernet": (1, made.ethernet(PACKET)),
    "one tag": (1, made.ethernet(PACKET, 0x8100)),
    "two tags": (1, made.ethernet(PACKET, 0x88A8, 0x8100)),
    "old two tags": (1, made.ethernet(PACKET, 0x9100, 0x8100)),
    "frame check sequence": (0x4400_0001, made.ethernet(PACKET) + b"\1\2\3\4"),
    "cooked": (113, made.cooked(PACKET)),
    "cooked, one tag": (113, made.cooked(PACKET, 0x8100)),
    "cooked 2": (276, made.cooked2(PACKET)),
    "raw": (101, PACKET),
    "raw, BSD": (12, PACKET),
    "raw, OpenBSD": (14, PACKET),
    "IPv4": (228, PACKET),
    "null": (0, b"\2\0\0\0" + PACKET),
    "loop": (108, b"\0\0\0\2" + PACKET),
}


@pytest.mark.parametrize("name", LINKS)
def test_link_layers(tmp_path, name):
    link, frame = LINKS[name]
    path = tmp_path / "a.pcap"
    path.write_bytes(made.pcap([(5, frame)], link))
    capture = packets.read(path)
    assert [fields(row) for row in capture.rows] == [EXPECTED]
    (header,) = capture.headers()
    (parsed,), reasons = library.parse(*made.padded([header]))  # what the kernel program reads
    assert (fields(parsed), reasons.tolist()) == (EXPECTED, [0])


IPV6 = b"\x60" + bytes(39)


@pytest.mark.parametrize(
    ("outcome", "link", "frame"),
    [
        ("ipv6", 1, made.ethernet(IPV6, type_=0x86DD)),
        ("ipv6", 1, made.ethernet(IPV6, 0x8100, type_=0x86DD)),
        ("ipv6", 101, IPV6),
        ("ipv6", 229, IPV6),
        ("not_ip", 1, made.ethernet(bytes(28), type_=0x0806)),
        ("not_ip", 1, made.ethernet(PACKET, 0x8100, 0x8100, 0x8100)),  # a third tag
        ("not_ip", 101, b"\x30" + bytes(39)),
        ("truncated", 1, b""),
        ("truncated", 1, made.ethernet(PACKET)[:13]),
        ("truncated", 1, made.ethernet(PACKET)[:33]),
        ("truncated", 1, made.ethernet(PACKET)[:47]),  # before the TCP flags
        ("truncated", 1, made.ethernet(b"", 0x8100)[:16]),
        ("truncated", 101, b""),
        ("malformed", 1, made.ethernet(b"\x44" + PACKET[1:])),
        ("malformed", 1, made.ethernet(b"\x65" + PACKET[1:])),
    ],
)
def test_frames_that_are_counted_and_skipped(tmp_path, outcome, link, frame):
    rows, counts, damage = read(tmp_path, made.pcap([(1, frame), (2, frame)], link))
    assert len(rows) == 0 and damage is None
    assert {name: counts[name] for name in OUTCOMES if counts[name]} == {outcome: 2}


@pytest.mark.parametrize(
    ("packet", "sport", "dport", "proto", "flags"),
    [
        (made.ipv4(5, 6, options=bytes(40)), 5, 6, 6, made.ACK),
        (made.ipv4(5, 6, made.UDP), 5, 6, 17, 0),
        (made.ipv4(5, 6, made.ICMP), 0, 0, 1, 0),
        (made.ipv4(5, 6, fragment=0x2000), 5, 6, 6, made.ACK),  # the first fragment
        (made.ipv4(5, 6, fragment=0x2001), 0, 0, 6, 0),  # a later one
        (made.ipv4(5, 6, flags=made.FIN | made.ACK), 5, 6, 6, made.FIN | made.ACK),
    ],
)
def test_ip_options_fragments_and_protocols(tmp_path, packet, sport, dport, proto, flags):
    rows, _, _ = read(tmp_path, made.pcap([(1, made.ethernet(packet))]))
    found = fields(rows[0])
    assert (found["sport"], found["dport"], found["proto"], found["tcp_flags"]) == (sport, dport, proto, flags)
    assert found["len"] == len(packet)


def test_snap_length_keeps_the_packet_length(tmp_path):
    packet = made.ipv4(payload=bytes(1000))
    rows, counts, _ = read(tmp_path, made.pcap([(1, made.ethernet(packet))], snap=60))
    assert (rows["len"][0], rows["caplen"][0], counts["ok"]) == (1040, 60, 1)


def test_records_longer_than_a_piece_and_many_packets(tmp_path):
    big = made.block(0x0BAD, bytes(3 * byte_stream.PIECE_BYTES))
    many = b"".join(made.enhanced(k, made.ethernet(PACKET)) for k in range(2 * stream.MAX_ROWS))
    rows, _, damage = read(tmp_path, made.section() + made.interface() + big + many)
    assert damage is None
    assert rows["ts_ns"].tolist() == [1000 * k for k in range(2 * stream.MAX_ROWS)]


FILES = {
    "pcap": made.pcap([(k, made.ethernet(PACKET)) for k in range(3)]),
    "pcapng": made.section() + made.interface() + b"".join(made.enhanced(k, made.ethernet(PACKET)) for k in range(3)),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("zipped", [False, True])
def test_cut_files_keep_what_stands_before(tmp_path, kind, zipped):
    data = FILES[kind]
    record = 16 + len(made.ethernet(PACKET)) if kind == "pcap" else len(made.enhanced(0, made.ethernet(PACKET)))
    for cut in range(1, record):
        part = data[:-cut]
        rows, _, damage = read(tmp_path, gzip.compress(part) if zipped else part)
        assert len(rows) == 2
        assert f"byte {len(data) - record:,}" in damage


def test_gzip_joined_padded_and_cut(tmp_path):
    data = FILES["pcap"]
    joined = gzip.compress(data[:50]) + gzip.compress(data[50:])
    assert [len(read(tmp_path, z)[0]) for z in (joined, joined + bytes(512))] == [3, 3]
    rows, _, damage = read(tmp_path, gzip.compress(data, 0)[:-30])  # level 0: stored, so bytes are lost one for one
    assert len(rows) == 2 and "decompressed" in damage
    rows, _, damage = read(tmp_path, gzip.compress(data)[:-4])  # all data, but not the end mark
    assert len(rows) == 3 and "cut off" in damage


def test_gzip_capture_equals_the_plain_one(tmp_path):
    (tmp_path / "a.pcap").write_bytes(FILES["pcapng"])
    (tmp_path / "a.pcap.gz").write_bytes(gzip.compress(FILES["pcapng"]))
    plain, zipped = packets.read(tmp_path / "a.pcap"), packets.read(tmp_path / "a.pcap.gz")
    assert plain.rows.tobytes() == zipped.rows.tobytes() and plain.headers() == zipped.headers()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (FILES["pcap"][:23], "shorter"),
        (gzip.compress(b"", mtime=0), "empty"),
        (b"<!DOCTYPE html> 404 not found ...", "not a pcap"),
        (b"PK\3\4" + bytes(60), "a zip file, which may hold several captures; unpack it"),
        (made.pcap([(1, PACKET)], link=105), "link type 105"),
        (made.pcap([(1, made.ethernet(IPV6, type_=0x86DD))]), "1 ipv6"),
        (made.section() + made.interface(link=105) + made.enhanced(1, PACKET), "1 link_type"),
        (made.pcap([]), "no IPv4 packet"),
    ],
)
def test_files_that_are_refused(tmp_path, data, words):
    (tmp_path / "bad.pcap").write_bytes(data)
    with pytest.raises(UserError, match=words) as error:
        packets.read(tmp_path / "bad.pcap")
    assert "bad.pcap" in str(error.value)


def test_missing_file_folder_and_bad_options(tmp_path):
    for path, options in ((tmp_path / "none", {}), (tmp_path, {}), (tmp_path, {"dedup_ms": -1})):
        with pytest.raises(UserError):
            packets.Packets(path, **options)
    with pytest.raises(UserError, match="reorder"):
        packets.Packets(tmp_path, reorder_ms=float("nan"))


@pytest.mark.parametrize(
    "damaged",
    [
        made.pcap([(1, made.ethernet(PACKET))]) + b"\xff" * 400_000,
        made.section() + made.interface() + made.enhanced(1, made.ethernet(PACKET)) + made.enhanced(1, b"", 9) * 3,
        made.section() + made.interface() + made.enhanced(1, made.ethernet(PACKET)) + b"\6\0\0\0\7\0\0\0" * 9,
    ],
)
def test_damage_in_the_middle(tmp_path, damaged):
    rows, _, damage = read(tmp_path, damaged)
    assert len(rows) == 1 and "damaged" in damage


def test_duplicates_within_the_window(tmp_path):
    one, other = made.ethernet(PACKET), made.ethernet(made.ipv4(7))
    times_us = [(0, one), (0, other), (10_000, one), (10_001, one), (10_500, one), (9_000, one), (30_000, other)]
    rows, counts, _ = read(tmp_path, made.pcap(times_us), dedup_ms=10)
    # The frame at 10.001 ms is kept: the copy that was kept is 10.001 ms older. That of 9.000 ms is 1.001 ms before it.
    assert (rows["ts_ns"] // 1000).tolist() == [0, 0, 10_001, 30_000]
    assert (counts["duplicate"], counts["frames"]) == (3, 7)


def test_duplicates_are_told_by_length_and_link_layer(tmp_path):
    frames = [(0, made.ethernet(PACKET)), (0, made.ethernet(PACKET) + b"\0"), (0, b"\1" + made.ethernet(PACKET)[1:])]
    assert len(read(tmp_path, made.pcap(frames), dedup_ms=10)[0]) == 3


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60_000), st.integers(0, 8)), max_size=400), st.sampled_from([1, 10]))
def test_duplicates_equal_a_plain_search(tmp_path_factory, drawn, window_ms):
    frames = [(time, made.ethernet(made.ipv4(which))) for time, which in drawn]
    kept: dict[int, int] = {}
    expected = []
    for time, which in drawn:
        if which not in kept or abs(time - kept[which]) > 1000 * window_ms:
            kept[which] = time
            expected.append((time, which))
    rows, _, _ = read(tmp_path_factory.mktemp("d"), made.pcap(frames), dedup_ms=window_ms)
    assert list(zip((rows["ts_ns"] // 1000).tolist(), rows["sport"].tolist(), strict=True)) == expected


def test_window_of_duplicates_forgets(tmp_path):
    """There are more different frames than the window's first table has room for, and copies of the newest."""
    frames = [(k * 10, made.ethernet(made.ipv4(k & 0xFFFF, k >> 16))) for k in range(70_000)]
    rows, counts, _ = read(tmp_path, made.pcap(frames + frames[-900:]), dedup_ms=10)
    assert (len(rows), counts["duplicate"]) == (70_000, 900)


def test_order_is_repaired_within_the_window(tmp_path):
    times_ms = [5, 1, 9, 3, 3, 60, 20, 200, 100, 300]
    data = made.pcap([(1000 * time, made.ethernet(made.ipv4(k))) for k, time in enumerate(times_ms)])
    rows, counts, _ = read(tmp_path, data, reorder_ms=50)
    # The packet of 60 ms releases those up to 9; 200 releases all before it. 100 is not late, because 200 still waits.
    assert (rows["ts_ns"] // 10**6).tolist() == sorted(times_ms)
    assert rows["sport"].tolist()[:3] == [1, 3, 4]  # of the same time: as in the file
    assert (counts["out_of_order"], counts["late"]) == (5, 0)
    rows, counts, _ = read(tmp_path, data, reorder_ms=3)
    assert (rows["ts_ns"] // 10**6).tolist() == [1, 5, 3, 3, 9, 20, 60, 100, 200, 300]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 10**6), max_size=300), st.integers(1, 500))
def test_order_equals_a_plain_heap(tmp_path_factory, drawn, window_ms):
    frames = [(time, made.ethernet(made.ipv4(k))) for k, time in enumerate(drawn)]
    rows, counts, _ = read(tmp_path_factory.mktemp("o"), made.pcap(frames), reorder_ms=window_ms)
    waiting, out, newest, released, late = [], [], 0, 0, 0
    for entry in [(time, k) for k, time in enumerate(drawn)]:
        waiting.append(entry)
        late += entry[0] < released
        newest = max(newest, entry[0])
        while waiting and newest - min(waiting)[0] >= window_ms * 1000:
            out.append(min(waiting))
            waiting.remove(out[-1])
            released = max(released, out[-1][0])
    found = list(zip((rows["ts_ns"] // 1000).tolist(), rows["sport"].tolist(), strict=True))
    assert found == out + sorted(waiting)
    assert counts["late"] == late


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60_000), st.integers(0, 8)), max_size=200), st.sampled_from([1, 10]))
def test_copies_are_left_out_after_the_sorting(tmp_path_factory, drawn, window_ms):
    """Of each group of copies the oldest stays, wherever it stands in the file."""
    frames = [(time, made.ethernet(made.ipv4(which))) for time, which in drawn]
    kept: dict[int, int] = {}
    expected = []
    for time, which in sorted(drawn, key=lambda one: one[0]):  # stable, like the order of the file
        if which not in kept or time - kept[which] > 1000 * window_ms:
            kept[which] = time
            expected.append((time, which))
    rows, counts, _ = read(tmp_path_factory.mktemp("s"), made.pcap(frames), dedup_ms=window_ms, reorder_ms=100)
    assert list(zip((rows["ts_ns"] // 1000).tolist(), rows["sport"].tolist(), strict=True)) == expected
    assert (counts["duplicate"], counts["late"]) == (len(drawn) - len(expected), 0)


def test_more_packets_wait_than_one_piece_holds(tmp_path):
    """Most packets come out at the end, after the last byte was used."""
    n = 3 * stream.MAX_ROWS + 7
    frames = [(n - k, made.ethernet(made.ipv4(k & 0xFFFF))) for k in range(n)]
    rows, counts, _ = read(tmp_path, made.pcap([*frames, (10**6, made.ethernet(PACKET))]), reorder_ms=100)
    assert (rows["ts_ns"] // 1000).tolist() == [*range(1, n + 1), 10**6]
    assert (counts["out_of_order"], counts["most_back_ns"]) == (n - 1, (n - 1) * 1000)


def test_one_frame_of_another_time_does_not_empty_the_window_of_duplicates(tmp_path):
    """The window forgets by the newest stamp since it last forgot; a frame of the year 2030 makes it forget once."""
    many = [(k, made.ethernet(made.ipv4(k & 0xFFFF, k >> 16))) for k in range(70_000)]
    frames = [*many[:5000], (1_900_000_000 * 10**6, made.ethernet(PACKET)), *many[5000:]]
    _, counts, _ = read(tmp_path, made.pcap(frames + many[-30_000:]), dedup_ms=100)
    assert counts["duplicate"] == 30_000


COMPRESSED = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: pa.compress(data, "zstd", asbytes=True),
}
SKIPPED = bytes.fromhex("502a4d180400000000000000")  # a frame without content, with which pzstd begins each part


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_a_compressed_capture_is_read_whatever_its_name(tmp_path, suffix):
    frames = [(k, made.ethernet(made.ipv4(k & 0xFFFF, k >> 16))) for k in range(40_000)]
    data = COMPRESSED[suffix](made.pcap(frames))
    rows, _, damage = read(tmp_path, data)
    assert damage is None and (rows["ts_ns"] // 1000).tolist() == list(range(40_000))
    (tmp_path / "made.pcap").with_suffix(suffix).write_bytes(data)
    capture = packets.read((tmp_path / "made.pcap").with_suffix(suffix))
    assert capture.headers()[-1] == frames[-1][1]


@pytest.mark.parametrize("suffix", COMPRESSED)
@pytest.mark.parametrize("how", ["cut", "changed"])
def test_a_compressed_capture_that_breaks_off_keeps_what_stands_before(tmp_path, suffix, how):
    frames = [(k, made.ethernet(made.ipv4(k & 0xFFFF, payload=k.to_bytes(4, "big") * 40))) for k in range(40_000)]
    data = bytearray(COMPRESSED[suffix](made.pcap(frames)))
    at = len(data) // 8 * 7
    if how == "cut":
        del data[at:]
    else:
        data[at : at + 64] = bytes(64)
    rows, counts, damage = read(tmp_path, data)
    assert (rows["ts_ns"] // 1000).tolist() == list(range(len(rows)))
    assert ("cut off" if how == "cut" else "damaged") in damage
    # All but the last block: bzip2's are of 900 kB, and a decompressor may lose one step.
    assert counts["at"] > 0.6 * len(made.pcap(frames))


def test_zstd_frames_that_are_to_be_skipped_are(tmp_path):
    data = made.pcap([(k, made.ethernet(PACKET)) for k in range(40_000)])
    halves = [SKIPPED + COMPRESSED[".zst"](half) for half in (data[:100_000], data[100_000:])]
    rows, _, damage = read(tmp_path, b"".join(halves))
    assert damage is None and len(rows) == 40_000


def test_a_wrong_checksum_at_the_end_costs_no_packet(tmp_path):
    data = bytearray(gzip.compress(FILES["pcap"]))
    data[-8] ^= 1
    rows, _, damage = read(tmp_path, data)
    assert len(rows) == 3 and "CRC check failed" in damage


def test_a_pipe_is_read_once(tmp_path):
    pipe, data = tmp_path / "pipe", made.pcap([(k, made.ethernet(PACKET)) for k in range(50_000)])
    os.mkfifo(pipe)
    for content in (data, gzip.compress(data)):
        writer = threading.Thread(target=pipe.write_bytes, args=(content,))
        writer.start()
        found = packets.Packets(pipe)
        assert sum(map(len, found)) == 50_000
        assert found.facts()["sources"] == {"pipe": hashlib.sha256(content).hexdigest()}
        writer.join()
    with pytest.raises(UserError, match="a pipe can be read only once; save"):
        packets.read(pipe)


@pytest.mark.parametrize("six", [False, True])
def test_a_packet_without_a_length_has_that_of_its_frame(tmp_path, six):
    """Frames that a NIC was to cut into segments; the snap length cuts what is kept, not what is counted."""
    packet = made.ipv6(length=0) if six else made.ipv4(1234, 443)
    if not six:
        packet = packet[:2] + bytes(2) + packet[4:]
    frame = made.ethernet(packet + bytes(5000), type_=0x86DD if six else 0x0800)
    for data in (made.pcap([(1, frame)], snap=90), made.section() + made.interface() + made.enhanced(1, frame)):
        rows, counts, _ = read(tmp_path, data, rules="both")
        assert (rows["len"].tolist(), counts["no_length"]) == ([len(packet) + 5000], 1)


@pytest.mark.parametrize("after", [made.option(9, b"\x09"), b"\x09\0\xff\xff", b"\1"])
def test_options_end_where_they_say(tmp_path, after):
    body = struct.pack("<HHI", 1, 0, 0) + made.option(0, b"") + after
    data = made.section() + made.block(1, body) + made.enhanced(NS // 1000, made.ethernet(PACKET))
    rows, _, damage = read(tmp_path, data)
    assert damage is None and rows["ts_ns"].tolist() == [NS // 1000 * 1000]


def test_link_types_that_are_not_read_are_counted_one_by_one(tmp_path):
    links = [105, 147, 105, 1, *range(200, 210)]
    data = made.section() + b"".join(map(made.interface, links))
    data += b"".join(made.enhanced(k, made.ethernet(PACKET), k) for k in range(len(links)))
    path = tmp_path / "a.pcapng"
    path.write_bytes(data)
    found = packets.Packets(path)
    assert sum(map(len, found)) == 1
    assert found.facts()["frames"]["link_type"] == len(links) - 1
    assert found.facts()["unread_links"] == {"105": 2, "147": 1} | {str(link): 1 for link in range(200, 206)}


SIX = {"type_": 0x86DD}
GO_FLOWS = {  # a frame, and what go-flows makes of it: an outcome, or ports and protocol
    "TCP": (made.ethernet(made.ipv4(5, 6)), (5, 6, 6)),
    "UDP of IPv6": (made.ethernet(made.ipv6(sport=5, dport=6, proto=made.UDP), **SIX), (5, 6, 17)),
    "an echo request": (made.ethernet(made.ipv4(proto=1, payload=bytes(4))), (0, 0x0800, 1)),
    "an echo request of IPv6": (made.ethernet(made.ipv6(made.HOP_BY_HOP, proto=58), **SIX), (0, 0x0800, 58)),
    "ICMP cut off": (made.ethernet(made.ipv4(proto=1)), "truncated"),
    "IGMP": (made.ethernet(made.ipv4(proto=2)), "no_ports"),
    "SCTP of IPv6": (made.ethernet(made.ipv6(proto=132), **SIX), "no_ports"),
    "the first fragment": (made.ethernet(made.ipv4(5, 6, fragment=0x2000)), "fragment"),
    "a later fragment": (made.ethernet(made.ipv4(5, 6, fragment=0x2001)), "fragment"),
    "a fragment of ICMP": (made.ethernet(made.ipv4(proto=1, fragment=1, payload=bytes(4))), "fragment"),
    "a later fragment of IPv6": (made.ethernet(made.ipv6(made.FRAGMENT, offset=8), **SIX), "fragment"),
}


@pytest.mark.parametrize("name", GO_FLOWS)
def test_what_go_flows_reads(tmp_path, name):
    frame, expected = GO_FLOWS[name]
    rows, counts, _ = read(tmp_path, made.pcap([(1, frame)]), rules="go-flows")
    if isinstance(expected, str):
        assert (len(rows), counts[expected]) == (0, 1)
    else:
        assert rows[["sport", "dport", "proto"]].tolist() == [expected]


EXTREMES = [0, 1, 2, 3, 4, 7, 8, 12, 16, 28, 32, 36, 64, 0xFF, 0xFFFF, 1 << 24, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def test_sanitizers_find_nothing_on_broken_files(tmp_path):
    """Read files changed at random, in pieces that end where a record ends, under ASan and UBSan."""
    program = tmp_path / "read_captures"
    flags = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-I{config.BPF}"]
    source = Path(__file__).with_name("read_captures.c")
    subprocess.run([shutil.which("gcc"), *flags, source, "-o", program], check=True)
    rng = np.random.default_rng(1)
    seeds = [made.pcap([(k, frame) for k in range(2)], link) for link, frame in LINKS.values()]
    seeds += [made.pcap([(1, made.ethernet(PACKET, *tags)[:size])]) for tags in ([], [0x8100]) for size in range(60)]
    packet = made.enhanced(9, made.ethernet(PACKET)) + made.old_packet(9, b"") + made.simple(made.ethernet(PACKET))
    seeds += [made.section() + made.interface(resolution=9, offset_s=3) + packet] * 100
    short = [made.block(kind, bytes(n)) for kind in (1, 2, 3, 6) for n in range(0, 24, 4)]
    seeds += [made.section() + made.interface() + block for block in short]
    paths = []
    for k in range(1500):
        data = bytearray(seeds[k % len(seeds)])
        for _ in range(k % 4):
            at = int(rng.integers(len(data) - 3))
            what = rng.integers(4)
            if what == 0:
                data[at] = int(rng.integers(256))
            elif what == 1:
                data[at & ~3 : (at & ~3) + 4] = int(rng.choice(EXTREMES)).to_bytes(4, "little")
            elif what == 2:
                data[at & ~1 : (at & ~1) + 2] = int(rng.choice(EXTREMES) & 0xFFFF).to_bytes(2, "little")
            else:
                del data[max(at, 30) :]
        paths.append(tmp_path / f"{k}.pcap")
        paths[-1].write_bytes(data)
    run = subprocess.run([program, *paths], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[:3000]


def test_frames_are_cut_out_of_the_file_once(tmp_path):
    path = Path(shutil.copy(config.SAMPLE, tmp_path / "lab.pcap.gz"))
    capture = packets.read(path)
    first = capture.headers()
    path.unlink()
    first.append(b"")
    assert capture.headers() == first[:-1]
