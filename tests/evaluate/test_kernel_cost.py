"""What a packet costs: the bench's shape and its records, the sizes that the kernel and the compiler say."""

import json

import pytest

from ids_repro import config, records
from ids_repro.evaluate import kernel_cost
from ids_repro.kernel.info import prog_info, stack_bytes
from ids_repro.kernel.program import Program
from ids_repro.kernel.variants import VARIANTS, Variant, every_variant
from ids_repro.report import classification


@pytest.fixture(scope="module")
def by_classes(models):
    """Both models by their number of classes."""
    return {model.n_classes: model for model in models.values()}


@pytest.fixture
def log(tmp_path, monkeypatch):
    """Where the records go."""
    monkeypatch.setattr(kernel_cost, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


@pytest.mark.root
@pytest.mark.bpf
def test_the_bench_is_one_json_object_of_medians(by_classes, sample, log):
    found = json.loads(json.dumps(kernel_cost.bench(by_classes, sample, 3)))
    assert set(found["one_flow"]) == set(kernel_cost.BENCH)
    assert set(found["new_flows"]) == set(kernel_cost.BENCH)
    assert all(ns > 0 for traffic in kernel_cost.TRAFFIC for ns in found[traffic].values())
    assert all(insns < 20_000 for insns in found["verified_insns"].values())
    assert not log.exists()


@pytest.mark.root
@pytest.mark.bpf
def test_a_variant_is_a_record_with_its_size_and_a_line_of_the_table(by_classes, sample, log, monkeypatch):
    some = [(name, variant) for name, variant in every_variant() if name in ("flow", "dt") and variant.n_classes == 2]
    monkeypatch.setattr(kernel_cost, "every_variant", lambda: iter(some))
    profile = config.profile("smoke", timing_rounds=3)
    found = kernel_cost.variants(by_classes, sample, profile)
    rows = {kernel_cost.name_of(name, variant) for name, variant in some}
    assert set(found["variant"]) == rows | {kernel_cost.FLOAT}
    made = records.current(records.read(log), "kernel_cost")
    assert len(made) == 2 * len(rows) + 1 and all(len(r["raw"]["ns_per_packet"]) == 3 for r in made)
    table = classification.kernel_cost(made).set_index("variant")
    assert (table.loc[list(rows), "verified_insns"] < 20_000).all()
    assert (table.loc[list(rows), "stack_bytes"] <= 512).all()
    beyond = table["one_flow_ns"] - table.loc["flow_tc", "one_flow_ns"]
    assert table.loc["dt_tc", "one_flow_beyond_ns"] == beyond["dt_tc"]


@pytest.mark.root
@pytest.mark.bpf
def test_the_cost_of_new_flows_is_recorded_by_table_size(by_classes, sample, log, monkeypatch):
    monkeypatch.setattr(kernel_cost, "TABLES", (1 << 10, 1 << 16))
    found = kernel_cost.churn(by_classes, sample, config.profile("smoke", timing_rounds=2))
    assert len(found) == 2 * 2 * 3
    assert len(records.current(records.read(log), "flow_churn")) == len(found)


@pytest.mark.root
@pytest.mark.bpf
@pytest.mark.parametrize(
    ("churn", "packets", "flows"), [(None, 1000, 1), ("ports", 70_000, 65_536), ("flows", 70_000, 70_000)]
)
def test_churn_makes_that_many_flows(sample, churn, packets, flows):
    with Program(Variant(flows=1 << 18, churn=churn)) as loaded:
        loaded.time(sample.headers()[0], packets)
        assert len(loaded.flows()) == flows


@pytest.mark.root
@pytest.mark.bpf
def test_sizes_are_the_compilers_and_the_kernels():
    with Program(VARIANTS["flow"]) as loaded:
        size, info = loaded.size(), prog_info(loaded.fd)
        assert size["xlated_bytes"] == info["xlated_bytes"] and size["xlated_bytes"] % 8 == 0
        assert 0 < size["stack_bytes"] <= 512 and size["stack_bytes"] % 8 == 0
        assert size["verified_insns"] > size["xlated_bytes"] // 16


def test_the_stack_is_the_lowest_address_made_from_the_frame_pointer():
    def instruction(code: int, target: int, source: int, offset: int = 0, imm: int = 0) -> bytes:
        low, high = (offset & 0xFFFF).to_bytes(2, "little"), (imm & 0xFFFFFFFF).to_bytes(4, "little")
        return bytes([code, source << 4 | target]) + low + high

    store, load = instruction(0x7B, 10, 1, -16), instruction(0x79, 1, 10, -24)
    address = instruction(0xBF, 2, 10) + instruction(0x07, 2, 0, 0, -40)
    other = instruction(0x7B, 3, 1, -200) + instruction(0x07, 2, 0, 0, -300)
    assert stack_bytes(store + load) == 24
    assert stack_bytes(store + load + address + other) == 40
