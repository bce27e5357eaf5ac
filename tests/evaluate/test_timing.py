"""Inference times are recorded round by round, differences are taken within a round, and the records become tables."""

import numpy as np
import pytest

from ids_repro import config, records
from ids_repro.evaluate import timing
from ids_repro.models.model_file import save_model
from ids_repro.report import classification
from ids_repro.report.exhibit import Results

PROFILE = config.profile("smoke", seeds=(0,), timing_rounds=2)


@pytest.fixture
def folder(models, tmp_path):
    """Return a folder that holds the models."""
    for model in models.values():
        save_model(model, tmp_path / "models")
    return tmp_path / "models"


def by_case(made: list[dict]) -> dict[tuple[str, str, str], list[float]]:
    """Return the times of all rounds by task, row and how [ns]."""
    return {tuple(r["asked"][key] for key in ("task", "row", "how")): r["raw"]["ns_per_inference"] for r in made}


def test_times_in_user_space_become_records_and_records_the_table(flows, folder, tmp_path):
    made = timing.time_all(flows, PROFILE, results=tmp_path / "results", folder=folder)
    assert records.read(tmp_path / "results/inference.jsonl") == made == records.current(made, "inference")
    assert all(len(record["raw"]["ns_per_inference"]) == PROFILE.timing_rounds for record in made)
    rounds, times = by_case(made), classification.timings(made)
    for (task, row, how), ns in rounds.items():
        if how == "ctypes_less_call":
            own = np.subtract(rounds[task, row, "ctypes_single"], rounds[task, row, "ctypes_empty"])
            np.testing.assert_allclose(ns, own)
    for task in config.TASKS:
        table = classification.table(Results(made), task).set_index(["row", "metric"]).sort_index()
        for row, how, metric in (
            ("dt_sklearn", "python_single", "inference_us"),
            ("nn_q16_c", "c_loop", "inference_us"),
            ("dt_c", "ctypes_single", "inference_ctypes_us"),
            ("nn_q16_c_O0", "ctypes_less_call", "inference_less_call_us"),
        ):
            ns = times[(times["task"] == task) & (times["row"] == row) & (times["how"] == how)]["median_ns"].item()
            assert np.isfinite(ns)
            assert table.loc[(row, metric), "ours"].item() == pytest.approx(ns / 1000)
        # A Python call for each inference costs more than the inference.
        table = table[~table.index.duplicated()]
        assert table.loc[("nn_q16_c", "inference_us"), "ours"] < table.loc[("nn_q16_c", "inference_ctypes_us"), "ours"]


@pytest.mark.root
@pytest.mark.quiet
@pytest.mark.bpf
def test_a_classifiers_time_in_the_kernel_is_that_of_a_packet_less_flow_extraction(flows, folder, sample, tmp_path):
    made = timing.time_all(flows, PROFILE, sample, tmp_path / "results", folder)
    rounds = by_case(made)
    for task in config.TASKS:
        flow = rounds[task, "flow_kernel", "kernel_packet"]
        for row in ("dt_kernel", "nn_q16_kernel", "nn_fused_kernel"):
            own = np.subtract(rounds[task, row, "kernel_packet"], flow)
            np.testing.assert_allclose(rounds[task, row, "kernel"], own)
        table = classification.table(Results(made), task)
        assert not {"flow_kernel", "empty_call"} & set(table["row"])


def test_a_mean_is_that_of_one_item_and_the_warm_up_is_not_timed():
    calls = []
    ns = timing.mean_ns(lambda: calls.append(sum(range(1000))), 50, each=10)()
    assert len(calls) == 50 + 50 // timing.WARM_UP
    assert 0 < ns < 1e6


def test_cases_are_measured_in_turn():
    order = []
    cases = {name: lambda name=name: order.append(name) or float(len(order)) for name in "ab"}
    assert timing.interleaved(cases, 3, "a test") == {"a": [1, 3, 5], "b": [2, 4, 6]}
    assert order == list("ababab")
