"""Awkward inputs of the field, each with the sentence or the value that the command has to give for it.

The files are in ../shared/cases, which only some checkouts have; other tests of this room make such inputs themselves.
"""

import json
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from ids_repro import config
from ids_repro.cli import main
from ids_repro.data import packets

CASES = config.ROOT.parent / "shared" / "cases"
SUBSET = config.ROOT.parent / "shared" / "cic-ids2017"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not beside this checkout")
CAPTURE = "tso_len0.pcap"  # one flow from 10.0.0.1:1000 to 10.0.0.2:80 at 1499343334 s

# A label file, and what is said of it; a field that cannot be read is named with its line and column.
WHOLE_US = "a whole number of microseconds since 1970"
REFUSED = {
    "s_two.zip": "2 CSV files in it, and a schedule is one; unpack it and name one",
    **{
        f"s_fake.{end}": f"its name is that of a {kind} file, but it is none"
        for end, kind in (
            ("zip", "zip"),
            ("gz", "gzip"),
            ("bz2", "bzip2"),
            ("xz", "xz"),
            ("zst", "zstd"),
        )
    },
    "s_fake.tar": "tar files of labels are not read; unpack it and name the CSV file",
    "s_cut.csv.gz": "cannot be read to its end (it is cut off)",
    "s_inf.csv": f"line 2: column 'end_us': 'inf' is no end_us; {WHOLE_US}",
    "s_infinity.csv": f"line 2: column 'end_us': 'Infinity' is no end_us; {WHOLE_US}",
    "s_minus_inf.csv": f"line 2: column 'start_us': '-inf' is no start_us; {WHOLE_US}",
    "s_inf_dport.csv": "line 2: column 'dport': 'inf' is no dport; a port from 0 to 65535",
    "s_label_numbers.csv": "line 2: column 'label': '2' is no class; use Botnet, ",
    "l_year9999.csv": "line 2: column 'Timestamp': '31/12/9999 23:30' cannot be read; ",
    "s_trailing_comma.csv": "line 2: 9 fields, but the first line names 8 columns; the extra field is ''",
    "l_trailing_comma.csv": "line 2: 9 fields, but the first line names 8 columns; the extra field is ''",
    "s_dport80.5.csv": "line 2: column 'dport': '80.5' is no dport; a port from 0 to 65535",
    "s_dport70000.csv": "line 2: column 'dport': '70000' is no dport; a port from 0 to 65535",
    "s_dport_minus.csv": "line 2: column 'dport': '-1' is no dport; a port from 0 to 65535",
    "s_proto_300.csv": "line 2: column 'proto': '300' is no proto; a protocol from 0 to 255",
    "s_end_before_start.csv": "line 2: column 'end_us': 1499343333999999 is before start_us, 1499344334000000",
}
# A label file, and what its reader counts. Each labels the flow of CAPTURE.
READ = {
    "GeneratedLabelledFlows.zip": {"rows": 100, "header": 98},
    "lok.csv.gz": {"rows": 1},
    "l_utf8_cyr.csv": {"rows": 1},
}
# A capture, options, and for each packet its length and stamp [us]; then lines of the command's plain output.
T = 1499343334_000000
CAPTURES = {
    "tso_len0.pcap": (
        [],
        3,
        ["packets with the length 0 in their IP header (segmentation offload), taken from the frame: 1"],
    ),
    "tsresol_after_endofopt.pcapng": ([], 2, []),
    "garbage_after_endofopt.pcapng": ([], 2, []),
    "bad_crc.pcap.gz": ([], 3, []),
    "pppoe.pcap": ([], 1, ["left out of 2 frames: 1 not IP"]),
    "mixed_known_unknown_link.pcapng": ([], 2, ["left out of 3 frames: 1 of link type 105, which is not read"]),
    "syn_ack_first.pcap": ([], 3, ["packets older than one before them in the file: 1; --reorder-ms 1 sorts them"]),
    "dedup_swept.pcap": (["--dedup-ms", "10"], 1, ["left out of 2,050 frames: 2,048 not IP"]),
}


def extract(*arguments):
    """Run the command in a process of its own; return what it did."""
    command = [sys.executable, "-m", "ids_repro", "extract", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=config.ROOT)


def test_every_case_is_in_a_table():
    assert {*REFUSED, *READ, *CAPTURES, "README.md"} == {path.name for path in CASES.iterdir()}


@pytest.mark.parametrize("name", REFUSED)
def test_a_label_file_that_cannot_be_used_is_named(refused, tmp_path, name):
    said = refused("extract", CASES / CAPTURE, "--labels", CASES / name, "--out", tmp_path / "x.parquet")
    assert f"{CASES / name}: {REFUSED[name]}" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", READ)
def test_a_label_file_that_is_read(tmp_path, name):
    out = tmp_path / "x.parquet"
    assert main(["extract", str(CASES / CAPTURE), "--labels", str(CASES / name), "--out", str(out)]) == 0
    labels = json.loads(pq.ParquetFile(out).metadata.metadata[b"ids_repro"])["labels"]
    assert {key: n for key, n in labels["notes"].items() if n and key != "contradictory"} == READ[name]
    assert labels["flows"]["labels"] == {"DoS": 1}


@pytest.mark.parametrize("name", CAPTURES)
def test_a_capture(tmp_path, name):
    options, n, lines = CAPTURES[name]
    done = extract(CASES / name, "--out", tmp_path / "x.parquet", *options)
    first, *others = done.stdout.splitlines()
    assert f" {n} packets, {int(name == 'dedup_swept.pcap')} duplicates; " in first
    assert [line.strip() for line in others if "flows with a packet that is older" not in line] == lines
    assert (done.returncode, "CRC check failed" in done.stderr) == (
        (1, True) if name == "bad_crc.pcap.gz" else (0, False)
    )


@pytest.mark.parametrize(
    ("name", "lengths"), [("tso_len0.pcap", [40, 40, 2936]), ("tsresol_after_endofopt.pcapng", [40, 40])]
)
def test_lengths_and_times(name, lengths):
    rows = packets.read(CASES / name).rows
    assert rows["len"].tolist() == lengths
    assert rows["ts_ns"][0] // 1000 == T


def test_a_pipe_gives_what_the_file_gives(tmp_path):
    for name in ("pppoe.pcap", "bad_crc.pcap.gz"):
        done = extract(CASES / name, "--out", tmp_path / "file.parquet", "--json")
        command = [sys.executable, "-m", "ids_repro", "extract", "-", "--out", tmp_path / "pipe.parquet", "--json"]
        with subprocess.Popen(["cat", CASES / name], stdout=subprocess.PIPE) as cat:
            piped = subprocess.run(command, stdin=cat.stdout, capture_output=True, text=True, cwd=config.ROOT)
        assert piped.returncode == done.returncode
        assert pq.read_table(tmp_path / "file.parquet").equals(pq.read_table(tmp_path / "pipe.parquet"))


@pytest.mark.skipif(not SUBSET.is_dir(), reason="the subset of CIC-IDS2017 is not beside this checkout")
@pytest.mark.parametrize(
    ("options", "flows", "dropped"),
    [
        ([], 351, {"not_ip": 358, "ipv6": 724}),
        (["--flow-rules", "go-flows"], 366, {"not_ip": 358, "no_ports": 6, "fragment": 12}),
        (["--labels", "published"], 366, {"not_ip": 358, "no_ports": 6, "fragment": 12}),
        (["--labels", "published", "--flow-rules", "text"], 351, {"not_ip": 358, "ipv6": 724}),
    ],
)
def test_flows_of_the_thursday_slice_by_each_rule(tmp_path, capsys, options, flows, dropped):
    out = tmp_path / "x.parquet"
    assert main(["extract", str(SUBSET / "thu_normal_slice.pcap"), "--out", str(out), "--json", *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["flows"], found["vectors"], found["stepped_back"]) == (flows, flows, 0)
    assert {key: n for key, n in found["dropped"].items() if n} == dropped
    assert found["flow_rules"] == ("go-flows" if flows == 366 else "text")
