"""Several captures give the same bytes on this machine's cores and on a Dask cluster of two worker processes."""

import gzip
import hashlib
import ipaddress
import json
import os
import re
import socket
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from distributed import LocalCluster
from label_files import HEADER, csv_line
from packet_tables import write_table

from ids_repro import config
from ids_repro.__main__ import main
from ids_repro.config import ROOT, UserError
from ids_repro.data import dataset, extract, extract_many, feature_file, packets
from ids_repro.data.labels.source import label_source

SCHEDULE = str(config.SAMPLE_LABELS)


@pytest.fixture(scope="module")
def cluster():
    """Start a cluster of two worker processes on loopback."""
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1") as c:
        yield c.scheduler_address


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """Cut the sample in two between packets."""
    folder, data = tmp_path_factory.mktemp("captures"), gzip.decompress(config.SAMPLE.read_bytes())
    at, ends = 24, []
    while at < len(data):
        at += 16 + int.from_bytes(data[at + 8 : at + 12], "little")
        ends.append(at)
    middle = ends[len(ends) // 2]
    paths = [folder / "monday.pcap", folder / "tuesday.pcap"]
    paths[0].write_bytes(data[:middle])
    paths[1].write_bytes(data[:24] + data[middle:])
    return paths


def test_two_workers_give_the_bytes_that_none_give(cluster, halves, tmp_path):
    found = [
        extract_many.run(halves, tmp_path / name, SCHEDULE, scheduler, sampling="every")
        for name, scheduler in (("here.parquet", None), ("there.parquet", cluster))
    ]
    assert (tmp_path / "here.parquet").read_bytes() == (tmp_path / "there.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here.parquet", "there.parquet"]
    for counts in found:
        del counts["seconds"], counts["packets_per_s"]
    assert found[0] == found[1]


def test_rows_of_labels_are_handed_to_the_tasks(halves, tmp_path):
    """Several captures get the labels that each gets alone from the label files."""
    lines = [HEADER]
    for row in packets.read(config.SAMPLE).rows[::50]:
        ends = [str(ipaddress.IPv4Address(int(row[name]))) for name in ("saddr", "daddr")]
        stamp = f"{datetime.fromtimestamp(int(row['ts_ns']) // 10**9, timezone.utc):%Y-%m-%d %H:%M}Z"
        lines.append(csv_line(ends[0], row["sport"], ends[1], row["dport"], row["proto"], stamp, "DoS Hulk"))
    rows = tmp_path / "rows.csv"
    rows.write_text("\n".join(lines) + "\n")
    alone = [extract.run(half, tmp_path / half.name, label_source(rows)) for half in halves]
    counts = extract_many.run(halves, tmp_path / "both.parquet", rows)
    assert 0 < counts["flows_without_label"] < counts["flows"]
    assert counts["flows_without_label"] == sum(one["flows_without_label"] for one in alone)
    both = pq.ParquetFile(tmp_path / "both.parquet").metadata.metadata[b"ids_repro"]
    for half, one in zip(halves, json.loads(both)["captures"], strict=True):
        of_one = json.loads(pq.ParquetFile(tmp_path / half.name).metadata.metadata[b"ids_repro"])
        assert one == {key: value for key, value in of_one.items() if key != "path"}


def test_the_parts_follow_each_other(halves, tmp_path):
    counts = extract_many.run(halves, tmp_path / "both.parquet", SCHEDULE)
    alone = [extract.run(path, tmp_path / path.name, label_source(SCHEDULE)) for path in halves]
    for key in ("frames", "packets", "flows", "vectors"):
        assert counts[key] == sum(one[key] for one in alone)
    both, parts = dataset.load(tmp_path / "both.parquet"), [dataset.load(tmp_path / path.name) for path in halves]
    np.testing.assert_array_equal(both.x, np.concatenate([part.x for part in parts]))
    shifted = np.concatenate([parts[0].flow, parts[1].flow + alone[0]["flows"]])
    np.testing.assert_array_equal(both.flow, shifted)
    assert len(np.unique(both.packet)) == len(both.packet)
    assert set(both.meta["sources"]) == {"monday.pcap", "tuesday.pcap", "lab.csv"}
    assert pq.ParquetFile(tmp_path / "both.parquet").schema_arrow == feature_file.SCHEMA


def test_the_command_takes_several_captures(halves, tmp_path, capsys):
    out = tmp_path / "days.parquet"
    argv = ["extract", *halves, "--labels", SCHEDULE, "--out", out, "--sampling", "every", "--json"]
    assert main([str(arg) for arg in argv]) == 0
    assert json.loads(capsys.readouterr().out)["packets"] == pq.ParquetFile(out).metadata.num_rows


def test_a_scheduler_that_does_not_answer_is_named(halves, tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(UserError, match=f"no Dask scheduler answers at {address}"):
            extract_many.run(halves[:1], tmp_path / "x.parquet", scheduler=address, patience_s=1)
    assert not list(tmp_path.iterdir())


def test_captures_of_one_name_are_told_apart_and_hashed_each(halves, tmp_path):
    """In two folders, and through links: a link has its own name, whatever the file behind it is called."""
    paths = [tmp_path / folder / "day.pcap" for folder in ("a", "b")] + [tmp_path / "a" / "link.pcap"]
    copy = tmp_path / "copy.pcap"
    copy.write_bytes(halves[1].read_bytes())
    for path, half in zip(paths, [*halves, copy], strict=True):
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(half)
    counts = extract_many.run(paths, tmp_path / "x.parquet", SCHEDULE)
    meta = json.loads(pq.ParquetFile(tmp_path / "x.parquet").metadata.metadata[b"ids_repro"])
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (*paths, config.SAMPLE_LABELS)]
    names = ["a/day.pcap", "b/day.pcap", "a/link.pcap"]
    assert meta["source"] == ", ".join(names)
    assert meta["sources"] == dict(zip([*names, "lab.csv"], digests, strict=True))
    assert counts["packets"] == sum(one["packets"] for one in meta["captures"])


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic", "hard"])
def test_a_capture_and_a_link_to_it_are_one(halves, tmp_path, link):
    link(halves[0], tmp_path / "again.pcap")
    with pytest.raises(UserError, match=re.escape(f"named twice, also as {halves[0]}; name each once")):
        extract_many.run([halves[0], halves[1], tmp_path / "again.pcap"], tmp_path / "x.parquet")
    assert not (tmp_path / "x.parquet").exists()


def test_packet_tables_are_told_apart(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_table(tmp_path / name)
    extract_many.run([tmp_path / "one", tmp_path / "two" / "packets.parquet"], tmp_path / "x.parquet")
    meta = json.loads(pq.ParquetFile(tmp_path / "x.parquet").metadata.metadata[b"ids_repro"])
    assert len(meta["sources"]) == 4


def test_a_pipe_is_read_alone_only(halves, tmp_path, capsys):
    """Two pipes have no size and no time that would tell their parts apart."""
    pipes = [tmp_path / name for name in ("a.pcap", "b.pcap")]
    for pipe in pipes:
        os.mkfifo(pipe)
    argv = ["extract", *pipes, "--out", tmp_path / "x.parquet"]
    for more in (argv, [*argv[:2], halves[0], *argv[3:]], [*argv[:2], *argv[3:], "--scheduler", "tcp://127.0.0.1:1"]):
        assert main([str(arg) for arg in more]) == 2
        said = f"{pipes[0]}: a pipe must be the only capture, without --scheduler; name a file"
        assert said in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == pipes


def test_what_cannot_be_done_is_said(halves, tmp_path, capsys):
    assert main(["extract", str(halves[0]), str(halves[0]), "--out", str(tmp_path / "x.parquet")]) == 2
    assert f"{halves[0]}: this capture is named twice" in capsys.readouterr().err
    assert main(["extract", str(halves[0]), "-", "--out", str(tmp_path / "x.parquet")]) == 2
    assert "-: the standard input must be the only capture" in capsys.readouterr().err
    assert main(["extract", str(halves[0]), str(tmp_path / "none"), "--out", str(tmp_path / "x.parquet")]) == 2
    assert "there is no such file" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_readmes_line_finds_the_captures_of_cic_ids2017_by_their_real_names(tmp_path):
    """The site's file of Wednesday is the only one that is spelled with a small w."""
    names = [f"{day}-WorkingHours.pcap" for day in ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")]
    names[2] = "Wednesday-workingHours.pcap"
    (words,) = re.findall(r"extract (data/raw/cic-ids2017/\S+pcap)", (ROOT / "README.md").read_text())
    (tmp_path / words).parent.mkdir(parents=True)
    for name in names:
        (tmp_path / words).with_name(name).touch()
    found = subprocess.run(["bash", "-c", f"ls -U -d {words}"], cwd=tmp_path, capture_output=True, text=True)
    assert [Path(line).name for line in found.stdout.splitlines()] == names
