"""The running kernel judges a variant: its size, and parity with user space; nothing is asked twice."""

from dataclasses import replace

import pytest

from ids_repro import records
from ids_repro.evaluate import kernels
from ids_repro.kernel.variants import VARIANTS

SOME = {name: VARIANTS[name] for name in ("empty", "flow", "nn_q16_paper")}
PACKETS = 400


@pytest.fixture(scope="module")
def measured(models, sample, tmp_path_factory):
    path = tmp_path_factory.mktemp("results") / "kernels.jsonl"
    few = replace(sample, rows=sample.rows[:PACKETS])

    def measure(only):
        return list(kernels.measure({2: models["binary"]}, few, 300, {"part": 1}, path, only))

    return measure, {record["asked"]["variant"]: record["raw"] for record in measure(SOME)}, path


@pytest.mark.root
@pytest.mark.bpf
def test_each_variant_is_loaded_and_equal_to_user_space(measured):
    _, found, path = measured
    assert list(found) == list(SOME) and len(records.read(path)) == len(SOME)
    assert all(raw["refused"] == "" and raw["verified_insns"] > 1 for raw in found.values())
    compared = {name: (raw["vectors"], raw["packets"], raw["differ"]) for name, raw in found.items()}
    assert compared == {"empty": (0, 0, None), "flow": (0, PACKETS, 0), "nn_q16_paper": (300, PACKETS, 0)}


@pytest.mark.root
@pytest.mark.bpf
def test_only_what_has_no_record_is_measured(measured):
    measure, _, _ = measured
    more = {"flow_lru": VARIANTS["flow_lru"]}
    assert [record["asked"]["variant"] for record in measure(SOME | more)] == ["flow_lru"]


@pytest.mark.root
@pytest.mark.bpf
def test_a_difference_is_counted(models, sample):
    """User space is told other lengths than the frames have."""
    few = replace(sample, rows=sample.rows[:50].copy())
    few.rows["len"][20:30] += 1
    assert kernels.judge(VARIANTS["flow"], models["binary"], few, None)["differ"] >= 10


@pytest.mark.root
@pytest.mark.bpf
def test_what_the_kernel_refuses_is_recorded(models, sample):
    wrong = replace(VARIANTS["flow"], flows=3)  # no power of two: it is not even built
    raw = kernels.judge(wrong, models["binary"], sample, None)
    assert "could not build or load" in raw["refused"] and raw["differ"] is None
