"""Whatever is in a capture, a packet table, a label file or a feature file: a result or a sentence, in little memory.

Every input is read as `extract --labels` reads it, and is as it was afterwards.
"""

import bz2
import gzip
import io
import lzma
import zipfile
from pathlib import Path

import hostile
import made_captures as made
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from label_files import HEADER, csv_line
from packet_tables import write_table

from ids_repro import config
from ids_repro.cli.ending import sentence
from ids_repro.config import UserError
from ids_repro.data import dataset, extract
from ids_repro.data.labels.source import label_source

CASES = config.ROOT.parent / "shared" / "cases"
LINKS = (0, 1, 12, 14, 101, 105, 108, 113, 127, 228, 229, 276, 147)
START_US = 1_700_000_000_000_000
SCHEDULE = f"label,activity,start_us,end_us,src,dst,dport,proto\nDoS,x,{START_US},{START_US * 2},,,80,6\n"
SCHEDULE += f'Normal,"y, z",0,{START_US * 3},10.0.0.1,,,\n'


def zstd(data: bytes) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as file:
        file.write(data)
    return out.getvalue().to_pybytes()


def zipped(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", data)
    return out.getvalue()


COMPRESSED = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd}


def frames() -> list[tuple[int, bytes]]:
    """Return some packets of some flows, IPv4 and IPv6, fragments, tags and options among them."""
    packets = [made.ipv4(sport=1000 + k % 3, flags=made.SYN if k < 3 else made.ACK, payload=bytes(k)) for k in range(9)]
    packets += [made.ipv4(proto=made.UDP), made.ipv4(proto=made.ICMP), made.ipv4(options=bytes(12), fragment=0x2001)]
    out = [made.ethernet(packet) for packet in packets]
    out += [made.ethernet(packets[0], 0x8100, 0x88A8), made.ethernet(made.ipv6(0, 44, 43), type_=0x86DD)]
    return [(START_US + 1000 * k, frame) for k, frame in enumerate(out)]


def pcapng() -> bytes:
    blocks = [made.section(), made.interface(resolution=9, offset_s=3), made.interface(link=101, resolution=0x86)]
    blocks += [made.enhanced(time, frame, k % 2) for k, (time, frame) in enumerate(frames())]
    blocks += [made.section(">"), made.interface(endian=">"), made.old_packet(START_US, frames()[0][1], ">")]
    return b"".join([*blocks, made.simple(frames()[1][1], ">")])


def captures() -> list[bytes]:
    """Return the seeds: captures of every kind and link type, plain and compressed, and the issue's cases."""
    out = [made.pcap([(t, frame[14:] if link in (12, 14, 101, 228, 229) else frame) for t, frame in frames()], link)
           for link in LINKS]  # fmt: skip
    out += [
        made.pcap([(START_US, make(made.ipv4()))], link) for link, make in ((113, made.cooked), (276, made.cooked2))
    ]
    out += [made.pcap(frames(), endian=">", ns=True), pcapng(), made.pcap([])]
    out += [pack(data) for pack in COMPRESSED.values() for data in (out[1], pcapng())]
    return out + [path.read_bytes() for path in sorted(CASES.glob("*.pcap*")) if path.stat().st_size < 1 << 16]


def tables(folder: Path) -> list[bytes]:
    """Return label files: schedules and GeneratedLabelledFlows, plain, compressed and zipped, and the issue's cases."""
    stamps = {"14/11/2023 10:13:20 PM": "BENIGN", "14/11/2023 10:13": "DoS Hulk", "2023-11-14 22:13:20": "PortScan"}
    rows = [csv_line("10.0.0.1", 1000, "10.0.0.2", 80, 6, stamp, label) for stamp, label in stamps.items()]
    plain = [SCHEDULE.encode(), "\r\n".join([HEADER, *rows, ""]).encode("cp1252")]
    plain += [SCHEDULE.encode("utf-8-sig"), SCHEDULE.encode("utf-16")]
    packed = [pack(data) for pack in (*COMPRESSED.values(), zipped) for data in plain[:2]]
    cases = sorted([*CASES.glob("*.csv*"), *CASES.glob("*.zip")])
    return plain + packed + [path.read_bytes() for path in cases if path.stat().st_size < 1 << 16]


def read(source: Path, out: Path, rng, labels: Path | None = None) -> None:
    """Extract a source as a command would, with options of all kinds."""
    options = {"sampling": rng.choice(extract.SAMPLINGS), "flow_rules": rng.choice((None, *extract.FLOW_RULES))}
    options |= {"dedup_ms": rng.choice((0, 10, 60_000)), "reorder_ms": rng.choice((0, 1, 60_000))}
    if source.is_dir():
        options = {"sampling": options["sampling"]}
    extract.run(source, out, label_source(labels) if labels else None, **options)
    if labels:
        dataset.load(out)


class Refused:
    """Let errors that a command prints as one sentence count as such."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _, error: BaseException | None, __) -> None:
        if isinstance(error, Exception) and not isinstance(error, MemoryError | UserError):
            text = sentence(error)
            if text is not None:
                raise UserError(" ".join(text.splitlines())[:1000]) from error


def test_hostile_captures(tmp_path):
    seeds, path, rounds = captures(), tmp_path / "a.pcap", hostile.Rounds()
    for rng in rounds:
        data = rng.choice(seeds)
        if data[:4] in (b"\x0a\x0d\x0d\x0a", b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\x3c\x4d"):
            data = hostile.changed(rng, data, seeds)
            data = rng.choice(list(COMPRESSED.values()))(data) if rng.random() < 0.1 else data
        else:
            data = hostile.changed(rng, data, seeds)
        path.write_bytes(data)
        with rounds.refusal(), Refused():
            read(path, tmp_path / "out.parquet", rng)
        assert path.read_bytes() == data
    print(rounds.number, rounds.ends)
    assert min(rounds.ends["refused"], rounds.ends["accepted"]) > 10


def test_hostile_label_files(tmp_path):
    capture, seeds = tmp_path / "a.pcap", tables(tmp_path)
    capture.write_bytes(made.pcap(frames()))
    tokens = (
        *hostile.TOKENS,
        b"\n",
        b'""',
        b",,",
        b"inf",
        b"nan",
        b"1e999",
        b"-1",
        b"9" * 5000,
        b"10.0.0.1",
        b"\xc2\x96",
        b" AM",
    )
    rounds, kinds = hostile.Rounds(), ("csv", "csv", "csv", "zip", "gz", "bz2", "xz", "zst", "csv.gz", "tar", "")
    for rng in rounds:
        data = hostile.changed(rng, rng.choice(seeds), seeds, tokens)
        if rng.random() < 0.3:
            data = rng.choice((*COMPRESSED.values(), zipped))(data)
        kind = rng.choice(kinds)
        magic = {b"\x1f\x8b": "gz", b"PK": "zip", b"BZ": "bz2", b"\xfd7": "xz", b"\x28\xb5": "zst"}.get(data[:2], kind)
        path = tmp_path / f"labels.{magic if rng.random() < 0.9 else kind}"
        path.write_bytes(data)
        with rounds.refusal(), Refused():
            read(capture, tmp_path / "out.parquet", rng, path)
        assert path.read_bytes() == data
        path.unlink()
    print(rounds.number, rounds.ends)
    assert min(rounds.ends["refused"], rounds.ends["accepted"]) > 10


FLOWS = {
    "flow_id": [[3, 7, 7], [3, 7, None], [-1, 2**63 - 1, 9], ["a", "b", "c"], [3.5, 7.5, 9.5]],
    "start_epoch_s": [[1e300, None, -1e9], [float("inf"), 0, 1], ["x", "y", "z"], [1e10, 1e13, 1e18], [-1.0, 0.0, 1.0]],
    "src_ip": [["fe80::1", "10.0.0.9", "x"], [None, "1", "2"], [1, 2, 3], [b"\xff", b"", b"1.2.3.4"]],
    "sport": [[-1, 70_000, 0], [0.5, 1.5, 2.5], ["80", "81", "82"], [None, 1, 2], [True, False, True]],
    "proto": [[256, -1, 6], ["tcp", "udp", "icmp"], [6.0, 17.0, float("nan")]],
    "class7": [["DoS", "x", None], [1, 2, 3], [None, None, None], [b"DoS", b"Normal", b""], [["DoS"], [], None]],
}
ROWS = {
    "flow_id": [[3, 3, 3, 7, 9, 2**63 - 1], [3.5] * 6, ["3"] * 6, [None] * 6, [9, 9, 7, 3, 3, 3]],
    "idx": [[0, 1, 2, 0, 0, -(2**63)], [0.0, 1.0, 2.0, 0.0, 0.0, 1.0], [1, 2, 3, 1, 1, 2], ["0"] * 6],
    "ip_len": [[40, 1500.5, 40, 60, 84, 1e300], [None] * 6, [-1] * 6, ["x"] * 6, [65_536] * 6, [[1]] * 6],
    "iat_ms": [[0.0, 1e300, 1, 0, 0, 1], [-1e18] * 6, [float("nan")] * 6, ["1"] * 6, [1e13] * 6, [-0.0] * 6],
    "dir_fwd": [[2, -1, 0, 1, 1, 0], ["x"] * 6, [None] * 6, [0.5] * 6, [True] * 6],
}


def test_hostile_packet_tables(tmp_path):
    """Values of every kind in every column, and changed bytes of the files."""
    rounds = hostile.Rounds()
    files = [tmp_path / name for name in ("flows.parquet", "packets.parquet")]
    for rng in rounds:
        some = [{name: rng.choice([..., *found]) for name, found in columns.items() if rng.random() < 0.15}
                for columns in (FLOWS, ROWS)]  # fmt: skip
        write_table(tmp_path, *some)
        if rng.random() < 0.5:
            at = rng.choice(files)
            at.write_bytes(hostile.changed(rng, at.read_bytes(), [file.read_bytes() for file in files]))
        before = [file.read_bytes() for file in files]
        with rounds.refusal(), Refused():
            read(tmp_path, tmp_path / "out", rng)
        assert [file.read_bytes() for file in files] == before
    print(rounds.number, rounds.ends)
    assert min(rounds.ends["refused"], rounds.ends["accepted"]) > 10


def test_hostile_feature_files(tmp_path):
    """Changed bytes of a dataset, and other metadata."""
    capture, labels, path = tmp_path / "a.pcap", tmp_path / "a.csv", tmp_path / "a.parquet"
    capture.write_bytes(made.pcap(frames()))
    labels.write_text(SCHEDULE)
    extract.run(capture, path, label_source(labels), sampling="every")
    whole, table = path.read_bytes(), pq.read_table(path)
    rounds = hostile.Rounds()
    for rng in rounds:
        if rng.random() < 0.5:
            meta = hostile.changed(
                rng, pq.ParquetFile(io.BytesIO(whole)).metadata.metadata[b"ids_repro"], [b'{"name": 1}', b"[]", b"null"]
            )
            meta = rng.choice((meta, meta, b"[]", b"1", b"{}", b'{"name": "x", "labels": 3}', b"[" * 10_000))
            name = rng.choice(table.column_names)
            column = (
                table[name].cast(rng.choice((pa.int64(), pa.float64(), pa.string()))) if rng.random() < 0.5 else None
            )
            changed = table if column is None else table.set_column(table.column_names.index(name), name, column)
            pq.write_table(changed.replace_schema_metadata({b"ids_repro": meta}), path)
        else:
            path.write_bytes(hostile.changed(rng, whole, [whole]))
        before = path.read_bytes()
        with rounds.refusal(), Refused():
            found = dataset.load(path)
            found.named(), found.sample(), found.counts()
        assert path.read_bytes() == before
    print(rounds.number, rounds.ends)
    assert min(rounds.ends["refused"], rounds.ends["accepted"]) > 10


@pytest.mark.parametrize("kind", ["gz", "zst"])
@pytest.mark.parametrize("begin", [b"", b"label,", HEADER.encode() + b"\n1,"])
def test_a_bomb_is_no_label_file(tmp_path, kind, begin):
    """Some kilobytes that become 160 MB are refused, and not held in memory."""
    path = tmp_path / f"labels.csv.{kind}"
    path.write_bytes(COMPRESSED[kind](begin + b"0" * (160 << 20)))
    Path("/proc/self/clear_refs").write_text("5")
    before = hostile.memory("VmRSS")
    with pytest.raises(UserError, match=str(path)):
        label_source(path)
    assert hostile.memory("VmHWM") - before < 150 << 20


def test_a_capture_that_is_a_bomb_is_read_in_pieces(tmp_path):
    """160 MB of empty records in 160 KB."""
    path = tmp_path / "a.pcap.gz"
    path.write_bytes(gzip.compress(made.pcap(frames()) + bytes(160 << 20)))
    Path("/proc/self/clear_refs").write_text("5")
    before = hostile.memory("VmRSS")
    assert extract.run(path, tmp_path / "out.parquet")["packets"] > 0
    assert hostile.memory("VmHWM") - before < 100 << 20


def test_a_zip_file_whose_member_has_a_damaged_name(tmp_path):
    """The directory has the right name, and what stands before the member is no UTF-8."""
    path, data = tmp_path / "labels.zip", bytearray(zipped(SCHEDULE.encode()))
    data[7] |= 8  # the name is in UTF-8
    data[30] = 0xFC
    path.write_bytes(data)
    with pytest.raises(UserError, match="cannot be read to its end"):
        label_source(path)
