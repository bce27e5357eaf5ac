"""The accuracy study: every implementation, the same scores where they decide alike."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from packet_tables import table_of

from ids_repro import config
from ids_repro.__main__ import main
from ids_repro.data import extract
from ids_repro.data.features import FEATURES
from ids_repro.data.labels.source import label_source
from ids_repro.data.packet_table import PacketTable
from ids_repro.evaluate import accuracy, parity
from ids_repro.evaluate.replay import load_program, replay

ROWS = {"dt_sklearn", "nn_pytorch", "dt_c", "nn_q16_c", "nn_fused_c", "nn_float_c"}
KERNEL = {"dt_kernel", "nn_q16_kernel", "nn_fused_kernel"}


@pytest.mark.root
@pytest.mark.bpf
def test_kernel_c_and_float_rows_stand_side_by_side(flows, sample):
    found = accuracy.study(flows, config.profile("smoke", seeds=(0, 1), epochs=1, min_steps=500), sample)
    assert set(found) == set(config.TASKS)
    all_alike = {"mean": 1.0, "low": 1.0, "high": 1.0}
    for task, rows in found.items():
        assert set(rows) == ROWS | KERNEL
        for row in KERNEL:
            assert rows[row].pop("agreement_c") == all_alike
        assert rows["dt_c"] == rows["dt_sklearn"] == rows["dt_kernel"]
        assert rows["nn_q16_kernel"] == rows["nn_q16_c"]
        assert rows["nn_fused_kernel"] == rows["nn_fused_c"]
        assert rows["dt_c"]["agreement"] == all_alike
        assert rows["nn_fused_c"]["agreement"]["mean"] > 0.995
        for scores in rows.values():
            classes = {name for name in scores if name.startswith("f1 ")}
            present = config.BINARY if task == "binary" else flows.counts()
            assert classes == {f"f1 {name}" for name in present}
            assert all(s["low"] <= s["mean"] <= s["high"] and 0 <= s["mean"] <= 1 for s in scores.values())


@pytest.mark.root
@pytest.mark.bpf
def test_the_kernel_makes_a_packet_tables_features_from_its_packets_and_clock(tmp_path, models):
    """Flows of one 5-tuple stand side by side in it, and would be one if the kernel saw their addresses."""
    table, _ = table_of("sample", tmp_path)
    extract.run(table, tmp_path / "x.parquet", sampling="every")
    expected = pq.read_table(tmp_path / "x.parquet").sort_by("packet")
    trace = PacketTable(table).trace()
    clients = np.minimum(trace.rows["saddr"], trace.rows["daddr"])
    with load_program("dt", 7) as program:
        program.set_params(models["multi"].params("dt"))
        seen = replay(program, trace)
    assert not seen["reason"].any()
    np.testing.assert_array_equal(seen["x"], np.stack([expected[name] for name in FEATURES], axis=1))
    assert len(np.unique(clients)) == len(np.unique(expected["flow"])) == seen["first"].sum()
    np.testing.assert_array_equal(seen["verdict"], models["multi"].twins["dt"].predict(seen["x"]))


@pytest.mark.root
@pytest.mark.bpf
def test_a_dataset_without_packets_is_given_to_the_kernel_as_vectors(tmp_path, monkeypatch):
    monkeypatch.setattr(parity, "KERNEL_PROGRAMS", {"dt": "dt"})
    extract.run(config.SAMPLE, tmp_path / "x.parquet", label_source(config.SAMPLE.with_suffix(".csv")))
    data, trace = accuracy.read(tmp_path / "x.parquet")
    assert trace is None
    found = accuracy.study(data, config.profile("smoke", seeds=(0,), epochs=1, min_steps=1), trace)
    for rows in found.values():
        assert rows["dt_kernel"].pop("agreement_c")["mean"] == 1
        assert rows["dt_kernel"] == rows["dt_c"]


def test_a_packet_table_is_read_as_one_vector_a_flow(tmp_path):
    shared = config.ROOT.parent / "shared" / "cic-ids2017"
    if shared.is_dir():  # the sample's own table is tests/test_extract.py's
        data = accuracy.read(shared)[0]
        assert len(data.x) == 32_753
        assert data.counts() == {"DoS": 13_485, "Normal": 17_842, "Portscan": 755, "Web attack": 671}
    assert accuracy.read(config.SAMPLE)[0].meta["name"] == "lab capture"


def test_the_command_prints_one_json_object(capsys, monkeypatch):
    short = config.profile("smoke", epochs=1, min_steps=1)
    monkeypatch.setitem(config.PROFILES, "smoke", short)
    assert main(["accuracy", "--seeds", "1", "--user-space", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["multi"]) == ROWS
    assert found["binary"]["dt_c"]["accuracy"]["low"] is None  # no interval from one seed
    with pytest.raises(SystemExit):
        main(["accuracy", "--seeds", "many"])
    assert main(["accuracy", "--seeds", "0", "--user-space"]) == 2
    assert "at least 1 seed" in capsys.readouterr().err
