"""extract writes a dataset, and refuses a bad capture or schedule in one sentence; record has its options."""

import inspect
import json
import struct
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from packet_tables import write_table

from ids_repro import config
from ids_repro.cli import main, make_parser
from ids_repro.data import dataset
from ids_repro.lab.record import record_capture

SCHEDULE = config.SAMPLE_LABELS
HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)


def record(frame: bytes) -> bytes:
    """One record of a pcap."""
    return struct.pack("<IIII", 1_700_000_000, 0, len(frame), len(frame)) + frame


ARP = record(bytes(12) + b"\x08\x06" + bytes(46))
IP = record(bytes(12) + b"\x08\x00\x45" + bytes(60))
CAPTURES = {
    "empty": (b"", "the file is empty or shorter than a pcap header"),
    "garbage": (bytes(range(100)), "not a pcap or pcapng file"),
    "broken pcapng": (b"\x0a\x0d\x0d\x0a" + bytes(60), "no IPv4 packet"),
    "no packet": (HEADER, "no IPv4 packet"),
    "only ARP": (HEADER + ARP, "no IPv4 packet"),
    "not Ethernet": (HEADER[:20] + b"\x93\0\0\0" + IP, "link type 147"),
}


@pytest.fixture
def extract(refused, tmp_path):
    """Run extract on a capture or a schedule that it has to refuse; it must write nothing."""

    def run(pcap: Path = config.SAMPLE, schedule: Path = SCHEDULE) -> str:
        out = tmp_path / "out.parquet"
        said = refused("extract", pcap, "--labels", schedule, "--out", out)
        assert not out.exists()
        return said

    return run


@pytest.mark.parametrize("what", CAPTURES)
def test_a_bad_capture(extract, tmp_path, what):
    content, message = CAPTURES[what]
    path = tmp_path / "bad.pcap"
    path.write_bytes(content)
    said = extract(path)
    assert message in said
    assert str(path) in said


def test_a_capture_that_is_not_there(extract, tmp_path):
    assert "there is no such file" in extract(tmp_path / "none.pcap")


def test_a_schedule_that_is_not_there(extract, tmp_path):
    assert "there is no such label schedule" in extract(schedule=tmp_path / "none.csv")


CHANGES = {
    "of another day": (lambda s: s.assign(start_us=s.start_us + 10**12, end_us=s.end_us + 10**12), "matches none"),
    "without a column": (lambda s: s.drop(columns="dst"), "the column 'dst' is missing"),
    "with another class": (lambda s: s.assign(label="Ransomware"), "'Ransomware' is no class; use Botnet, "),
    "without a row": (lambda s: s[:0], "matches none"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_schedule(extract, tmp_path, change):
    apply, message = CHANGES[change]
    apply(pd.read_csv(SCHEDULE)).to_csv(tmp_path / "bad.csv", index=False)
    assert message in extract(schedule=tmp_path / "bad.csv")


def test_a_schedule_that_is_no_csv(extract, tmp_path):
    (tmp_path / "bad.csv").write_bytes(bytes(range(128, 256)))
    assert "not a CSV file" in extract(schedule=tmp_path / "bad.csv")


def test_a_good_capture_is_extracted(tmp_path, capsys):
    out = tmp_path / "folder/out.parquet"
    options = ("--labels", str(SCHEDULE), "--out", str(out), "--name", "mine", "--json")
    assert main(["extract", str(config.SAMPLE), *options]) == 0
    assert json.loads(capsys.readouterr().out)["packets"] > 0
    assert dataset.load(out).meta["name"] == "mine"


@pytest.mark.parametrize("name", ["mine", "CIC-IDS2017"])
def test_flows_by_class_stand_beside_the_papers(tmp_path, capsys, name):
    options = ("--labels", str(SCHEDULE), "--out", str(tmp_path / "out.parquet"), "--name", name)
    assert main(["extract", str(config.SAMPLE), *options]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    counts = dataset.load(tmp_path / "out.parquet").counts()
    all_flows = sum(counts.values())
    change = " -98.6%" if name == "CIC-IDS2017" else ""
    assert f"all {all_flows:,} 2,315,197{change}" in lines
    assert ("not judged: the data is mine, not CIC-IDS2017 (--name)" in lines) == (name == "mine")
    assert any(line.startswith(f"Botnet {counts['Botnet']:,} {counts['Botnet'] * 8 / 15:,.0f} 415") for line in lines)
    assert main(["extract", str(config.SAMPLE), *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["flows_by_class"] == counts


def test_flows_without_a_label_are_counted(tmp_path, capsys):
    rows = SCHEDULE.read_text().splitlines(keepends=True)
    (tmp_path / "some.csv").write_text("".join(row for row in rows if not row.startswith("Normal")))
    options = ("--labels", str(tmp_path / "some.csv"), "--out", str(tmp_path / "out.parquet"))
    assert main(["extract", str(config.SAMPLE), *options]) == 0
    without = dataset.load(tmp_path / "out.parquet").meta["flows_without_label"]
    assert without > 10_000
    assert f"\n  flows to which the label source gives no label: {without:,}, " in capsys.readouterr().out


@pytest.fixture
def inputs(tmp_path):
    """Return a capture, its schedule and a packet table; and what each of their files holds."""
    for name, source in (("a.pcap.gz", config.SAMPLE), ("a.csv", SCHEDULE)):
        (tmp_path / name).write_bytes(source.read_bytes())
    (tmp_path / "table").mkdir()
    write_table(tmp_path / "table")
    return tmp_path, {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("link", [None, "symlink_to", "hardlink_to"])
@pytest.mark.parametrize("name", ["a.pcap.gz", "a.csv", "table/packets.parquet", "table/flows.parquet"])
def test_no_input_is_written_over(inputs, refused, name, link, several):
    folder, before = inputs
    sources = [folder / ("table" if name.startswith("table") else "a.pcap.gz")]
    sources += [config.SECOND_SAMPLE] if several else []
    labels = [] if name.startswith("table") else ["--labels", folder / "a.csv"]
    out = folder / name
    if link:
        getattr(folder / "out", link)(out)
        out = folder / "out"
    assert f"{out}: is read as an input (" in refused("extract", *sources, *labels, "--out", out)
    assert {path: path.read_bytes() for path in before} == before
    assert {path for path in folder.rglob("*") if path.is_file()} == {*before, out}


@pytest.mark.parametrize("several", [False, True])
def test_an_output_that_is_no_file_is_refused_before_anything_is_read(refused, tmp_path, several):
    null = Path("/dev/null").stat().st_ino
    sources = [tmp_path / "none.pcap", tmp_path / "none2.pcap"][: 1 + several]
    for out, what in (("/dev/null", "a device"), (tmp_path, "a folder")):
        assert f"{out}: is {what}; give another file" in refused("extract", *sources, "--out", out)
    assert Path("/dev/null").stat().st_ino == null


def test_two_extractions_into_one_file_both_succeed_and_the_file_is_whole(tmp_path):
    out = tmp_path / "out.parquet"
    captures = (config.SAMPLE, config.SECOND_SAMPLE)
    argv = [sys.executable, "-m", "ids_repro", "extract", "--out", str(out), "--sampling", "every"]
    runs = [subprocess.Popen([*argv, str(one)], cwd=config.ROOT, stdout=subprocess.PIPE) for one in captures * 2]
    assert [(run.communicate(), run.returncode)[1] for run in runs] == [0] * 4
    meta = json.loads(pq.read_metadata(out).metadata[b"ids_repro"])
    assert list(meta["sources"]) in [[one.name] for one in captures]
    assert len(pq.read_table(out)) == meta["packets"] > 0
    assert list(tmp_path.iterdir()) == [out]


def test_record_without_options_records_as_its_function_does_by_default():
    args = make_parser().parse_args(["record"])
    defaults = inspect.signature(record_capture).parameters
    assert {name: getattr(args, name) for name in ("seconds", "seed", "snaplen")} == {
        name: defaults[name].default for name in ("seconds", "seed", "snaplen")
    }
