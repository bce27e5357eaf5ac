"""Records survive what happens to long runs: a kill in the middle of a line, a second run, a second writer."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ids_repro import config, record_schema, records
from ids_repro.evaluate import blinding, detection, kernel_cost
from ids_repro.evaluate.discrepancies import ROWS
from ids_repro.implementations import IMPLEMENTATIONS
from ids_repro.provenance import provenance
from ids_repro.report import blinding as floods
from ids_repro.report import detector, style
from ids_repro.report import kernel_cost as costs
from ids_repro.report.sweep_points import CPU
from ids_repro.sweep.methods import METHODS, choose_methods

ASKED = {"task": "binary", "row": "dt_c", "seed": 0}
RAW = {"confusion": [[3, 1], [0, 4]]}


def add(path, raw=RAW, status="ok", **asked):
    """Append a trial that is asked for something more, or something else, than ASKED."""
    return records.append(path, "accuracy", ASKED | asked, raw, status)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results" / "trials.jsonl"


def test_a_record_reads_back_as_it_was_returned(path):
    written = add(path, {"confusion": np.eye(2, dtype=int), "path": Path("a")})
    assert records.read(path) == [written]
    assert written["raw"] == {"confusion": [[1, 0], [0, 1]], "path": "a"}
    assert set(written) == {"kind", "asked", "raw", "status", "reason", "provenance"}
    assert written["provenance"]["seed"] == 0


def test_not_a_number_becomes_null_so_that_the_line_is_json(path):
    written = add(path, RAW | {"rates_pps": [np.nan, np.float64(2.0), float("inf")]})
    assert written["raw"]["rates_pps"] == [None, 2.0, None]
    assert "NaN" not in path.read_text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"status": "fine"}, "status must be one of ok, failed, bad; it is 'fine'"),
        ({"asked": {"task": "binary", "row": "dt_c"}}, "asked.seed is missing"),
        ({"raw": {}}, "raw.confusion is missing"),
        ({"raw": {"confusion": [[np.nan] * 2] * 2}}, "raw.confusion.0.0 must be a whole number; it is null"),
        ({"kind": "mine"}, "a record of kind 'mine': there is no such kind in record_schema.KINDS"),
    ],
)
def test_a_writer_may_write_only_what_a_reader_takes(path, change, said):
    record = {"kind": "accuracy", "asked": ASKED, "raw": RAW} | change
    with pytest.raises(ValueError, match=re.escape(said)):
        records.append(path, **record)
    assert not path.exists()


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("provenance", "duration_s"), None, "provenance.duration_s must be a number; it is null"),
        (("provenance", "duration_s"), -3599.0, "provenance.duration_s must be at least 0; it is -3599.0"),
        (("provenance", "started_utc"), "DEL", "provenance.started_utc is missing"),
        (("asked", "seed"), "x", "asked.seed must be a whole number; it is 'x'"),
        (("raw", "confusion"), [[1]], "raw.confusion must have at least 2 items; it is [[1]]"),
        (("raw", "confusion"), [[1] * 3] * 3, f"raw.confusion must have at most 2 items; it is {[[1] * 3] * 3}"),
        (("raw", "confusion", 1, 0), float("nan"), "raw.confusion.1.0 must be a whole number; it is 'NaN'"),
        (("kind",), "DEL", "kind is missing"),
    ],
)
def test_a_record_that_lacks_something_is_named_by_file_line_and_field(path, place, value, said):
    add(path)
    record = field = json.loads(path.read_text())
    for name in place[:-1]:
        field = field[name]
    if value == "DEL":
        del field[place[-1]]
    else:
        field[place[-1]] = value
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")
    expected = f"{path} line 2: {said}; take this line out, and its trial runs again"
    with pytest.raises(config.UserError, match=f"^{re.escape(expected)}$"):
        records.read(path.parent)


@pytest.mark.parametrize("line", ["[1]", "3", '"ok"', "null", "[" * 100_000 + "]" * 100_000])
def test_what_is_no_record_is_refused(path, line):
    add(path)
    path.write_text(f"{line}\n{path.read_text()}")
    with pytest.raises(config.UserError, match="line 1: the line must be an object"):
        records.read(path)


def test_of_other_kinds_only_what_all_have_in_common_is_asked(path):
    """A later version may write kinds that this one does not know."""
    other = add(path) | {"kind": "mine", "asked": {}, "raw": {}}
    path.write_text(json.dumps(other))
    assert records.read(path) == [other]
    path.write_text(json.dumps(other | {"provenance": {}}))
    with pytest.raises(config.UserError, match="provenance.* is missing"):
        records.read(path)


def test_no_file_has_no_records(path):
    assert records.read(path) == []
    assert records.done(path, "sweep") == set()


@pytest.mark.parametrize("keep", [1, 10, 200, -2])
def test_a_half_written_line_is_left_out_and_cut_off(path, keep):
    first = add(path, repeat=0)
    line = path.read_bytes()
    path.write_bytes(line + line[:keep])
    with pytest.warns(UserWarning, match="line 2"):
        assert records.read(path) == [first]
    second = add(path, repeat=1)
    assert records.read(path) == [first, second]


def test_a_line_that_only_misses_its_newline_is_kept(path):
    first = add(path, repeat=0)
    path.write_bytes(path.read_bytes().rstrip())
    assert records.read(path) == [first]
    second = add(path, repeat=1)
    assert records.read(path) == [first, second]


def test_rubbish_in_the_middle_is_a_warning(path):
    first = add(path)
    path.write_bytes(b'\x00\x00\n{"kind": "acc\n' + path.read_bytes())
    with pytest.warns(UserWarning) as caught:
        assert records.read(path) == [first]
    assert len(caught) == 2


def test_a_folder_is_all_its_files(tmp_path):
    written = [add(tmp_path / f"{name}.jsonl") for name in ("accuracy", "sweep")]
    assert records.read(tmp_path) == written


def test_only_an_ok_trial_with_the_same_identity_is_done(path):
    records.append(path, "accuracy", ASKED, RAW, identity={"model_hash": "a", "profile": "smoke"})
    records.append(path, "accuracy", {**ASKED, "seed": 1}, {}, status="failed", reason="no link")
    done = records.done(path, "accuracy")
    assert records.key(dict(reversed(ASKED.items())), {"profile": "smoke", "model_hash": "a"}) in done
    assert records.key(ASKED, {"model_hash": "b", "profile": "smoke"}) not in done
    assert records.key({**ASKED, "seed": 1}) not in done
    assert records.done(path, "sweep") == set()


def test_tuples_and_numpy_numbers_make_the_same_key():
    assert records.key({"a": (1, np.int64(2))}) == records.key({"a": [1, 2]})


def test_current_is_the_newest_of_each_trial_in_the_newest_scope(path):
    def add(profile, seed, model_hash, **more):
        identity = {"profile": profile, "model_hash": model_hash}
        return records.append(path, "accuracy", ASKED | {"seed": seed}, RAW, identity=identity, **more)

    add("paper", 0, "a")
    add("smoke", 0, "b")
    kept = [add("smoke", 1, "b"), add("smoke", 0, "c")]
    add("paper", 3, "d", status="bad")
    assert records.current(records.read(path), "accuracy") == kept
    assert records.current(records.read(path), "sweep") == []


def test_current_has_one_model_for_each_task_and_seed(path):
    """Notebook 04 without the kernel, after a training, must not leave kernel rows of the model before in a table."""

    def add(row, seed, model):
        asked = {"task": "binary", "row": row, "seed": seed, "profile": "smoke"}
        return records.append(path, "accuracy", asked, RAW, identity={"model_sha256": model, "data_hash": "d"})

    add("nn_q16_kernel", 0, "old")
    kept = [add("nn_q16_kernel", 1, "other seed"), add("nn_q16_c", 0, "new"), add("nn_q16_c", 1, "other seed")]
    assert records.current(records.read(path), "accuracy") == kept


@pytest.mark.parametrize(("name", "old", "new"), [("budgets", [0.01, 0.001], [0.005, 0.0005]), ("flood_s", 2.0, 10.0)])
def test_current_has_one_budget_and_one_length_of_a_flood(path, name, old, new):
    made = [add(path, **{"row": row, name: value}) for value in (old, new) for row in ("a", "b")]
    assert records.current(records.read(path), "accuracy") == made[2:]


def test_a_report_needs_a_finished_trial(path):
    with pytest.raises(config.UserError, match="trials.jsonl: no record of a finished trial is there; give the folder"):
        records.read_some(path)
    add(path, {}, "failed")
    with pytest.raises(config.UserError, match="no record of a finished trial"):
        records.read_some(path)
    add(path)
    assert len(records.read_some(path)) == 2


def test_provenance_says_when_and_over_which_link(path):
    began = records.Start(time.time() - 2, time.monotonic() - 2)
    made = records.append(path, "accuracy", ASKED, RAW, started=began, mode="ssh")["provenance"]
    assert set(provenance()) <= set(made)
    assert made["mode"] == "ssh"
    assert 2 <= made["duration_s"] < 60
    assert made["started_utc"].endswith("+00:00")


def test_a_clock_that_is_set_back_meanwhile_makes_no_negative_duration(path):
    an_hour_ahead = records.Start(time.time() + 3600, time.monotonic() - 2)
    made = records.append(path, "accuracy", ASKED, RAW, started=an_hour_ahead)["provenance"]
    assert 2 <= made["duration_s"] < 60


def test_nobody_makes_a_duration_from_the_clock_that_may_be_set():
    """It says when a trial, or a program on an interface, began; what else asks for it is a mistake."""
    package = config.ROOT / "ids_repro"
    found = {str(one.relative_to(package)) for one in package.rglob("*.py") if "time.time()" in one.read_text()}
    assert found == {"records.py", "live/attached.py"}


def test_a_pipe_among_the_records_is_refused_and_nobody_waits_for_its_other_end(path):
    add(path)
    os.mkfifo(path.with_name("pipe.jsonl"))
    with pytest.raises(config.UserError, match="pipe.jsonl"):
        records.read(path.parent)


def test_two_writers_and_a_kill_lose_no_whole_line(path):
    code = (
        f"import sys; from ids_repro import records as r\nraw = {RAW} | {{'x': 'y' * 9999}}\n"
        f"while True: r.append(sys.argv[1], 'accuracy', {ASKED}, raw)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=config.ROOT) for _ in range(2)]
    try:
        until = time.monotonic() + 30
        while (not path.exists() or path.stat().st_size < 200_000) and time.monotonic() < until:
            time.sleep(0.01)
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    add(path)
    lines = path.read_bytes().splitlines()
    assert len(lines) > 10
    assert len(records.read(path)) == len(lines)


def test_names_of_earlier_versions_are_read_as_those_of_now(path):
    """Both ways: every old name stands for a row or method that there is, and a finished trial is not run again."""
    assert set(records.RENAMED.values()) <= {*IMPLEMENTATIONS, *METHODS}
    assert not set(records.RENAMED) & {*IMPLEMENTATIONS, *METHODS}
    records.append(path, "accuracy", ASKED, RAW, identity={"cpus": 2})
    now = path.read_text()
    path.write_text("".join(now.replace('"dt_c"', f'"{name}"') for name in ("nn_kernel", "dt_c", "mine")))
    found = [record["asked"] for record in records.read(path)]
    assert [one["row"] for one in found] == ["nn_q16_kernel", "dt_c", "mine"]
    assert records.key(found[0], {"cpus": 2}) in records.done(path, "accuracy")
    trial = next(one for one in records.read(config.DATA / "example") if one["asked"].get("method") == "no_filter")
    path.write_text(json.dumps(trial).replace('"no_filter"', '"xdp_drv_nn"'))
    assert records.read(path)[0]["asked"] == trial["asked"] | {"method": "xdp_drv_nn_fused"}
    assert choose_methods("tc_nn, no_filter") == ["tc_nn_fused", "no_filter"]


def test_the_shipped_records_name_only_rows_and_methods_that_there_are():
    asked = [record["asked"] for record in records.read(config.DATA / "example")]
    assert {one["method"] for one in asked if "method" in one and "rate_pps" in one} <= set(METHODS)
    known = {*IMPLEMENTATIONS, *ROWS, *detection.ROWS, "flow_kernel"}  # the last is what kernel rows are measured less
    assert {one["row"] for one in asked if "row" in one} - known == set()


def test_the_schema_has_the_words_of_those_who_measure_and_of_those_who_draw():
    def words(kind, name):
        asked, more, _, _ = record_schema.KINDS[kind]
        return set((asked | more)[name]["enum"])

    assert words("detector", "test") == set(detection.TESTS) == set(detector.TESTS)
    assert words("blinding", "table") == set(blinding.TABLES) == set(floods.NAMES)
    assert words("flow_churn", "traffic") == set(kernel_cost.CHURN) == set(costs.DASHES)
    assert words("kernel_cost", "traffic") == set(costs.TRAFFIC)
    assert words("sweep", "generator") == set(style.GENERATORS) and words("sweep", "flows") == set(style.FLOWS)
    assert set(record_schema.CPU["propertyNames"]["enum"]) == set(CPU)


@pytest.mark.parametrize("name", records.OF_ITS_OWN)
def test_one_table_has_one_replayed_capture_and_one_detector(path, name):
    before, kept, without = add(path, **{name: "a"}), add(path, **{name: "b"}), add(path)
    assert records.current(records.read(path), "accuracy") == [kept, without]
    again = add(path, **{name: "a"})
    assert records.current(records.read(path), "accuracy") == [without, again]
    assert again["asked"] == before["asked"]
