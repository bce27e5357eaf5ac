"""Records survive what happens to long runs: a kill in the middle of a line, a second run, a second writer."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ids_repro import config, records
from ids_repro.evaluate import detection
from ids_repro.evaluate.discrepancies import ROWS
from ids_repro.implementations import IMPLEMENTATIONS
from ids_repro.provenance import provenance
from ids_repro.sweep.methods import METHODS, choose_methods

ASKED = {"task": "binary", "row": "dt_c", "seed": 0}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results" / "trials.jsonl"


def test_a_record_reads_back_as_it_was_returned(path):
    written = records.append(path, "accuracy", ASKED, {"confusion": np.eye(2, dtype=int), "path": Path("a")})
    assert records.read(path) == [written]
    assert written["raw"] == {"confusion": [[1, 0], [0, 1]], "path": "a"}
    assert set(written) == {"kind", "asked", "raw", "status", "reason", "provenance"}
    assert written["provenance"]["seed"] == 0


def test_not_a_number_becomes_null_so_that_the_line_is_json(path):
    written = records.append(path, "sweep", {}, {"rates_pps": [np.nan, np.float64(2.0), float("inf")]})
    assert written["raw"]["rates_pps"] == [None, 2.0, None]
    assert "NaN" not in path.read_text()


def test_an_unknown_status_is_refused(path):
    with pytest.raises(ValueError, match="ok, failed, bad"):
        records.append(path, "sweep", {}, {}, status="fine")
    assert not path.exists()


def test_no_file_has_no_records(path):
    assert records.read(path) == []
    assert records.done(path, "sweep") == set()


@pytest.mark.parametrize("keep", [1, 10, 200, -2])
def test_a_half_written_line_is_left_out_and_cut_off(path, keep):
    first = records.append(path, "sweep", {"repeat": 0}, {})
    line = path.read_bytes()
    path.write_bytes(line + line[:keep])
    with pytest.warns(UserWarning, match="line 2"):
        assert records.read(path) == [first]
    second = records.append(path, "sweep", {"repeat": 1}, {})
    assert records.read(path) == [first, second]


def test_a_line_that_only_misses_its_newline_is_kept(path):
    first = records.append(path, "sweep", {"repeat": 0}, {})
    path.write_bytes(path.read_bytes().rstrip())
    assert records.read(path) == [first]
    second = records.append(path, "sweep", {"repeat": 1}, {})
    assert records.read(path) == [first, second]


def test_rubbish_in_the_middle_is_a_warning(path):
    first = records.append(path, "sweep", {}, {})
    path.write_bytes(b"\x00\x00\n[1]\n" + path.read_bytes())
    with pytest.warns(UserWarning) as caught:
        assert records.read(path) == [first]
    assert len(caught) == 2


def test_a_folder_is_all_its_files(tmp_path):
    written = [records.append(tmp_path / f"{name}.jsonl", name, {}, {}) for name in ("accuracy", "sweep")]
    assert records.read(tmp_path) == written


def test_only_an_ok_trial_with_the_same_identity_is_done(path):
    records.append(path, "sweep", ASKED, {}, identity={"model_hash": "a", "profile": "smoke"})
    records.append(path, "sweep", {**ASKED, "seed": 1}, {}, status="failed", reason="no link")
    done = records.done(path, "sweep")
    assert records.key(dict(reversed(ASKED.items())), {"profile": "smoke", "model_hash": "a"}) in done
    assert records.key(ASKED, {"model_hash": "b", "profile": "smoke"}) not in done
    assert records.key({**ASKED, "seed": 1}) not in done
    assert records.done(path, "accuracy") == set()


def test_tuples_and_numpy_numbers_make_the_same_key():
    assert records.key({"a": (1, np.int64(2))}) == records.key({"a": [1, 2]})


def test_current_is_the_newest_of_each_trial_in_the_newest_scope(path):
    def add(profile, seed, model_hash, **more):
        identity = {"profile": profile, "model_hash": model_hash}
        return records.append(path, "accuracy", {"seed": seed}, {}, identity=identity, **more)

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
        return records.append(path, "accuracy", asked, {}, identity={"model_sha256": model, "data_hash": "d"})

    add("nn_q16_kernel", 0, "old")
    kept = [add("nn_q16_kernel", 1, "other seed"), add("nn_q16_c", 0, "new"), add("nn_q16_c", 1, "other seed")]
    assert records.current(records.read(path), "accuracy") == kept


@pytest.mark.parametrize(("name", "old", "new"), [("budgets", [0.01, 0.001], [0.005, 0.0005]), ("flood_s", 2.0, 10.0)])
def test_current_has_one_budget_and_one_length_of_a_flood(path, name, old, new):
    made = [records.append(path, "x", {"row": row, name: value}, {}) for value in (old, new) for row in ("a", "b")]
    assert records.current(records.read(path), "x") == made[2:]


def test_a_report_needs_a_finished_trial(path):
    with pytest.raises(config.UserError, match="trials.jsonl: no records there; give the folder"):
        records.read_some(path)
    records.append(path, "x", {}, {}, status="failed", reason="no link")
    with pytest.raises(config.UserError, match="no records there of a finished trial"):
        records.read_some(path)
    records.append(path, "x", {}, {})
    assert len(records.read_some(path)) == 2


def test_provenance_says_when_and_over_which_link(path):
    began = time.time() - 2
    made = records.append(path, "sweep", {}, {}, started=began, mode="ssh")["provenance"]
    assert set(provenance()) <= set(made)
    assert made["mode"] == "ssh"
    assert 2 <= made["duration_s"] < 60
    assert made["started_utc"].endswith("+00:00")


def test_two_writers_and_a_kill_lose_no_whole_line(path):
    code = (
        "import sys; from ids_repro import records as r\nwhile True: r.append(sys.argv[1], '', {}, {'x': 'y' * 9999})"
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
    records.append(path, "sweep", {}, {})
    lines = path.read_bytes().splitlines()
    assert len(lines) > 10
    assert len(records.read(path)) == len(lines)


def test_names_of_earlier_versions_are_read_as_those_of_now(path):
    """Both ways: every old name stands for a row or method that there is, and a finished trial is not run again."""
    assert set(records.RENAMED.values()) <= {*IMPLEMENTATIONS, *METHODS}
    assert not set(records.RENAMED) & {*IMPLEMENTATIONS, *METHODS}
    old = {"kind": "sweep", "raw": {}, "status": "ok", "reason": "", "provenance": {"identity": {"cpus": 2}}}
    path.parent.mkdir()
    for asked in ({"method": "xdp_drv_nn", "repeat": 0}, {"row": "nn_kernel"}, {"row": "dt_c"}, {"variant": "flow"}):
        with path.open("a") as file:
            file.write(json.dumps(old | {"asked": asked}) + "\n")
    found = [record["asked"] for record in records.read(path)]
    assert found == [
        {"method": "xdp_drv_nn_fused", "repeat": 0}, {"row": "nn_q16_kernel"}, {"row": "dt_c"}, {"variant": "flow"},
    ]  # fmt: skip
    assert records.key(found[0], {"cpus": 2}) in records.done(path, "sweep")
    assert choose_methods("tc_nn, no_filter") == ["tc_nn_fused", "no_filter"]


def test_the_shipped_records_name_only_rows_and_methods_that_there_are():
    asked = [record["asked"] for record in records.read(config.DATA / "example")]
    assert {one["method"] for one in asked if "method" in one and "rate_pps" in one} <= set(METHODS)
    known = {*IMPLEMENTATIONS, *ROWS, *detection.ROWS, "flow_kernel"}  # the last is what kernel rows are measured less
    assert {one["row"] for one in asked if "row" in one} - known == set()
