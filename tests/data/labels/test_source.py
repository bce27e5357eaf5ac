"""Label sources: the windows behind the paper's dataset, the corrected windows, and what the report counts."""

import datetime as dt
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from label_files import ATTACKER, SERVER, SHARED, first, flows_of

from ids_repro import config
from ids_repro.config import CLASSES, UserError
from ids_repro.data import dataset
from ids_repro.data.labels.cicids_csv import ATTACKS
from ids_repro.data.labels.source import label_source, resolved

NAMED = ("published", "corrected")  # the schedules of CIC-IDS2017
BOT_MASTER = "205.174.165.73"
CLASS_OF = {name.lower(): label for label, names in ATTACKS.items() for name in names}


def local_us(day, clock, add_us=0):
    """Return a time of July 2017 in Halifax (ADT, UTC - 3 h) as microseconds since 1970."""
    moment = dt.datetime.fromisoformat(f"2017-07-{day:02}T{clock}-03:00")
    return round(moment.timestamp() * 10**6) + add_us


def names(source, flows):
    found, report = label_source(source).label(first(*flows))
    assert found.dtype == np.int8
    assert sum(report.flows.values()) == len(flows)
    return [CLASSES[i] if i >= 0 else None for i in found]


# Day, local time of begin and end, class, source, sink: from labeling.py of CN-TU/Datasets-preprocessing, 852ba7f.
PUBLISHED = [
    (4, "09:18", "09:22", "Brute force", ATTACKER, SERVER),
    (4, "13:58", "15:02", "Brute force", ATTACKER, SERVER),
    (5, "09:45", "10:12", "DoS", ATTACKER, SERVER),
    (5, "10:12", "10:37", "DoS", ATTACKER, SERVER),
    (5, "10:41", "11:02", "DoS", ATTACKER, SERVER),
    (5, "11:08", "11:25", "DoS", ATTACKER, SERVER),
    (5, "15:10", "15:34", "DoS", ATTACKER, "192.168.10.51"),
    (6, "10:13", "10:37", "Web attack", ATTACKER, SERVER),
    (6, "10:38", "10:44", "Web attack", ATTACKER, SERVER),
    (6, "15:02", "15:47", "Infiltration", "192.168.10.8", "8.8.8.8"),
    (7, "10:00", "11:04", "Botnet", BOT_MASTER, "192.168.10.15"),
    (7, "10:00", "11:04", "Botnet", "192.168.10.15", BOT_MASTER),
    (7, "13:53", "14:37", "Portscan", ATTACKER, SERVER),
    (7, "14:49", "15:31", "Portscan", ATTACKER, SERVER),
    (7, "15:54", "16:18", "DoS", ATTACKER, SERVER),
]


@pytest.mark.parametrize(("day", "begin", "end", "label", "source", "sink"), PUBLISHED)
def test_published_windows_are_open_at_both_ends_in_milliseconds(day, begin, end, label, source, sink):
    times = [local_us(day, begin, us) for us in (0, 999, 1000)] + [local_us(day, end, us) for us in (-1, 0)]
    found = names("published", [(time_us, source, sink, 45022, 444, 6) for time_us in times])
    assert found == ["Normal", "Normal", label, label, "Normal"]


def test_published_labels_go_by_the_first_packets_way():
    at_us = local_us(6, "10:20")
    assert names("published", [(at_us, SERVER, ATTACKER, 80, 5, 6)]) == ["Normal"]
    assert names("published", [(local_us(5, "15:20"), ATTACKER, "192.168.10.51", 5, 445, 6)]) == ["Normal"]
    assert names("published", [(local_us(6, "15:20"), "192.168.10.5", "192.168.10.8", 1, 2, 17)]) == ["Normal"]


def test_what_has_no_flow_in_the_papers_dataset_stays_normal():
    flows = [
        (local_us(6, "09:30"), ATTACKER, SERVER, 5, 80, 6),  # Web Attack:Brute Force; the window names another server
        (local_us(4, "09:30"), ATTACKER, SERVER, 5, 21, 6),  # FTP-Patator after 9:22
        (local_us(6, "14:20"), "192.168.10.8", BOT_MASTER, 5, 444, 6),  # Infiltration: the victim opens it
        (local_us(6, "14:55"), "192.168.10.25", BOT_MASTER, 5, 444, 6),
    ]
    assert names("published", flows) == ["Normal"] * 4


@pytest.mark.parametrize("source", NAMED)
def test_outside_the_capture_days_there_is_no_label(source):
    day_us = 86400 * 10**6
    begin, end = (dt.datetime(2017, 7, day, tzinfo=dt.timezone.utc).timestamp() * 10**6 for day in (3, 8))
    times = [int(begin) - day_us, int(begin) - 1, int(begin), int(end) - 1, int(end), int(end) + day_us]
    flows = [(time_us, "192.168.10.5", "8.8.8.8", 5, 53, 17) for time_us in times]
    assert names(source, flows) == [None, None, "Normal", "Normal", None, None]


CORRECTED = [
    (4, "12:17:52.839", "Brute force", ATTACKER, SERVER, 52110, 21),
    (4, "12:17:52.839", "Normal", ATTACKER, SERVER, 52110, 80),
    (4, "13:20:16.931", "Brute force", ATTACKER, SERVER, 52110, 21),
    (4, "13:20:16.932", "Normal", ATTACKER, SERVER, 52110, 21),
    (5, "13:15:37.937", "DoS", ATTACKER, SERVER, 1, 80),
    (5, "18:32:43.294", "DoS", ATTACKER, "192.168.10.51", 45022, 444),
    (5, "18:32:43.294", "Normal", ATTACKER, "192.168.10.51", 45023, 444),
    (6, "12:16:00.000", "Normal", ATTACKER, SERVER, 1, 80),  # attempted
    (6, "12:30:00.000", "Web attack", ATTACKER, SERVER, 1, 80),
    (6, "13:15:35.284", "Web attack", ATTACKER, SERVER, 1, 80),
    (6, "13:35:45.733", "Web attack", ATTACKER, SERVER, 1, 80),
    (6, "17:00:40.000", "Infiltration", ATTACKER, "192.168.10.51", 50122, 22),
    (6, "17:33:31.000", "Infiltration", "192.168.10.8", "192.168.10.5", 1, 2),
    (6, "18:30:00.000", "Infiltration", "192.168.10.8", "192.168.10.19", 1, 2),
    (6, "18:30:00.000", "Normal", "192.168.10.8", "192.168.10.3", 1, 53),
    (6, "20:02:19.300", "Infiltration", "192.168.10.25", BOT_MASTER, 1, 444),
    (7, "14:02:02.900", "Botnet", "192.168.10.9", BOT_MASTER, 1, 8080),
    (7, "14:05:00.000", "Normal", "192.168.10.9", BOT_MASTER, 1, 8080),  # attempted
    (7, "17:00:00.000", "Portscan", ATTACKER, SERVER, 1, 2),
    (7, "18:24:01.699", "Portscan", ATTACKER, SERVER, 1, 2),
    (7, "19:16:12.216", "DoS", ATTACKER, SERVER, 1, 80),
]


@pytest.mark.parametrize(("day", "clock", "label", "source", "sink", "sport", "dport"), CORRECTED)
def test_corrected_windows_label_both_ways(day, clock, label, source, sink, sport, dport):
    time_us = local_us(day, clock, -3 * 3600 * 10**6)
    flows = [(time_us, source, sink, sport, dport, 6), (time_us, sink, source, dport, sport, 6)]
    assert names("corrected", flows) == [label, label]


@pytest.mark.parametrize("name", NAMED)
def test_a_windows_class_is_that_of_its_attack_and_its_times_are_those_written(name):
    table = pd.read_csv(config.LABELS / f"{name}.csv")
    for row in table[:-1].itertuples():
        attempted = row.activity.endswith(" - Attempted")
        assert row.label == ("Normal" if attempted else CLASS_OF[row.activity.lower()])
        day, begin, end, zone = re.fullmatch(r"2017-07-(\d+) ([\d:.]+)-([\d:.]+) (ADT|UTC)", row.when).groups()
        shift = 0 if zone == "ADT" else -3 * 3600 * 10**6
        written = [local_us(int(day), clock.zfill(len("00:00")), shift) for clock in (begin, end)]
        slack = [1000, -1] if zone == "ADT" else [row.start_us % 1000, row.end_us % 1000]
        assert [row.start_us, row.end_us] == [us + more for us, more in zip(written, slack, strict=True)]
    assert table["label"].iloc[-1] == "Normal"


def test_every_class_has_windows_in_both():
    for name in NAMED:
        assert set(pd.read_csv(config.LABELS / f"{name}.csv")["label"]) == set(CLASSES)


def web_attack(n, day, clock):
    return first(*((local_us(day, clock, i), ATTACKER, SERVER, 40000 + i, 80, 6) for i in range(n))), np.full(n, 7)


SLICE = first(*((local_us(6, "08:59:30", i), f"192.168.10.{i % 60 + 1}", "8.8.8.8", i, 53, 17) for i in range(300)))
CAPTURES = {
    "XSS made up": (lambda: web_attack(661, 6, "10:16"), "Web attack", 661, 661 * 7),
    "SQL injection made up": (lambda: web_attack(10, 6, "10:40:07"), "Web attack", 10, 70),
    "Thursday made up": (lambda: (SLICE, np.ones(300, int)), "Normal", 300, 300),
}
if SHARED.is_dir():
    CAPTURES |= {
        "XSS": (lambda: flows_of(SHARED / "thu_webattack_xss.pcap"), "Web attack", 661, 9374),
        "SQL injection": (lambda: flows_of(SHARED / "thu_webattack_sqli.pcap"), "Web attack", 10, 94),
        # It has 325 flows without duplicates. Here a duplicate may come after its flow's end and begin another flow.
        "Thursday": (lambda: flows_of(SHARED / "thu_normal_slice.pcap"), "Normal", None, None),
    }


@pytest.mark.parametrize("source", NAMED)
@pytest.mark.parametrize("capture", CAPTURES)
def test_every_flow_of_these_captures_has_its_label(capture, source):
    read, label, flows, packets = CAPTURES[capture]
    rows, counts = read()
    found, report = label_source(source).label(rows, counts)
    assert (found == CLASSES.index(label)).all()
    report = report.as_dict()
    assert report["flows"]["labels"] == {label: flows or len(rows)}
    assert report["packets"]["labels"] == {label: packets or counts.sum()}
    assert report["flows"]["unmatched"] == report["packets"]["unmatched"] == {}


if SHARED.is_dir():
    # The table's DoS labels are Liu et al.'s: 5 flows differ from "corrected", most of which Liu et al. call attempts.
    @pytest.mark.parametrize(("source", "differ"), [("published", 115), ("corrected", 5)])
    def test_the_windows_agree_with_the_labels_of_the_packet_table(source, differ):
        table = pd.read_parquet(SHARED / "flows.parquet").dropna(subset="start_epoch_s")
        ends = table[["src_ip", "dst_ip", "sport", "dport", "proto"]].itertuples(index=False)
        rows = first(*((round(s * 10**6), *rest) for s, rest in zip(table["start_epoch_s"], ends, strict=True)))
        found, _ = label_source(source).label(rows)
        assert np.sum(found != table["class7"].map(CLASSES.index)) == differ


def test_the_report_counts_per_label_per_activity_and_what_matched_nothing():
    at = [(5, "10:00"), (5, "10:20"), (5, "10:40"), (6, "10:20"), (9, "10:00")]
    rows = first(*((local_us(day, clock), ATTACKER, SERVER, 1, 80, 6) for day, clock in at))
    source = label_source("published")
    found, report = source.label(rows, np.array([1, 2, 3, 4, 5]))
    assert [CLASSES[i] for i in found[:4]] == ["DoS", "DoS", "Normal", "Web attack"]
    assert found[4] == -1
    parts = source.label(rows[:2], np.array([1, 2]))[1] + source.label(rows[2:], np.array([3, 4, 5]))[1]
    assert parts.as_dict() == report.as_dict()
    assert report.as_dict() == {
        "flows": {
            "labels": {"DoS": 2, "Normal": 1, "Web attack": 1},
            "activities": {
                "DoS / DDoS:DoS Slowhttptest": 1,
                "DoS / DDoS:DoS slowloris": 1,
                "Normal": 1,
                "Web Attack:XSS": 1,
            },
            "unmatched": {"no row matches": 1},
        },
        "packets": {
            "labels": {"DoS": 3, "Normal": 3, "Web attack": 4},
            "activities": {
                "DoS / DDoS:DoS Slowhttptest": 2,
                "DoS / DDoS:DoS slowloris": 1,
                "Normal": 3,
                "Web Attack:XSS": 4,
            },
            "unmatched": {"no row matches": 5},
        },
    }
    with pytest.raises(UserError, match="matches none of the 1 flows"):
        source.require_some(source.label(rows[4:])[1])


def test_a_schedule_by_its_path_is_a_source_too(tmp_path):
    path = config.SAMPLE_LABELS
    source = label_source(str(path))
    assert source.name == "lab.csv"
    assert source.content == path.read_bytes()
    made = dataset.prepare(config.SAMPLE, path, tmp_path / "lab.parquet")
    report = made.meta["labels"]
    assert report["source"] == "lab.csv"
    assert sum(report["flows"]["labels"].values()) == made.meta["flows"]
    assert report["packets"]["labels"] == made.counts()


def test_a_name_is_the_same_everywhere_and_a_relative_path_counts_from_the_folder_that_is_asked_for(tmp_path):
    assert [resolved(spec, tmp_path) for spec in (None, "published", "csv")] == [None, "published", "csv"]
    assert resolved("a/mine.csv", tmp_path) == str(tmp_path / "a/mine.csv")
    assert resolved(tmp_path / "mine.csv", Path("/elsewhere")) == str(tmp_path / "mine.csv")
    assert resolved("mine.csv") == str(Path.cwd() / "mine.csv")


def test_a_capture_of_other_days_is_refused(tmp_path):
    with pytest.raises(UserError, match="matches none of the .* flows"):
        dataset.prepare(config.SAMPLE, "published", tmp_path / "out.parquet")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def schedule(tmp_path):
    def write(header, *lines):
        path = tmp_path / "schedule.csv"
        path.write_text("\n".join([header, *lines]) + "\n")
        return path

    return write


def test_empty_ends_mean_any_and_both_ways_can_match(schedule):
    path = schedule(
        "label,activity,start_us,end_us,src,sport,dst,dport,proto,both",
        "DoS,one way,0,9,10.0.0.1,,10.0.0.2,80,,0",
        "Botnet,two ways,0,9,10.0.0.3,1000,10.0.0.2,80,6,1",
        "Portscan,any sink,0,9,10.0.0.4,,,,,",
        "Normal,any,0,9,,,,,,",
    )
    flows = [
        (5, "10.0.0.1", "10.0.0.2", 9, 80, 6),
        (5, "10.0.0.2", "10.0.0.1", 80, 9, 6),
        (5, "10.0.0.3", "10.0.0.2", 1000, 80, 6),
        (5, "10.0.0.2", "10.0.0.3", 80, 1000, 6),
        (5, "10.0.0.2", "10.0.0.3", 1000, 80, 6),
        (5, "10.0.0.4", "1.2.3.4", 1, 2, 17),
        (5, "1.2.3.4", "10.0.0.4", 2, 1, 17),
    ]
    assert names(path, flows) == ["DoS", "Normal", "Botnet", "Botnet", "Normal", "Portscan", "Normal"]


@pytest.mark.parametrize(("column", "value"), [("both", "2"), ("both", "yes"), ("sport", "http"), ("src", "any")])
def test_a_field_of_the_new_columns_that_cannot_be_read_is_named(schedule, column, value):
    fields = dict.fromkeys(("src", "sport", "dst", "dport", "proto", "both"), "") | {column: value}
    header = "label,activity,start_us,end_us," + ",".join(fields)
    with pytest.raises(UserError, match=f"schedule.csv: line 2: column '{column}': '{value}' is no {column}"):
        label_source(schedule(header, "DoS,,0,9," + ",".join(fields.values())))
