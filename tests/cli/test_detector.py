"""train-detector and detect: one JSON object, a table, a model file, and one sentence for what cannot be."""

import json

import pytest

from ids_repro.cli import main
from ids_repro.config import CLASSES, SAMPLE, SECOND_SAMPLE
from ids_repro.models.model_file import read_model

KEYS = {"found", "false_alarms", "by_class", "incidents", "packets_to_alarm", "ms_to_alarm"}


def test_detect_prints_one_json_object_of_three_tests(capsys):
    argv = ["detect", "--train", str(SAMPLE), "--test", str(SECOND_SAMPLE), "--false-alarms", "0.01", "--json"]
    assert main(argv) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) > KEYS and set(found["by_class"]) == set(CLASSES) - {"Normal"}
    assert list(found["tests"]) == ["by_flow", "by_time", "other_recording"]
    assert {name: found[name] for name in KEYS} == {name: found["tests"]["other_recording"][name] for name in KEYS}
    assert found["found"] >= 0.93 and found["false_alarms"] <= 0.016


def test_detect_prints_a_table_of_the_tests_that_one_recording_allows(capsys):
    assert main(["detect", "--arriving-at", "10.88.0.10,10.88.0.40"]) == 0
    out, _ = capsys.readouterr()
    assert "by flow" in out and "by time" in out and "other recording" not in out
    assert all(f"  {name}" in out for name in set(CLASSES) - {"Normal"}) and "incidents found" in out


def test_train_detector_writes_a_model_that_says_what_it_was_made_of(capsys, tmp_path):
    path = tmp_path / "detector.npz"
    argv = ["train-detector", "--false-alarms", "0.005", "--arriving-at", "10.88.0.10", "--out", str(path)]
    argv += ["--hidden", "24", "--tree-depth", "9", "--leave-out", "sport,dport"]
    assert main(argv) == 0
    model = read_model(path)
    assert model.shape == "net 24, tree of depth 9, without sport dport" and model.hidden == (24,)
    assert model.detector["dt"].budget == 0.005 >= model.detector["dt"].false_alarms
    assert model.about["arriving_at"] == "10.88.0.10" and model.about["data"] == "lab capture"
    out, _ = capsys.readouterr()
    assert "budget 0.500% of normal flows" in out and f"{model.detector['nn_log2'].found:.1%} of attack flows" in out


@pytest.mark.parametrize("command", ["detect", "train-detector"])
@pytest.mark.parametrize("budget", ["0", "-1", "0.6", "nan"])
def test_a_budget_out_of_range_is_one_sentence(refused, command, budget):
    assert f"--false-alarms is {budget}: use a number above 0 and up to 0.5" in refused(
        command, "--false-alarms", budget
    )


@pytest.mark.parametrize("command", ["detect", "train-detector"])
@pytest.mark.parametrize("given", [("--hidden", "7"), ("--tree-depth", "17"), ("--leave-out", "port")])
def test_what_is_no_shape_is_one_sentence(refused, command, given):
    assert given[1] in refused(command, *given)


def test_a_detector_is_not_written_over_what_it_learns_from_or_into_a_device(refused, tmp_path):
    """The refusal comes before the training, which takes longer than a test may."""
    capture = tmp_path / "a.pcap.gz"
    capture.write_bytes(SAMPLE.read_bytes())
    (tmp_path / "a.csv").write_text("label\n")
    for out, why in (
        (capture, "is read as an input"),
        (tmp_path / "a.csv", "is read as an input"),
        ("/dev/null", "is"),
    ):
        before = out.read_bytes() if out != "/dev/null" else None
        said = refused("train-detector", "--train", capture, "--out", out)
        assert f"{out}: {why}" in said and "give another file" in said
        assert before is None or out.read_bytes() == before


def test_what_cannot_be_read_is_one_sentence(refused, tmp_path):
    assert "none.pcap: there is no such file" in refused("detect", "--test", tmp_path / "none.pcap")
    (tmp_path / "link.pcap.gz").symlink_to(SAMPLE)
    for argv in (["train-detector", "--train", SAMPLE], ["detect", "--train", SAMPLE, "--test"], ["detect", "--test"]):
        assert "link.pcap.gz: this capture is named twice" in refused(*argv, tmp_path / "link.pcap.gz")
    assert "none.csv: there is no such label schedule" in refused("detect", "--train-labels", tmp_path / "none.csv")
