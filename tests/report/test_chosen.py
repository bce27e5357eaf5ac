"""A report is of one data set: what it lacks is said to be missing, and no record of another one stands in for it."""

import time

import pytest
import synthetic

from ids_repro import config, records
from ids_repro.config import UserError
from ids_repro.evaluate.discrepancies import ROWS
from ids_repro.report import page
from ids_repro.report.chosen import Chosen, choose, names
from ids_repro.report.exhibit import Results

LAB = {"dataset": "lab capture", "labels": "lab.csv"}
CIC = {"dataset": "CIC-IDS2017", "labels": "published"}
HASH = {"lab capture": "1ab", "CIC-IDS2017": "c1c"}


def at(later_s):
    return records.Start(1.8e9 + later_s, time.monotonic())


def add(folder, kind, data, raw, **asked):
    """Append a record of a data set; those of CIC-IDS2017 are an hour newer."""
    more = {"identity": {"data_hash": HASH[data["dataset"]]}, "started": at(3600 * (data is CIC))}
    return records.append(folder / f"{kind}.jsonl", kind, asked | data, raw, **more)


def accuracy(folder, data):
    for row in ("dt_sklearn", "nn_q16_c"):
        raw = {"confusion": [[90, 10], [5, 95]]}
        add(folder, "accuracy", data, raw, task="binary", row=row, seed=0, profile="smoke")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Return a whole run on the lab capture and, after it, notebook 04 on CIC-IDS2017 without its packets."""
    folder = tmp_path_factory.mktemp("results")
    accuracy(folder, LAB)
    for row in ROWS:
        raw = {"accuracy": 0.5, "accuracy_float": 0.5, "agreement_with_float": 0.5}
        add(folder, "discrepancy", LAB, raw, task="binary", seed=0, switch=row, profile="smoke")
    counts = {"packets": [9] * 100, "right": [5] * 100, "attack_flows": 9, "normal_flows": 9}
    counts |= {"attack_first_alarm": [1] * 9 + [0] * 91, "normal_first_alarm": [0] * 100}
    add(folder, "per_packet", LAB, counts, task="binary", row="dt_c", seed=0, profile="smoke")
    flagged = {"packets": {"DoS": 10}, "flagged": {"DoS": 3}}
    flood = {"table": "lru", "flows": 65536, "rate_pps": 0, "packets": 1, "answered": False, "flood_s": 5.0}
    add(folder, "blinded_verdicts", LAB, flagged, **flood)
    records.append(folder / "blinding.jsonl", "blinding", flood, {"share_found": 0.5, "found_packets": {}})
    trial = {"method": "no_filter", "generator": "hping3", "interval_us": 0, "repeat": 0, "trial_s": 1.0}
    raw = {"duration_s": 1.0, "sent_packets": 77_000, "received_packets": 77_000, "cpu_percent": {}}
    identity = {"data_hash": HASH["lab capture"]}
    records.append(folder / "sweep.jsonl", "sweep", trial, raw, started=at(0), identity=identity)
    synthetic.costs(folder)
    accuracy(folder, CIC)
    return records.read(folder)


def shown(rows, **options):
    results = Results(rows, **options)
    return {one.name: one for part in page.sections(results).values() for one in part}


def test_the_newest_records_data_set_is_the_reports(rows):
    assert choose(rows) == Chosen("CIC-IDS2017", "published", "c1c")
    assert choose(rows, "lab capture") == Chosen("lab capture", "lab.csv", "1ab")
    assert choose([]) == Chosen() and names(rows) == ["lab capture", "CIC-IDS2017"]
    with pytest.raises(UserError, match="no record is of the data set 'mine'; .* 'lab capture', 'CIC-IDS2017'"):
        choose(rows, "mine")


def test_what_is_missing_is_said_with_the_command_that_makes_it(rows):
    made = shown(rows)
    for name, notebook, command in (
        ("per_packet", "04", "04_inference.ipynb out.ipynb -p pcap CAPTURE"),
        ("discrepancies", "04", "04_inference.ipynb out.ipynb -p pcap CAPTURE"),
        ("throughput", "05", "05_packet_processing.ipynb out.ipynb)"),
        ("fig4", "05", "05_packet_processing.ipynb out.ipynb)"),
        ("detector", "07", "07_detector.ipynb out.ipynb -p train CAPTURE -p test ANOTHER_CAPTURE)"),
        ("blinding", "04", "04_inference.ipynb out.ipynb -p pcap CAPTURE"),
    ):
        caption = made[name].caption
        assert f"no records of CIC-IDS2017 (labels: published) yet: run notebook {notebook} (" in caption, caption
        assert command in caption and "lab capture" not in caption
    assert "no records of CIC-IDS2017" in made["per_packet"].chart.get_supxlabel().replace("\n", " ")
    assert made["discrepancies"].frame["n"].sum() == 0 and not made["per_packet"].has_records
    assert "77" not in made["throughput"].markdown().partition("Highest rate:")[0]


def test_what_no_data_set_was_needed_for_stays(rows):
    made = shown(rows)
    assert not made["kernel_cost"].frame.empty and len(made["blinding"].blocks) == 1


def test_captions_name_the_data_set_and_its_labels(rows):
    assert "Dataset: CIC-IDS2017, labels: published (the paper's: CIC-IDS2017)" in shown(rows)["table2"].caption
    made = shown(rows, dataset="lab capture")
    for name in ("discrepancies", "per_packet", "blinding"):
        assert "dataset lab capture; labels lab.csv" in made[name].caption.replace("Dataset", "dataset"), name
    assert "Dataset: lab capture, labels: lab.csv" in made["table2"].caption
    assert "Data set: lab capture (labels: lab.csv)." in made["claims"].caption
    assert len(made["blinding"].blocks) == 2 and made["per_packet"].has_records


def test_the_page_says_what_it_is_of_and_what_is_left_out(rows):
    results = Results(rows)
    text = " ".join(page.html(results, page.sections(results)).split())
    assert "Data set: CIC-IDS2017 (labels: published). Records of other data sets are left out: lab capture." in text
    assert "<td>discrepancy.jsonl</td><td>15</td><td>0</td><td>0</td><td>0</td>" in text


def test_the_command_takes_a_data_set(rows, tmp_path, refused):
    for record in rows:
        identity = record["provenance"]["identity"]
        records.append(tmp_path / "made.jsonl", record["kind"], record["asked"], record["raw"], identity=identity)
    said = refused("figures", "--results", tmp_path, "--figures", tmp_path / "figures", "--dataset", "mine")
    assert "no record is of the data set 'mine'" in said and not (tmp_path / "figures").exists()


def test_two_data_sets_of_one_name_are_told_apart_by_their_hash(tmp_path):
    for data_hash in ("a", "b"):
        for kind in ("accuracy", "discrepancy")[: 2 if data_hash == "a" else 1]:
            asked = {"task": "binary", "seed": 0, "dataset": "own capture", "labels": "csv", "row": "a", "switch": "a"}
            raw = {"confusion": [[1, 0], [0, 1]], "accuracy": 1, "accuracy_float": 1, "agreement_with_float": 1}
            more = {"started": at(data_hash == "b"), "identity": {"data_hash": data_hash}}
            records.append(tmp_path / f"{kind}.jsonl", kind, asked, raw, **more)
    results = Results(records.read(tmp_path))
    assert results.chosen.data_hash == "b" and results.current("discrepancy") == []


def test_a_detector_belongs_to_a_data_set_by_its_name_or_its_hash(tmp_path):
    path = tmp_path / "a.jsonl"
    asked, raw = {"dataset": "my capture", "labels": "my.csv", "flow_rules": "text"}, {"flows_by_class": {}}
    records.append(path, "flows", asked, raw, identity={"data_hash": "m"})
    like = next(one for one in records.read(config.DATA / "example") if one["kind"] == "detector")
    for name, data_hash in (("mine.pcap", "m"), ("my capture", "x"), ("lab capture", "1ab")):
        asked = {"row": "dt_deep", "test": "by_flow", "dataset": name}
        records.append(path, "detector", asked, like["raw"], identity={"data_hash": data_hash})
    rows = records.read(path)
    chosen = choose(rows)
    assert chosen.dataset == "my capture", "a detector's recording does not decide what a report is of"
    assert [chosen.has(record) for record in rows] == [True, True, True, False]
    assert choose(rows, "mine.pcap") == Chosen("mine.pcap", None, "m")
