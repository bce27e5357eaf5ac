"""What a packet costs: the bench's shape and its records, the sizes that the kernel and the compiler say."""

import json

import pytest

from ids_repro import config, records
from ids_repro.evaluate import kernel_cost
from ids_repro.kernel.program import Program
from ids_repro.kernel.variants import Variant, every_variant
from ids_repro.report.exhibit import Results
from ids_repro.report.kernel_cost import table as cost_table


@pytest.fixture(scope="module")
def by_classes(models):
    """Both models by their number of classes."""
    return {model.n_classes: model for model in models.values()}


@pytest.fixture
def log(tmp_path, monkeypatch):
    """Where the records go."""
    monkeypatch.setattr(kernel_cost, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


def test_the_bench_is_one_json_object_of_medians(by_classes, sample, log):
    found = json.loads(json.dumps(kernel_cost.bench(by_classes, sample, 3)))
    assert set(found["one_flow"]) == set(kernel_cost.BENCH)
    assert set(found["new_flows"]) == set(kernel_cost.BENCH)
    assert all(ns > 0 for traffic in kernel_cost.TRAFFIC for ns in found[traffic].values())
    assert all(insns < 20_000 for insns in found["verified_insns"].values())
    assert not log.exists()


def test_a_variant_is_a_record_with_its_size_and_a_line_of_the_table(by_classes, sample, log, monkeypatch):
    some = [(name, variant) for name, variant in every_variant() if name in ("flow", "dt") and variant.n_classes == 2]
    monkeypatch.setattr(kernel_cost, "every_variant", lambda: iter(some))
    profile = config.profile("smoke", timing_rounds=3)
    found = kernel_cost.variants(by_classes, sample, profile)
    rows = {kernel_cost.name_of(name, variant) for name, variant in some}
    assert set(found["variant"]) == rows | {kernel_cost.FLOAT}
    made = records.current(records.read(log), "kernel_cost")
    assert len(made) == 2 * len(rows) + 1 and all(len(r["raw"]["ns_per_packet"]) == 3 for r in made)
    table = cost_table(Results(made)).set_index("variant")
    assert (table.loc[list(rows), "verified_insns"] < 20_000).all()
    assert (table.loc[list(rows), "stack_bytes"] <= 512).all()
    beyond = table["one_flow_ns"] - table.loc["flow_tc", "one_flow_ns"]
    assert table.loc["dt_tc", "one_flow_beyond_ns"] == beyond["dt_tc"]


def test_the_cost_of_new_flows_is_recorded_by_table_size(by_classes, sample, log, monkeypatch):
    monkeypatch.setattr(kernel_cost, "TABLES", (1 << 10, 1 << 16))
    found = kernel_cost.churn(by_classes, sample, config.profile("smoke", timing_rounds=2))
    assert len(found) == 2 * 2 * 3
    assert len(records.current(records.read(log), "flow_churn")) == len(found)


@pytest.mark.parametrize(
    ("churn", "packets", "flows"), [(None, 1000, 1), ("ports", 70_000, 65_536), ("flows", 70_000, 70_000)]
)
def test_churn_makes_that_many_flows(sample, churn, packets, flows):
    with Program(Variant(flows=1 << 18, churn=churn)) as loaded:
        loaded.time(sample.headers()[0], packets)
        assert len(loaded.flows()) == flows
