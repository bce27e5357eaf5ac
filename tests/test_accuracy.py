"""The accuracy study: every implementation, the same scores where they decide alike."""

import json

import pytest

from ids_repro import accuracy, config
from ids_repro.__main__ import main

ROWS = {"dt_sklearn", "nn_pytorch", "dt_c", "nn_c_q16", "nn_c_fused", "nn_float_c"}
KERNEL = {"dt_kernel", "nn_kernel", "nn_fused_kernel"}


def test_kernel_c_and_float_rows_stand_side_by_side(flows):
    found = accuracy.study(flows, config.profile("smoke", seeds=(0, 1), epochs=1, min_steps=500))
    assert set(found) == set(config.TASKS)
    for task, rows in found.items():
        assert set(rows) == ROWS | KERNEL
        assert rows["dt_c"] == rows["dt_sklearn"] == rows["dt_kernel"]
        assert rows["nn_kernel"] == rows["nn_c_q16"]
        assert rows["nn_fused_kernel"] == rows["nn_c_fused"]
        assert rows["dt_c"]["agreement"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
        assert rows["nn_c_fused"]["agreement"]["mean"] > 0.995
        for scores in rows.values():
            classes = {name for name in scores if name.startswith("f1 ")}
            present = config.BINARY if task == "binary" else flows.counts()
            assert classes == {f"f1 {name}" for name in present}
            assert all(s["low"] <= s["mean"] <= s["high"] and 0 <= s["mean"] <= 1 for s in scores.values())


def test_a_packet_table_is_read_as_one_vector_a_flow(tmp_path):
    shared = config.ROOT.parent / "shared" / "cic-ids2017"
    if shared.is_dir():  # the sample's own table is tests/test_extract.py's
        data = accuracy.read(shared)
        assert len(data.x) == 32_753
        assert data.counts() == {"DoS": 13_485, "Normal": 17_842, "Portscan": 755, "Web attack": 671}
    assert accuracy.read(config.SAMPLE).meta["name"] == "lab capture"


def test_the_command_prints_one_json_object(capsys, monkeypatch):
    short = config.profile("smoke", epochs=1, min_steps=1)
    monkeypatch.setitem(config.PROFILES, "smoke", short)
    assert main(["accuracy", "--seeds", "1", "--user-space", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["multi"]) == ROWS
    assert found["binary"]["dt_c"]["accuracy"]["low"] is None  # no interval from one seed
    with pytest.raises(SystemExit):
        main(["accuracy", "--seeds", "many"])
