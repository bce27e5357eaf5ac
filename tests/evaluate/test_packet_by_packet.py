"""Accuracy by packet index and packets until an alarm, counted by hand and on the sample's test flows."""

import numpy as np
import pytest

from ids_repro import config, records
from ids_repro.config import UserError
from ids_repro.data import dataset
from ids_repro.evaluate import packet_by_packet
from ids_repro.models.model_file import save_model
from ids_repro.native.layouts import FIRST_PACKETS
from ids_repro.report.exhibit import Results
from ids_repro.report.packet_by_packet import LOOKS, PACKETS, alarms, table

PROFILE = config.profile("smoke", seeds=(0,))


@pytest.fixture(scope="module")
def made(everything, models, tmp_path_factory):
    """Measure the sample's test flows, and return the records that were written."""
    folder = tmp_path_factory.mktemp("per_packet")
    for model in models.values():
        save_model(model, folder / "models")
    made = packet_by_packet.evaluate_all(everything, PROFILE, folder / "results", folder / "models")
    assert records.read(folder / "results/per_packet.jsonl") == made
    return made


def test_tally_by_hand():
    #                  attack 5      attack 6   normal 7   normal 8
    flow = np.array([5, 5, 5, 6, 6, 7, 7, 8])
    index = np.array([0, 1, 2, 0, 1, 0, 1, 0])
    truth = np.array([3, 3, 3, 2, 2, 4, 4, 4])
    found = np.array([4, 3, 2, 4, 4, 4, 0, 4])
    some = dataset.Dataset(np.zeros((8, 12)), flow, index, np.arange(8), index, truth, {})
    out = packet_by_packet.tally(some, truth, found, normal=4)
    assert out["packets"][:4] == [4, 3, 1, 0]
    assert out["right"][:4] == [2, 1, 0, 0]
    assert (out["attack_flows"], out["normal_flows"]) == (2, 2)
    # Flow 5 at its second packet. A verdict of the wrong attack is an alarm too.
    assert out["attack_first_alarm"] == [0, 1] + 98 * [0]
    assert out["normal_first_alarm"] == [0, 1] + 98 * [0]
    assert alarms(out, "attack")[[0, 1, 99]].tolist() == [0, 50, 50]


def test_every_packet_of_the_test_flows_is_counted(everything, models, made):
    rows, frame = made, table(Results(made))
    assert len(rows) == len(packet_by_packet.ROWS) * len(config.TASKS) + 1 == len(frame)
    assert {*packet_by_packet.ROWS, packet_by_packet.DETECTOR} == set(LOOKS), (
        "the figure draws every row that is measured"
    )
    assert PACKETS == FIRST_PACKETS
    every = everything.sample("every")
    test = dataset.split(every, 0)[2]
    flows = everything.sample("last")
    of_tables = flows.take(dataset.split(flows, 0)[2])
    np.testing.assert_array_equal(np.unique(every.flow[test]), np.unique(of_tables.flow))
    for record in rows:
        task, raw = record["asked"]["task"], record["raw"]
        assert raw["packets"] == np.bincount(every.index[test], minlength=100).tolist()
        assert raw["packets"][0] == raw["attack_flows"] + raw["normal_flows"] == len(of_tables.x)
        assert raw["attack_flows"] == (of_tables.target("binary") == 1).sum()
        assert sum(raw["attack_first_alarm"]) <= raw["attack_flows"]
        if record["asked"]["row"] == "dt_c":
            hit = models[task].twins["dt"].predict(every.x[test]) == every.target(task)[test]
            assert raw["right"] == np.bincount(every.index[test][hit], minlength=100).tolist()
            line = frame[(frame["task"] == task) & (frame["row"] == "dt_c")].iloc[0]
            assert line["accuracy"] == pytest.approx(100 * hit.mean())
            flagged = sum(raw["attack_first_alarm"][:3]) / raw["attack_flows"]
            assert line["flagged by packet 3"] == pytest.approx(100 * flagged)


def test_a_dataset_without_every_packet_is_refused(everything):
    with pytest.raises(UserError, match="does not hold every packet"):
        packet_by_packet.first_packets(everything.sample("last"))
    assert len(packet_by_packet.first_packets(everything).x) == (everything.index < 100).sum()
