"""What a packet costs becomes medians, or records with the program's size, and the records become a table."""

import json

import pytest

from ids_repro import config, records
from ids_repro.evaluate import kernel_cost
from ids_repro.kernel.program import Program
from ids_repro.kernel.variants import Variant
from ids_repro.report.exhibit import Results
from ids_repro.report.kernel_cost import table as cost_table


@pytest.fixture(scope="module")
def by_classes(models, detector):
    """Return both models by their number of classes, and the detector."""
    return {model.n_classes: model for model in models.values()} | {kernel_cost.DETECTOR: detector}


def test_a_name_says_where_a_variant_is_not_xdp_with_two_classes():
    assert kernel_cost.name_of("dt", Variant("xdp", "dt", 2)) == "dt"
    assert kernel_cost.name_of("dt", Variant("tc", "dt", 7)) == "dt_tc_7"


@pytest.mark.root
@pytest.mark.quiet
@pytest.mark.bpf
def test_the_bench_is_one_json_object_of_medians_and_records_nothing(by_classes, sample, monkeypatch):
    monkeypatch.setattr(records, "append", lambda *_, **__: pytest.fail("the bench wrote a record"))
    found = json.loads(json.dumps(kernel_cost.bench(by_classes, sample, 3)))
    assert set(found["one_flow"]) == set(kernel_cost.BENCH)
    assert set(found["new_flows"]) == set(kernel_cost.BENCH)
    assert all(ns > 0 for traffic in kernel_cost.TRAFFIC for ns in found[traffic].values())
    assert all(insns < 100_000 for insns in found["verified_insns"].values())


@pytest.mark.root
@pytest.mark.quiet
@pytest.mark.bpf
def test_a_variant_is_a_record_with_its_size_and_a_line_of_the_table(by_classes, sample, tmp_path):
    profile, rows = config.profile("smoke", timing_rounds=3), ("flow", "flow_tc", "dt", "dt_tc")
    found = kernel_cost.variants(by_classes, sample, profile, tmp_path, (*rows, kernel_cost.FLOAT))
    assert set(found["variant"]) == {*rows, kernel_cost.FLOAT}
    made = records.current(records.read(tmp_path / "kernel_cost.jsonl"), "kernel_cost")
    lines = {(r["asked"]["variant"], r["asked"]["traffic"]) for r in made}
    assert lines == {(row, "one_flow") for row in (*rows, kernel_cost.FLOAT)} | {
        ("flow", "new_flows"),
        ("dt", "new_flows"),
    }
    assert len(made) == len(lines) and all(len(r["raw"]["ns_per_packet"]) == 3 for r in made)
    table = cost_table(Results(made)).set_index("variant")
    assert (table.loc[list(rows), "verified_insns"] < 100_000).all()
    assert (table.loc[list(rows), "stack_bytes"] <= 512).all()
    beyond = table["one_flow_ns"] - table.loc["flow_tc", "one_flow_ns"]
    assert table.loc["dt_tc", "one_flow_beyond_ns"] == beyond["dt_tc"]


@pytest.mark.root
@pytest.mark.quiet
@pytest.mark.bpf
def test_the_cost_of_new_flows_is_recorded_by_table_size(by_classes, sample, tmp_path):
    profile, tables = config.profile("smoke", timing_rounds=2), (1 << 10, 1 << 16)
    found = kernel_cost.churn(by_classes, sample, profile, tmp_path, tables)
    assert len(found) == len(kernel_cost.CHURNED) * 2 * 3
    assert set(found["flows_entries"]) == {*tables}
    assert len(records.current(records.read(tmp_path / "flow_churn.jsonl"), "flow_churn")) == len(found)


@pytest.mark.root
@pytest.mark.quiet
@pytest.mark.bpf
@pytest.mark.parametrize(
    ("churn", "packets", "flows"), [(None, 1000, 1), ("ports", 70_000, 65_536), ("flows", 70_000, 70_000)]
)
def test_churn_makes_that_many_flows(sample, churn, packets, flows):
    with Program(Variant(flows=1 << 20, churn=churn)) as loaded:
        loaded.time(sample.headers()[0], packets)
        assert loaded.flows_held() == flows
