"""Recordings: every packet of the labelled flows, what arrives at a host, several as one, and their parts."""

import ipaddress

import numpy as np
import pytest

from ids_repro.config import NORMAL, SAMPLE, SECOND_SAMPLE, UserError
from ids_repro.data import packets
from ids_repro.data.labels.schedule import read_schedule
from ids_repro.data.labels.source import labels_beside
from ids_repro.evaluate import recordings
from ids_repro.models.detector import labels

SERVERS = ("10.88.0.10", "10.88.0.40")


@pytest.fixture(scope="module")
def lab():
    return recordings.read(SAMPLE)


@pytest.fixture(scope="module")
def arriving():
    return recordings.read(SAMPLE, arriving_at=SERVERS)


def test_a_recording_has_every_labelled_packet_and_the_incident_of_each_flow(lab, everything):
    np.testing.assert_array_equal(lab.data.x, everything.x)
    assert lab.data.meta["name"] == "lab capture"
    schedule, (_, label) = read_schedule(labels_beside(SAMPLE)), labels(lab.data)
    named = schedule["label"].to_numpy()[lab.incident]
    assert ((named == "Normal") == (label == NORMAL)).all()
    assert len(np.unique(lab.incident[label != NORMAL])) > 300


def test_what_arrives_is_one_direction_with_its_own_flows_and_features(lab, arriving):
    rows = packets.read(SAMPLE).rows
    wanted = [int(ipaddress.IPv4Address(address)) for address in SERVERS]
    assert np.isin(rows["daddr"][arriving.data.packet], wanted).all()
    assert 0.3 * len(lab.data.x) < len(arriving.data.x) < 0.7 * len(lab.data.x)
    counts = np.unique(arriving.data.flow, return_counts=True)[1]
    np.testing.assert_array_equal(arriving.data.sample("last").index + 1, counts.clip(max=100))
    assert arriving.data.meta["arriving_at"] == "10.88.0.10, 10.88.0.40"
    assert arriving.data.meta["sha256"] != lab.data.meta["sha256"]


def test_several_recordings_are_one_with_flows_of_their_own(lab):
    both, second = recordings.read([SAMPLE, SECOND_SAMPLE]), recordings.read(SECOND_SAMPLE)
    assert len(np.unique(both.data.flow)) == sum(len(np.unique(one.data.flow)) for one in (lab, second))
    assert both.incident is None and both.data.meta["name"] == "lab capture, second lab capture"
    np.testing.assert_array_equal(both.data.x, np.concatenate([lab.data.x, second.data.x]))


def test_parts_share_no_flow_and_the_later_part_is_later(lab):
    for learn, held in (recordings.by_flow(lab, 0), recordings.by_time(lab)):
        assert not set(learn.data.flow) & set(held.data.flow)
        assert len(learn.data.x) + len(held.data.x) == len(lab.data.x)
        assert len(learn.incident) == len(np.unique(learn.data.flow))
    begins = [part.data.time_us[part.data.index == 0] for part in recordings.by_time(lab)]
    assert begins[0].max() <= begins[1].min()
    assert abs(len(begins[0]) / (len(begins[0]) + len(begins[1])) - 0.6) < 0.01


def schedule(tmp_path, keep):
    """Write some lines of the lab's schedule."""
    lines = labels_beside(SAMPLE).read_text().splitlines()
    (tmp_path / "some.csv").write_text("\n".join([lines[0], *filter(keep, lines[1:])]) + "\n")
    return tmp_path / "some.csv"


def test_what_cannot_be_tested_on_is_refused(tmp_path):
    with pytest.raises(UserError, match="none.pcap: there is no such file"):
        recordings.read(tmp_path / "none.pcap")
    (tmp_path / "bare.pcap.gz").write_bytes(SAMPLE.read_bytes())
    with pytest.raises(UserError, match="bare.csv: there is no such label schedule"):
        recordings.read(tmp_path / "bare.pcap.gz")
    with pytest.raises(UserError, match="no flow in it has the label of normal traffic"):
        recordings.read(SAMPLE, schedule(tmp_path, lambda line: not line.startswith("Normal")))
    with pytest.raises(UserError, match="no flow in it has the label of attack traffic"):
        recordings.read(SAMPLE, schedule(tmp_path, lambda line: line.startswith("Normal")))
    with pytest.raises(UserError, match="packets arrive at IPv4 addresses .*10.0.0"):
        recordings.read(SAMPLE, arriving_at=["10.0.0"])
    with pytest.raises(UserError, match="no packet arrives at 10.9.9.9"):
        recordings.read(SAMPLE, arriving_at=["10.9.9.9"])


def test_what_arrives_has_the_label_of_the_whole_flow_also_where_the_guarded_host_opened_it(lab):
    """An infected client opens its flows, so what arrives at it begins with an answer."""
    clients = ("10.88.0.21", "10.88.0.22", "10.88.0.31", "10.88.0.32")
    arriving = recordings.read(SAMPLE, arriving_at=clients)
    of_packet = dict(zip(lab.data.packet.tolist(), lab.data.label.tolist(), strict=True))
    first = arriving.data.take(arriving.data.index == 0)
    assert [of_packet[packet] for packet in first.packet.tolist()] == first.label.tolist()
    assert np.mean(first.label != NORMAL) > 0.2
    _, label = labels(arriving.data)
    named = read_schedule(labels_beside(SAMPLE))["label"].to_numpy()[arriving.incident]
    assert ((named == "Normal") == (label == NORMAL)).all()


def test_a_packet_table_has_labels_of_its_own(tmp_path):
    (tmp_path / "table").mkdir()
    with pytest.raises(UserError, match="a packet table has its own labels"):
        recordings.read(tmp_path / "table", "published")
