"""The lab capture: a short recording made here, and the sample that ships."""

import struct
import tempfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ids_repro import lab, lab_traffic
from ids_repro.config import CLASSES, SAMPLE, UserError
from ids_repro.labels import label_flows, read_schedule
from ids_repro.testbed import leftovers

FIRST = [("ts_ns", "u8"), ("saddr", "u4"), ("daddr", "u4"), ("sport", "u2"), ("dport", "u2"), ("proto", "u1")]
ETHERNET, MTU = 14, 1500


def read(path: Path) -> SimpleNamespace:
    """Read a pcap, without the package's own reader: first packet and packet count of each two-way flow."""
    data = path.read_bytes()
    magic, _, _, _, _, snaplen, link = struct.unpack_from("<IHHiIII", data)
    assert (magic, link) == (0xA1B2C3D4, 1), "classic pcap, little-endian, microseconds, Ethernet"
    flows, counts, lengths, offset = {}, Counter(), [], 24
    while offset < len(data):
        seconds, micros, kept, length = struct.unpack_from("<IIII", data, offset)
        frame = data[offset + 16 : offset + 16 + kept]
        offset += 16 + kept
        assert kept == min(length, snaplen)
        assert frame[12:14] == b"\x08\x00"
        ports, proto = ETHERNET + 4 * (frame[ETHERNET] & 15), frame[ETHERNET + 9]
        saddr, daddr = struct.unpack_from(">II", frame, ETHERNET + 12)
        sport, dport = struct.unpack_from(">HH", frame, ports) if proto in (6, 17) else (0, 0)
        key = (proto, *sorted([(saddr, sport), (daddr, dport)]))
        flows.setdefault(key, ((seconds * 10**6 + micros) * 1000, saddr, daddr, sport, dport, proto))
        counts[key] += 1
        lengths.append(length)
    assert offset == len(data), "the last packet is whole"
    return SimpleNamespace(
        first=np.array(list(flows.values()), FIRST), packets=np.array([counts[k] for k in flows]), lengths=lengths
    )


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A recording of a few seconds."""
    out = tmp_path_factory.mktemp("lab")
    before = set(Path(tempfile.gettempdir()).glob("ids-lab-*"))
    done = lab.record(out, seconds=8, seed=1, progress=False)
    assert set(Path(tempfile.gettempdir()).glob("ids-lab-*")) == before, "no temporary directory stays"
    return done


def test_a_short_recording_is_labelled_whole_and_leaves_nothing(short):
    assert leftovers() == []
    assert sorted(p.name for p in short["pcap"].parent.iterdir()) == ["lab.csv", "lab.pcap"]
    capture = read(short["pcap"])
    assert capture.packets.sum() == short["packets"] > 300
    labels = label_flows(capture.first, read_schedule(short["schedule"]))
    assert (labels >= 0).all()
    assert {"Normal"} < {CLASSES[i] for i in labels}


def test_normal_activities_succeed(short):
    schedule = read_schedule(short["schedule"])
    assert set(short["goes"]) <= {a.name for a in lab_traffic.ACTIVITIES}
    # Not those meant to fail, such as a mistyped password; a few may while the server is under attack.
    done = Counter({n: k for n, k in short["goes"].items() if n in ("page", "name", "remote command", "file by FTP")})
    failed = sum(short["failed"].get(name, 0) for name in done)
    assert failed <= done.total() / 4
    assert (schedule["end_us"] >= schedule["start_us"]).all()


@pytest.fixture(scope="module")
def sample():
    capture = read(SAMPLE)
    capture.labels = label_flows(capture.first, read_schedule(SAMPLE.with_suffix(".csv")))
    return capture


def test_the_sample_has_every_flow_labelled_and_enough_of_each_class(sample):
    assert len(sample.first) >= 5_000
    assert (sample.labels >= 0).all()
    share = Counter(CLASSES[i] for i in sample.labels)
    assert set(share) == {a.label for a in lab_traffic.ACTIVITIES}
    assert min(share.values()) >= 200
    assert share["Normal"] >= 0.35 * share.total()
    assert SAMPLE.stat().st_size <= 4 * 2**20


def test_the_readme_counts_the_sample_as_it_is(sample):
    readme = (SAMPLE.parents[1] / "README.md").read_text()
    for label in set(sample.labels):
        here = sample.labels == label
        line = next(line for line in readme.splitlines() if line.startswith(f"| {CLASSES[label]} |"))
        assert line.endswith(f"| {here.sum():,} | {sample.packets[here].sum():,} |")


def test_no_packet_of_the_sample_is_longer_than_the_wire_allows(sample):
    assert max(sample.lengths) <= ETHERNET + MTU


def test_neither_time_nor_source_port_alone_tells_the_class(sample):
    # Each tenth of the recording has Normal traffic and attacks of at least two classes.
    tenth = np.digitize(sample.first["ts_ns"], np.linspace(*np.quantile(sample.first["ts_ns"], [0, 1]), 11)[1:-1])
    normal = CLASSES.index("Normal")
    for part in range(10):
        here = set(sample.labels[tenth == part])
        assert normal in here
        assert len(here) >= 3
    # Attacks and Normal draw source ports from one range, and no port stands for many attack flows.
    tcp = sample.first["proto"] == 6
    for label in set(sample.labels) - {normal}:
        ports = sample.first["sport"][tcp & (sample.labels == label)]
        assert np.mean((ports >= lab_traffic.EPHEMERAL[0]) & (ports <= lab_traffic.EPHEMERAL[1] + 20)) > 0.95
        assert len(set(ports)) >= 30


def test_attack_rounds_hold_one_of_each_class():
    rounds = lab_traffic.attack_rounds(np.random.default_rng(0))
    classes = {a.label for a in lab_traffic.ACTIVITIES} - {"Normal"}
    for _ in range(20):
        assert {next(rounds).label for _ in classes} == classes


@pytest.mark.parametrize("activity", lab_traffic.ACTIVITIES, ids=lambda a: a.name)
def test_commands_are_drawn_from_the_seed_and_reach_only_the_lab(activity):
    fixed = dict(server="10.88.0.10", user="u", password="p", words="w")
    one, two = (lab_traffic.command(activity, np.random.default_rng(5), Path("/lab"), **fixed) for _ in range(2))
    assert one == two
    assert "10.88.0.10" in one
    assert "{" not in one
    assert "--flood" not in one


def test_a_missing_program_is_named_with_its_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(lab, "PROGRAMS", ("a-program-that-is-not-there",))
    with pytest.raises(UserError, match="a-program-that-is-not-there.*make system-lab"):
        lab.record(tmp_path)


def test_a_server_that_does_not_start_says_why_and_nothing_is_left(monkeypatch, tmp_path):
    monkeypatch.setattr("ids_repro.lab_servers._DNSMASQ", "no-such-option\n")
    with pytest.raises(UserError, match=r"dns server did not start: .*bad option"):
        lab.record(tmp_path / "out", seconds=2, progress=False)
    assert leftovers() == []
    assert list((tmp_path / "out").iterdir()) == []
