"""What a packet costs, as a table and over the size of the flow table, against made-up records."""

import numpy as np
import pandas as pd
import pytest
import synthetic

from ids_repro.report import kernel_cost
from ids_repro.report.exhibit import Results


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return Results(synthetic.everything(tmp_path_factory.mktemp("results")))


def cell(frame, variant):
    found = frame[frame["variant"] == variant]
    assert len(found) == 1
    return found.iloc[0]


def test_the_cost_table_has_a_line_a_variant_with_what_a_classifier_adds(results):
    frame = kernel_cost.table(results)
    assert list(frame["variant"]) == ["empty", "flow", "nn_q16_paper", "nn_fused_packed", "nn_float_user"]
    line = cell(frame, variant="nn_fused_packed")
    assert (line.one_flow_ns, line.one_flow_ns_low, line.one_flow_ns_high, line.one_flow_rounds) == (
        180,
        179.5,
        181.5,
        3,
    )
    assert (line.one_flow_beyond_ns, line.new_flows_beyond_ns, line.new_flows_ns) == (100, 100, 220)
    assert (line.verified_insns, line.xlated_bytes, line.jited_bytes, line.stack_bytes) == (1800, 7200, 4500, 128)
    float_net = cell(frame, variant="nn_float_user")
    assert float_net.one_flow_ns == 155 and np.isnan([float_net.new_flows_ns, float_net.verified_insns]).all()
    assert np.isnan(float_net.one_flow_beyond_ns), "it extracts no flow"


def test_the_cost_table_is_written_with_where_it_was_measured_or_what_to_run(results, tmp_path):
    kernel_cost.exhibit(results).write(tmp_path)
    text = (tmp_path / "kernel_cost.md").read_text(encoding="utf-8")
    assert "| nn_fused_packed | 180.0 [179.5, 181.5] | +100 | 220.0" in text and "kernel_cost.jsonl" in text
    assert "| nn_float_user | 155.0 [152.5, 157.5] |  |  |  |  |" in text
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "kernel_cost.csv"), kernel_cost.table(results), check_dtype=False
    )
    kernel_cost.exhibit(Results([])).write(tmp_path)
    assert "no records yet: run" in (tmp_path / "kernel_cost.md").read_text(encoding="utf-8")


def test_flow_churn_is_cost_over_table_size(results):
    exhibit = kernel_cost.flow_churn(results)
    axis = exhibit.chart.axes[0]
    lines = [line for line in axis.lines if len(line.get_xdata()) == 2 and line.get_linestyle() in ("-", "--")]
    assert {line.get_linestyle() for line in lines} == {"-", "--"}
    assert all(list(line.get_xdata()) == [1024, 65536] and list(line.get_ydata()) == [81, 81] for line in lines)
    assert "flow extraction" in [text.get_text() for text in exhibit.chart.legends[0].get_texts()]
    assert exhibit.caption.endswith("Records: flow_churn.jsonl, 4 trials.")
