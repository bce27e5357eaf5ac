"""Figs. 4 and 5 show what the records say."""

import re
from pathlib import Path

import numpy as np
import pytest
import synthetic

from ids_repro import config, records
from ids_repro.report import style, sweep_figures
from ids_repro.report.exhibit import Results
from ids_repro.report.sweep_points import CPU, medians
from ids_repro.sweep.methods import choose_methods

OLD = Path(__file__).parents[1] / "golden" / "sweep_hping3_only.jsonl"  # of before live frames


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return Results(synthetic.everything(tmp_path_factory.mktemp("results")))


@pytest.fixture(scope="module")
def drawn(results):
    return charts(results)


def charts(results, **look):
    """Return the figures by their names."""
    return {exhibit.name: exhibit.chart for exhibit in sweep_figures.exhibits(results, **look)}


def words(figure):
    """Return all that a figure says: its legend, titles and labels, and its footer."""
    texts = [text for legend in figure.legends for text in legend.get_texts()]
    texts += [text for axis in figure.axes for text in (axis.title, axis.xaxis.label, axis.yaxis.label, *axis.texts)]
    return " ".join([*(text.get_text() for text in texts), figure.get_supxlabel()])


def test_fig4_has_every_method_the_papers_range_beside_all_of_ours_and_what_sent(drawn):
    text = words(drawn["fig4"])
    for method in synthetic.CAPACITIES_PPS:
        assert style.METHODS[method].label.format(n=8) in text
    for part in ("paper: no loss up to", "sent by hping3", "sent by live frames", "sweep.jsonl", "profile smoke"):
        assert part in text
    assert [part.get_suptitle() for part in drawn["fig4"].subfigs] == list(sweep_figures.FIG4)
    ends = [(axis.get_xlim()[1], axis.get_ylim()[1]) for axis in drawn["fig4"].axes]
    assert ends == [pytest.approx(end) for end in [(800, 800), (3.12, 1.04 * 0.9)] * 2]
    paper = drawn["fig4"].axes[0]
    assert {line.get_xdata()[0] for line in paper.lines if line.get_linewidth() == 2} == {300, 450}


def test_a_generator_is_a_marker_and_one_flow_is_hollow(tmp_path):
    synthetic.sweep(tmp_path / "a.jsonl")
    synthetic.frames(tmp_path / "a.jsonl", flows="one")
    axis = sweep_figures.fig4(Results(records.read(tmp_path))).axes[0]
    looks = {(line.get_marker(), line.get_markerfacecolor() == "white") for line in axis.lines}
    assert {("s", False), ("o", True)} <= looks and ("o", False) not in looks


def test_a_replay_is_a_line_with_a_marker_of_its_own_and_the_caption_says_what_it_is(results, drawn, tmp_path):
    synthetic.frames(tmp_path / "a.jsonl", capacities={"xdp_drv_dt": 500e3}, flows="replay")
    made = sweep_figures.exhibits(Results([*results.rows, *records.read(tmp_path)]))
    fig4, colour = made[0], style.METHODS["xdp_drv_dt"].colour
    looks = {
        (line.get_marker(), line.get_markerfacecolor()) for line in fig4.chart.axes[1].lines if line.get_marker() == "^"
    }
    assert looks == {("^", colour)}
    assert "a capture replayed" in words(fig4.chart)
    fig4.chart.file("png")
    box = fig4.chart.legends[0].get_window_extent()
    assert fig4.chart.bbox.x0 <= box.x0 and box.x1 <= fig4.chart.bbox.x1
    assert all("takes the time of each from its frame" in one.caption for one in made)
    assert "replayed" not in words(drawn["fig4"])


def test_trials_of_another_length_are_lines_of_their_own_and_pale(results, drawn, tmp_path):
    synthetic.frames(tmp_path / "a.jsonl", repeats=2, capacities={"xdp_drv_dt": 200e3}, trial_s=5.0)
    both = charts(Results([*results.rows, *records.read(tmp_path)]))
    colour, points = style.METHODS["xdp_drv_dt"].colour, {}
    for name, figures in (("before", drawn), ("after", both)):
        lines = figures["fig4"].axes[1].lines
        mine = [line for line in lines if line.get_color() == colour and line.get_marker() == "o"]
        points[name] = {line.get_alpha(): line.get_ydata().astype(float).tolist() for line in mine}
    assert points["after"][1.0] == points["before"][1.0]
    np.testing.assert_allclose(points["after"][0.5], [0.1, *[0.199] * 4])
    assert "trials of 1 s" in words(both["fig4"]) and "trials of 5 s" in words(both["fig5a"])
    assert "trials of" not in words(drawn["fig4"])
    area = [axis for axis in both["fig5a"].axes if "(DT)" in axis.get_title()][0]
    assert {line.get_alpha() for line in area.lines} == {1.0, 0.5} and len(area.collections) == len(CPU)


def test_lines_are_the_medians_of_each_rate(results, drawn):
    middle = medians(results)
    part = middle.query("method == 'xdp_drv_dt' and generator == 'live_frames'")
    colour = style.METHODS["xdp_drv_dt"].colour
    lines = [line for line in drawn["fig4"].axes[1].lines if line.get_color() == colour and line.get_marker() == "o"]
    line = lines[0]
    np.testing.assert_allclose(line.get_xdata().astype(float), part["r_tx_pps"] / 1e6)
    np.testing.assert_allclose(line.get_ydata().astype(float), part["r_rx_pps"] / 1e6)


def test_fig5_stacks_the_cpu_of_each_method_and_marks_the_busy_share(drawn):
    panels = {axis.get_title(): axis for name in ("fig5a", "fig5b") for axis in drawn[name].axes if axis.get_title()}
    assert set(panels) == {style.METHODS[method].label.format(n=8) for method in synthetic.CAPACITIES_PPS}
    for axis in panels.values():
        assert len(axis.collections) == len(CPU)
        assert {line.get_marker() for line in axis.lines} == {"o", "s"}
    frames = next(line for line in panels["XDP_DRV (Flow Extraction)"].lines if line.get_marker() == "o")
    capacity = 0.99 * synthetic.CAPACITIES_PPS["xdp_drv_flow"]  # of the median repeat
    np.testing.assert_allclose(frames.get_ydata()[:2], [100 * 100e3 / capacity, 100 * 300e3 / capacity])


@pytest.mark.filterwarnings("error")
def test_records_of_the_first_sweeps_are_still_drawn():
    old = records.read(OLD)
    assert {record["asked"]["generator"] for record in old} == {"hping3"} and "flows" not in old[0]["asked"]
    figures = charts(Results(old))
    assert len([line for line in figures["fig4"].axes[0].lines if line.get_marker() == "s"]) == 4
    assert "no records yet" in words(figures["fig5b"]), "AF_XDP came later"


@pytest.mark.filterwarnings("error")
def test_no_records_or_one_point_still_make_a_figure(results):
    one = [record for record in results.rows if record["kind"] == "sweep"][:1]
    for some in ([], one):
        for exhibit in sweep_figures.exhibits(Results(some)):
            exhibit.chart.file("png")
            assert exhibit.has_records == bool(some)
            for text in (exhibit.caption, exhibit.chart.get_supxlabel()):
                assert ("no records yet: run notebook 05" in text) == (not some)


def test_only_some_methods_at_another_width_and_none_that_there_is_not(results):
    figures = charts(results, width_in=7.2, methods="no_filter, xdp_drv_nn_fused")
    assert figures["fig4"].get_figwidth() == 7.2
    assert "XDP_DRV (NN fused)" in words(figures["fig4"]) and "TC (NN fused)" not in words(figures["fig4"])
    assert [axis.get_title() for axis in figures["fig5a"].axes if axis.get_title()] == [
        "No Filter",
        "XDP_DRV (NN fused)",
    ]
    with pytest.raises(config.UserError, match=re.escape("no method 'bogus' to draw: use no_filter, ")):
        sweep_figures.exhibits(results, methods="no_filter, bogus")


def test_every_method_has_a_panel():
    every = set(choose_methods("every")) - {"xdp_drv_nn_fused_lru"}
    assert {*sweep_figures.FIG5A, *sweep_figures.FIG5B} == every
    assert {method for part in sweep_figures.FIG4.values() for method in part} == every
