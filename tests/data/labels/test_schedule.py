"""Schedules of labels: which row matches a flow, and the messages for files that cannot be used."""

import ipaddress
import os

import numpy as np
import pytest

from ids_repro.config import CLASSES, UserError
from ids_repro.data.labels import schedule as labels
from ids_repro.data.labels.source import label_source
from ids_repro.native.layouts import ROW

HEADER = ",".join(labels.COLUMNS)


@pytest.fixture
def schedule(tmp_path):
    def write(*lines, header=HEADER):
        path = tmp_path / "schedule.csv"
        path.write_text("\n".join([header, *lines]) + "\n")
        return path

    return write


def first(*flows):
    """Make first packets of (time [us], source, destination, dport, proto)."""
    out = np.zeros(len(flows), ROW)
    for row, (time_us, source, sink, dport, proto) in zip(out, flows, strict=True):
        row["ts_ns"], row["dport"], row["proto"] = time_us * 1000 + 999, dport, proto
        row["saddr"], row["daddr"] = int(ipaddress.IPv4Address(source)), int(ipaddress.IPv4Address(sink))
    return out


def names(flows, path):
    found = label_source(path).label(first(*flows))[0]
    assert found.dtype == np.int8
    return [CLASSES[i] if i >= 0 else None for i in found]


def test_the_first_row_that_matches_decides(schedule):
    path = schedule(
        "DoS,hulk,100,200,10.0.0.1,10.0.0.2,80,6",
        "Web attack,xss,100,300,10.0.0.1,10.0.0.2,80,",
        "Normal,rest,0,999,10.0.0.1,10.0.0.2,,",
    )
    flows = [(150, 80, 6), (250, 80, 6), (150, 80, 17), (150, 22, 6), (400, 80, 6), (1000, 80, 6)]
    flows = [(time_us, "10.0.0.1", "10.0.0.2", dport, proto) for time_us, dport, proto in flows]
    assert names(flows, path) == ["DoS", "Web attack", "Web attack", "Normal", "Normal", None]


def test_both_ends_of_a_time_belong_to_it(schedule):
    path = schedule("Botnet,,100,200,10.0.0.1,10.0.0.2,,")
    flows = [(time_us, "10.0.0.1", "10.0.0.2", 80, 6) for time_us in (99, 100, 200, 201)]
    assert names(flows, path) == [None, "Botnet", "Botnet", None]


def test_the_way_of_the_first_packet_matters(schedule):
    path = schedule("Portscan,,0,9,192.168.200.1,10.0.0.2,,")
    assert names([(1, "192.168.200.1", "10.0.0.2", 1, 1), (1, "10.0.0.2", "192.168.200.1", 1, 1)], path)[1] is None


@pytest.mark.parametrize("lines", [["DoS,,0,9,10.0.0.1,10.0.0.2,80,"], []])
def test_a_schedule_of_another_capture_labels_nothing(schedule, lines):
    """tests/cli/test_cli.py has the message that the user gets."""
    assert names([(50, "10.0.0.1", "10.0.0.2", 80, 6)], schedule(*lines)) == [None]


@pytest.mark.parametrize("column", labels.COLUMNS)
def test_a_missing_column_is_named_with_all_that_are_needed(schedule, column):
    header = ",".join(name for name in labels.COLUMNS if name != column)
    with pytest.raises(UserError, match=f"column '{column}' is missing; a schedule has {', '.join(labels.COLUMNS)}"):
        labels.read_schedule(schedule(header=header))


def test_an_unknown_label_is_named_with_those_to_use(schedule):
    with pytest.raises(UserError, match="'Dos' is no class; use Botnet, Brute force"):
        labels.read_schedule(schedule("Dos,,0,9,10.0.0.1,10.0.0.2,,"))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x01", b'a,b\n"'])
def test_a_file_that_is_no_table_is_refused(tmp_path, content):
    path = tmp_path / "schedule.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match="schedule.csv: (not a CSV file|the file is empty)"):
        labels.read_schedule(path)


@pytest.mark.parametrize(
    "header", ["a,b", "Label", "Flow ID,Flow Duration,Label", "Flow ID\rSource IP", "192.168.0.1,80"]
)
def test_a_file_of_neither_kind_is_told_what_both_have(tmp_path, header):
    (tmp_path / "labels.csv").write_bytes(f"{header}\n1\n".encode())
    said = "labels.csv: line 1 names neither the columns of a schedule .label, .* nor those of GeneratedLabelledFlows"
    with pytest.raises(UserError, match=said):
        label_source(tmp_path / "labels.csv")


def test_a_pipe_and_a_device_are_called_so(tmp_path):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    for path, kind in ((pipe, "is a pipe"), ("/dev/null", "is a device")):
        with pytest.raises(UserError, match=f"{path}: {kind}; give a file"):
            label_source(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere.csv: there is no such label schedule"):
        labels.read_schedule(tmp_path / "nowhere.csv")


@pytest.mark.parametrize(
    "lines",
    [
        ["DoS,,0,9,server,10.0.0.2,,"],
        ["DoS,,noon,9,10.0.0.1,10.0.0.2,,"],
        ["DoS,,0,9,10.0.0.1,10.0.0.2,http,"],
        [",,0,9,10.0.0.1,10.0.0.2,,", "Dos,,0,9,10.0.0.1,10.0.0.2,,"],
    ],
    ids=["address", "time", "port", "label"],
)
def test_a_field_that_cannot_be_read_is_an_error_for_the_user(schedule, lines):
    with pytest.raises(UserError, match="schedule.csv"):
        names([(5, "10.0.0.1", "10.0.0.2", 80, 6)], schedule(*lines))
