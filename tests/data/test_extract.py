"""From captures to Parquet: known facts of real files, the reference, order, damage, full disks.

Covers also: ids_repro.data.feature_file. Packet tables are in test_packet_table.py.
"""

import gzip
import hashlib
import json
import os
import subprocess
import sys

import made_captures as made
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packet_tables import CAPTURES, rows_of, write_table

from ids_repro import __main__, config
from ids_repro.config import UserError
from ids_repro.data import dataset, extract, packets
from ids_repro.data.feature_file import COLUMNS
from ids_repro.data.features import FEATURES
from ids_repro.data.flow import reference
from ids_repro.data.labels.source import label_source
from ids_repro.native import library, stream
from ids_repro.native.layouts import FIRST_PACKETS, ROW

PACKETS_AND_FLOWS = {
    "thu_webattack_xss": (9374, 661),
    "thu_webattack_sqli": (94, 10),
    "thu_normal_slice": (1499, 325),
}


def run(capsys, *arguments):
    """Run the command; return its exit code, its JSON object and what it wrote to stderr."""
    code = __main__.main(["extract", *map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else None, err


def meta_of(path):
    return json.loads(pq.ParquetFile(path).metadata.metadata[b"ids_repro"])


@pytest.mark.parametrize("name", CAPTURES)
def test_known_facts(name, tmp_path, capsys):
    path, dedup_ms = CAPTURES[name]
    code, found, _ = run(capsys, path, "--out", tmp_path / "x.parquet", "--dedup-ms", dedup_ms)
    assert code == 0
    if name in PACKETS_AND_FLOWS:
        assert (found["packets"], found["flows"]) == PACKETS_AND_FLOWS[name]
    assert found["frames"] == found["packets"] + found["duplicates"] + sum(found["dropped"].values())
    assert found["vectors"] == found["flows"] == pq.ParquetFile(tmp_path / "x.parquet").metadata.num_rows
    assert found["seconds"] > 0 and found["packets_per_s"] > 0
    if name == "thu_normal_slice":
        assert (found["frames"], found["duplicates"], found["dropped"]["ipv6"]) == (4544, 2787, 73)


@pytest.mark.parametrize("name", CAPTURES)
def test_reference_equals_c_on_captures(name):
    rows = rows_of(name)
    x, flow = library.extract(rows)
    x_reference, flow_reference = reference(rows)
    assert np.array_equal(x, x_reference) and np.array_equal(flow, flow_reference)
    check_vectors(rows, x, flow)


def check_vectors(rows, x, flow):
    """Compare the vectors of both samplings with the features of every packet."""
    for every in (True, False):
        sampler = stream.Sampler(every)
        for piece in np.array_split(rows, 3):
            sampler.push(piece)
        sampler.end()
        found = sampler.take()
        found = found[np.argsort(found["packet"])]
        _, first, count = np.unique(flow, return_index=True, return_counts=True)
        order = np.argsort(flow, kind="stable")
        begin = np.cumsum(count) - count
        index = np.empty(len(flow), np.int64)
        index[order] = np.concatenate([np.arange(n) for n in count]) if len(count) else []
        at = np.arange(len(rows)) if every else np.sort(order[begin + np.minimum(count, FIRST_PACKETS) - 1])
        assert np.array_equal(found["packet"], at)
        assert np.array_equal(found["x"], x[at]) and np.array_equal(found["flow"], flow[at])
        assert np.array_equal(found["index"], index[at])
        opened = rows[first[flow[at].astype(int)]]
        for name in ("saddr", "daddr", "sport", "dport", "proto"):
            assert np.array_equal(found[name], opened[name]), name
        assert np.array_equal(found["first_us"], opened["ts_ns"] // 1000)
        assert np.array_equal(found["time_us"], rows["ts_ns"][at] // 1000)


MINUTE_NS = 60 * 10**9
packet = st.tuples(
    st.sampled_from([0, 1, 999, 1000, 10**6, MINUTE_NS, 299 * 10**9, 300 * 10**9, 300 * 10**9 + 1000, 301 * 10**9]),
    st.sampled_from([(1, 2), (2, 1), (1, 3), (3, 3)]),
    st.sampled_from([(5, 6), (6, 5), (5, 5)]),
    st.sampled_from([6, 6, 17, 1]),
    st.integers(0, 0xFFFF),
    st.sampled_from([0x00, 0x02, 0x10, 0x11, 0x01, 0x04, 0x14]),
    st.sampled_from([1, 1, 1, -1]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(packet, min_size=1, max_size=130))
def test_reference_equals_c_on_made_up_packets(drawn):
    rows, now = np.zeros(len(drawn), ROW), 10**18
    for row, (step, hosts, ports, proto, length, flags, way) in zip(rows, drawn, strict=True):
        now += way * step
        row["ts_ns"], row["len"], row["proto"] = now, length, proto
        row["saddr"], row["daddr"] = hosts
        if proto != 1:
            row["sport"], row["dport"] = ports
        row["tcp_flags"] = flags if proto == 6 else 0
    x, flow = library.extract(rows)
    x_reference, flow_reference = reference(rows)
    assert np.array_equal(x, x_reference) and np.array_equal(flow, flow_reference)
    check_vectors(rows, x, flow)


@pytest.mark.parametrize(
    "rows", [made.many_flows(200_000, 10**6), made.many_flows(200_000, 1, made.RST)], ids=["idle", "reset"]
)
def test_table_lets_go_of_flows_that_are_over(rows):
    """The vectors are those of a table that keeps every flow."""
    x, flow = library.extract(rows)
    check_vectors(rows, x, flow)


def test_memory_does_not_grow_with_the_capture():
    program = """
import re, sys
import numpy as np
from ids_repro.native import stream
from made_captures import many_flows
rows, sampler, peaks = many_flows(200_000, 10**6), stream.Sampler(False), []
for _ in range(8):
    sampler.push(rows)
    while sampler.counts()["waiting"] >= 1000:  # like the writer, which always leaves some
        sampler.take(1000)
    rows["ts_ns"] += np.uint64(600 * 10**9)
    rows["saddr"] += 200_000
    peaks.append(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]))
print(peaks[-1] - peaks[2])
"""
    paths = {"PYTHONPATH": f"{config.ROOT}:{config.ROOT / 'tests'}"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ | paths)
    assert int(done.stdout) < 8 << 10, done.stderr  # KB


def test_flow_ends_exactly_as_go_flows_does(tmp_path):
    """A flow ends after 300 s idle, after 1,800 s active, at RST, or when both FINs are acknowledged."""
    second = 10**6

    def flows(*steps):
        frames = []
        for time_us, sender, flags in steps:
            ends = {"src": made.A, "dst": made.B} if sender == "a" else {"src": made.B, "dst": made.A}
            ports = (5, 6) if sender == "a" else (6, 5)
            frames.append((time_us, made.ethernet(made.ipv4(*ports, flags=flags, **ends))))
        (tmp_path / "a.pcap").write_bytes(made.pcap(frames))
        return extract.run(tmp_path / "a.pcap", tmp_path / "a.parquet")["flows"]

    a, f = made.ACK, made.FIN | made.ACK
    assert flows((0, "a", a), (300 * second, "b", a)) == 1
    assert flows((0, "a", a), (300 * second + 1, "b", a)) == 2
    assert flows(*((k * 200 * second, "a", a) for k in range(10))) == 1
    assert flows(*((k * 200 * second, "a", a) for k in range(11))) == 2
    assert flows((0, "a", a), (1, "b", made.RST), (2, "a", a)) == 2
    assert flows((0, "a", f), (1, "b", f), (2, "a", a), (3, "a", a)) == 2
    assert flows((0, "a", f), (1, "b", a), (2, "b", a), (3, "a", a)) == 1


def test_go_flows_rules_leave_out_flows_that_step_back_in_time(tmp_path):
    """Also if the step comes after the first 100 packets. The flow after the end of such a flow is another one."""
    a, ends = made.ACK, {"src": made.B, "dst": made.A}
    sent = [(k, 5, 6, a, {}) for k in range(150)] + [(149, 7, 6, a, {}), (160, 7, 6, a, {}), (148, 6, 5, a, ends)]
    sent += [(170, 5, 6, made.RST, {}), (180, 5, 6, a, {}), (170, 9, 6, a, {})]
    frames = [(time, made.ethernet(made.ipv4(*ports, flags=flags, **way))) for time, *ports, flags, way in sent]
    (tmp_path / "a.pcap").write_bytes(made.pcap(frames))
    expected = {"text": [5, 5, 7, 9], "go-flows": [5, 7, 9]}  # sport of each flow's vector
    for rules, ports in expected.items():
        found = extract.run(tmp_path / "a.pcap", tmp_path / "a.parquet", flow_rules=rules)
        assert (found["flows"], found["vectors"], found["stepped_back"]) == (4, len(ports), 1)
        vectors = pq.read_table(tmp_path / "a.parquet")
        assert sorted(vectors["sport"].to_numpy() >> 16) == ports
    every = extract.run(tmp_path / "a.pcap", tmp_path / "a.parquet", sampling="every", flow_rules="go-flows")
    assert (every["vectors"], every["stepped_back"]) == (len(frames), 1)


def test_icmp_of_one_type_is_one_flow_in_both_directions(tmp_path):
    """By the rules of go-flows; dport has the type and the code. By the text all ICMP of two hosts is one flow."""

    def icmp(kind, back):
        ends = {"src": made.B, "dst": made.A} if back else {}
        packet = bytearray(made.ipv4(proto=made.ICMP, payload=bytes(4), **ends))
        packet[20:22] = kind.to_bytes(2, "big")
        return made.ethernet(bytes(packet))

    kinds = [(0x0800, 0), (0, 1), (0x0800, 1), (0, 0), (0x0303, 1)]
    (tmp_path / "a.pcap").write_bytes(made.pcap([(k, icmp(*one)) for k, one in enumerate(kinds)]))
    for rules, flows, dports in (
        ("text", [0] * 5, [0] * 5),
        ("go-flows", [0, 1, 0, 1, 2], [0x800, 0, 0x800, 0, 0x303]),
    ):
        extract.run(tmp_path / "a.pcap", tmp_path / "a.parquet", sampling="every", flow_rules=rules)
        table = pq.read_table(tmp_path / "a.parquet")
        assert (table["flow"].to_pylist(), (table["dport"].to_numpy() >> 16).tolist()) == (flows, dports)
        assert not table["sport"].to_numpy().any()


@pytest.mark.parametrize("rules", ["both", "go-flows"])
def test_reference_equals_c_with_ipv6_and_icmp(rules):
    path = CAPTURES.get("thu_normal_slice", (config.SAMPLE, 0))[0]
    rows = np.concatenate([piece.copy() for piece in packets.Packets(path, rules=rules)])
    x, flow = library.extract(rows)
    x_reference, flow_reference = reference(rows)
    assert np.array_equal(x, x_reference) and np.array_equal(flow, flow_reference)
    check_vectors(rows, x, flow)


def test_flow_rules_are_for_captures_and_have_two_names(tmp_path):
    with pytest.raises(UserError, match="the flow rules are 'paper': use text or go-flows"):
        extract.run(config.SAMPLE, tmp_path / "x.parquet", flow_rules="paper")
    with pytest.raises(UserError, match="says which flows there are; leave out --flow-rules"):
        extract.run(write_table(tmp_path), tmp_path / "x.parquet", flow_rules="text")


def test_last_is_a_choice_from_every(tmp_path):
    schedule = config.SAMPLE_LABELS
    every = dataset.prepare(config.SAMPLE, schedule, tmp_path / "every.parquet").sample("last")
    extract.run(config.SAMPLE, tmp_path / "last.parquet", label_source(schedule), name="lab capture")
    last = dataset.load(tmp_path / "last.parquet").sample("last")
    for name in ("x", *COLUMNS):
        assert np.array_equal(getattr(every, name), getattr(last, name)), name
        assert getattr(every, name).dtype == getattr(last, name).dtype


def test_prepare_gives_what_the_parts_give(tmp_path):
    schedule = config.SAMPLE_LABELS
    data, capture = dataset.prepare(config.SAMPLE, schedule, tmp_path / "a.parquet"), packets.read(config.SAMPLE)
    x, flow = library.extract(capture.rows)
    first = np.unique(flow, return_index=True)[1]
    label = label_source(schedule).label(capture.rows[first])[0][flow.astype(int)]
    kept = label >= 0
    assert np.array_equal(data.x, x[kept]) and np.array_equal(data.flow, flow[kept])
    assert np.array_equal(data.label, label[kept]) and np.array_equal(data.packet, np.flatnonzero(kept))
    assert np.array_equal(data.time_us, capture.rows["ts_ns"][kept] // 1000)


@pytest.mark.parametrize("sampling", extract.SAMPLINGS)
def test_same_inputs_same_bytes(tmp_path, sampling):
    path, dedup_ms = CAPTURES.get("thu_normal_slice", (config.SAMPLE, 10))
    out = [tmp_path / "a.parquet", tmp_path / "other" / "b.parquet"]
    for target in out:
        extract.run(path, target, sampling=sampling, dedup_ms=dedup_ms, reorder_ms=5)
    assert out[0].read_bytes() == out[1].read_bytes()
    meta = meta_of(out[0])
    assert meta["parameters"]["dedup_ms"] == dedup_ms and meta["parameters"]["sampling"] == sampling
    assert meta["sources"] == {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}


def test_gzip_gives_the_same_vectors(tmp_path):
    (tmp_path / "a.pcap").write_bytes(gzip.decompress(config.SAMPLE.read_bytes()))
    extract.run(config.SAMPLE, tmp_path / "zipped.parquet")
    extract.run(tmp_path / "a.pcap", tmp_path / "plain.parquet")
    assert pq.read_table(tmp_path / "zipped.parquet").equals(pq.read_table(tmp_path / "plain.parquet"))


def test_documented_schema(tmp_path):
    extract.run(config.SAMPLE, tmp_path / "a.parquet")
    schema = pq.read_schema(tmp_path / "a.parquet")
    assert schema.names == [*FEATURES, "flow", "index", "packet", "time_us", "label"]
    assert set(map(str, schema.types[:-1])) == {"int64"} and str(schema.types[-1]) == "int8"
    with pytest.raises(UserError, match="--labels"):
        dataset.load(tmp_path / "a.parquet")


def test_cut_capture_is_kept_named_and_exits_1(tmp_path, capsys):
    data = made.pcap([(k, made.ethernet(made.ipv4(k))) for k in range(5)])
    (tmp_path / "cut.pcap").write_bytes(data[:-7])
    code, found, err = run(capsys, tmp_path / "cut.pcap", "--out", tmp_path / "x.parquet")
    at = len(data) - 16 - len(made.ethernet(made.ipv4()))
    assert code == 1 and found["packets"] == 4 and f"byte {at:,}" in err and f"byte {at:,}" in found["damage"]
    assert pq.read_table(tmp_path / "x.parquet")["sport"].to_numpy().tolist() == [k << 16 for k in range(4)]


def test_bad_input_exits_2_and_leaves_nothing(tmp_path, capsys):
    (tmp_path / "bad.pcap").write_bytes(b"not a capture at all, is it?")
    (tmp_path / "x.parquet").write_text("older")
    cases = [
        ("bad.pcap",),
        ("none.pcap",),
        (config.SAMPLE, "--dedup-ms", "-1"),
        (config.SAMPLE, "--labels", "none.csv"),
    ]
    for source, *options in cases:
        code, found, err = run(capsys, tmp_path / source, "--out", tmp_path / "x.parquet", *options)
        assert code == 2 and found is None and err.splitlines()[-1].startswith("ids_repro extract: ")
    assert (tmp_path / "x.parquet").read_text() == "older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.pcap", "x.parquet"]


def test_labels_that_match_nothing_are_refused(tmp_path, capsys):
    schedule = "label,activity,start_us,end_us,src,dst,dport,proto\nDoS,,0,1,1.1.1.1,2.2.2.2,,\n"
    (tmp_path / "a.csv").write_text(schedule)
    arguments = [config.SAMPLE, "--labels", tmp_path / "a.csv", "--out", tmp_path / "x.parquet"]
    code, _, err = run(capsys, *arguments)
    assert code == 2 and "matches none" in err and not (tmp_path / "x.parquet").exists()


def test_full_disk_leaves_no_half_file(tmp_path):
    """A limit on the size of files replaces a full disk: with both, a write raises OSError."""
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000));"
        "from ids_repro.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    library.library(), stream._library()  # compile both before the limit applies
    arguments = ["extract", str(config.SAMPLE), "--sampling", "every", "--out", str(tmp_path / "x.parquet")]
    run = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert run.returncode == 2, run.stderr
    assert "cannot be written" in run.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


class InMemory:
    """Packets in memory: a source of another kind, with no more than `extract.PacketSource` asks for."""

    path, unit, labels = config.SAMPLE, "packet", None

    def __init__(self, rows):
        self.rows, self.size, self.position = rows, len(rows), 0

    def pieces(self):
        for rows in np.array_split(self.rows, 7):
            self.position += len(rows)
            yield rows, None

    def facts(self):
        frames = {"ok": len(self.rows)}
        return {"parameters": {}, "sources": {}, "frames": frames, "out_of_order": 0, "late": 0, "damage": None}

    def sha256(self):
        return hashlib.sha256(self.rows.tobytes())


@pytest.mark.parametrize("sampling", extract.SAMPLINGS)
def test_a_source_of_another_kind_needs_no_more_than_the_protocol_asks_for(tmp_path, sample, sampling):
    labels = label_source(config.SAMPLE_LABELS)
    extract.run(config.SAMPLE, tmp_path / "file.parquet", labels, sampling=sampling)
    extract.write(InMemory(sample.rows), tmp_path / "memory.parquet", labels, sampling, "in memory")
    assert pq.read_table(tmp_path / "file.parquet").equals(pq.read_table(tmp_path / "memory.parquet"))
