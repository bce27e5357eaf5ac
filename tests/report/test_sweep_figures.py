"""Figures show what the records say, at one column's width, and the same records make the same file."""

import itertools
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import synthetic
from matplotlib.colors import to_rgb

from ids_repro import config, records
from ids_repro.report import style, sweep_figures
from ids_repro.report.sweep_points import CPU, medians, trial_points

NAMES = ["fig4", "fig5a", "fig5b", "flow_churn"]
OLD = Path(__file__).parents[1] / "golden" / "sweep_hping3_only.jsonl"  # of before live frames


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return synthetic.everything(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def drawn(rows):
    figures = sweep_figures.figures(rows)
    for figure in figures.values():
        figure.draw_without_rendering()
    return figures


def texts(figure):
    legends = [*figure.legends, *(axis.get_legend() for axis in figure.axes if axis.get_legend())]
    inside = [text for legend in legends for text in legend.get_texts()]
    around = [text for axis in figure.axes for text in (axis.title, axis.xaxis.label, axis.yaxis.label, *axis.texts)]
    return [text for text in (*inside, *around) if text.get_text()]


def words(figure):
    return " ".join([*(text.get_text() for text in texts(figure)), figure.get_supxlabel()])


def test_fig4_has_every_method_the_papers_range_beside_all_of_ours_and_what_sent(drawn):
    text = words(drawn["fig4"])
    for method in synthetic.CAPACITIES_PPS:
        assert style.METHODS[method].format(n=8) in text
    for part in ("paper: no loss up to", "sent by hping3", "sent by live frames", "sweep.jsonl", "profile smoke"):
        assert part in text
    assert [part.get_suptitle() for part in drawn["fig4"].subfigs] == list(sweep_figures.FIG4)
    ends = [(axis.get_xlim()[1], axis.get_ylim()[1]) for axis in drawn["fig4"].axes]
    assert ends == [pytest.approx(end) for end in [(800, 800), (3.12, 1.04 * 0.9)] * 2]
    paper = drawn["fig4"].axes[0]
    assert {line.get_xdata()[0] for line in paper.lines if line.get_marker() == "^"} == {300, 450}


def test_a_generator_is_a_marker_and_one_flow_is_hollow(tmp_path):
    synthetic.sweep(tmp_path / "a.jsonl")
    synthetic.frames(tmp_path / "a.jsonl", flows="one")
    axis = sweep_figures.fig4(records.read(tmp_path)).axes[0]
    looks = {(line.get_marker(), line.get_markerfacecolor() == "white") for line in axis.lines}
    assert {("s", False), ("o", True)} <= looks and ("o", False) not in looks


def test_lines_are_the_medians_of_each_rate(rows, drawn):
    middle = medians(trial_points(rows))
    part = middle.query("method == 'xdp_drv_dt' and generator == 'live_frames'")
    colour = style.LOOKS["xdp_drv_dt"][0]
    lines = [line for line in drawn["fig4"].axes[1].lines if line.get_color() == colour and line.get_marker() == "o"]
    line = lines[0]
    np.testing.assert_allclose(line.get_xdata().astype(float), part["r_tx_pps"] / 1e6)
    np.testing.assert_allclose(line.get_ydata().astype(float), part["r_rx_pps"] / 1e6)


def test_fig5_stacks_the_cpu_of_each_method_and_marks_the_busy_share(drawn):
    panels = {axis.get_title(): axis for name in ("fig5a", "fig5b") for axis in drawn[name].axes if axis.get_title()}
    assert set(panels) == {style.METHODS[method].format(n=8) for method in synthetic.CAPACITIES_PPS}
    for axis in panels.values():
        assert len(axis.collections) == len(CPU)
        assert {line.get_marker() for line in axis.lines} == {"o", "s"}
    frames = next(line for line in panels["XDP_DRV (Flow Extraction)"].lines if line.get_marker() == "o")
    capacity = 0.99 * synthetic.CAPACITIES_PPS["xdp_drv_flow"]  # of the median repeat
    np.testing.assert_allclose(frames.get_ydata()[:2], [100 * 100e3 / capacity, 100 * 300e3 / capacity])


def test_flow_churn_is_cost_over_table_size(drawn):
    axis = drawn["flow_churn"].axes[0]
    lines = [line for line in axis.lines if len(line.get_xdata()) == 2 and line.get_linestyle() in ("-", "--")]
    assert {line.get_linestyle() for line in lines} == {"-", "--"}
    assert all(list(line.get_xdata()) == [1024, 65536] and list(line.get_ydata()) == [81, 81] for line in lines)
    assert "flow extraction" in words(drawn["flow_churn"])


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_is_one_column_wide_and_nothing_is_cut_off_or_too_small(drawn, name):
    figure = drawn[name]
    assert figure.get_figwidth() == 3.5
    for text in texts(figure):
        assert text.get_fontsize() >= 6
        box = text.get_window_extent()
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, text.get_text()
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1, text.get_text()


@pytest.mark.parametrize("group", [*sweep_figures.FIG4.values(), "cpu", "classifiers"], ids=str)
def test_colours_differ_for_readers_of_any_colour_vision(group):
    colours = {
        "cpu": sweep_figures.CPU_COLOURS.values(),
        "classifiers": [c for c, _ in sweep_figures.CLASSIFIERS.values()],
    }
    chosen = colours.get(group) or [style.LOOKS[method][0] for method in group]
    for seen in VISION.values():
        shades = [lab(np.clip(seen @ linear(colour), 0, 1)) for colour in chosen]
        assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(shades, 2)) > 15


# Machado, Oliveira and Fernandes (2009), severity 1.0.
VISION = {
    "full": np.eye(3),
    "protanopia": np.array([[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]]),
    "deuteranopia": np.array([[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]]),
    "tritanopia": np.array([[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]]),
}


def linear(colour):
    value = np.array(to_rgb(colour))
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ rgb / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_the_same_records_make_the_same_files_and_leave_no_figure_open(rows, tmp_path):
    for folder in ("a", "b"):
        style.save(sweep_figures.fig5(rows, sweep_figures.FIG5B), "fig5b", tmp_path / folder)
    names = [f"fig5b.{kind}" for kind in ("pdf", "png", "svg")]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert plt.get_fignums() == []


def test_a_pdf_says_where_it_comes_from_in_its_properties_only(rows, tmp_path):
    figure = sweep_figures.flow_churn(rows)
    style.save(figure, "flow_churn", tmp_path)
    assert b"/Subject (flow_churn.jsonl: profile smoke; machine" in (tmp_path / "flow_churn.pdf").read_bytes()
    assert figure.get_supxlabel().startswith("flow_churn.jsonl"), "it is there again afterwards"


@pytest.mark.filterwarnings("error")
def test_records_of_the_first_sweeps_are_still_drawn():
    old = records.read(OLD)
    assert {record["asked"]["generator"] for record in old} == {"hping3"} and "flows" not in old[0]["asked"]
    figures = sweep_figures.figures(old)
    assert len([line for line in figures["fig4"].axes[0].lines if line.get_marker() == "s"]) == 4
    assert "no records yet" in words(figures["fig5b"]), "AF_XDP came later"


@pytest.mark.filterwarnings("error")
def test_no_records_or_one_point_still_make_a_figure(rows):
    one = [record for record in rows if record["kind"] == "sweep"][:1]
    for some in ([], one):
        figures = sweep_figures.figures(some)
        for figure in figures.values():
            figure.draw_without_rendering()
        assert ("no records yet: run notebook 05" in figures["fig4"].get_supxlabel()) == (not some)
    assert "no records yet" in figures["flow_churn"].get_supxlabel()


def test_only_some_methods_at_another_width_and_none_that_there_is_not(rows):
    figures = sweep_figures.figures(rows, width_in=7.2, methods="no_filter, xdp_drv_nn_fused")
    assert figures["fig4"].get_figwidth() == 7.2
    assert "XDP_DRV (NN)" in words(figures["fig4"]) and "TC (NN)" not in words(figures["fig4"])
    assert [axis.get_title() for axis in figures["fig5a"].axes if axis.get_title()] == ["No Filter", "XDP_DRV (NN)"]
    with pytest.raises(config.UserError, match=re.escape("no method 'bogus' to draw: use no_filter, ")):
        sweep_figures.figures(rows, methods="no_filter, bogus")


def test_a_notebook_shows_a_figure(rows):
    assert sweep_figures.fig4(rows)._repr_png_().startswith(b"\x89PNG")


def test_every_method_has_a_look_and_a_panel():
    assert set(style.LOOKS) == set(style.METHODS)
    assert {*sweep_figures.FIG5A, *sweep_figures.FIG5B} == set(style.METHODS)
    assert {method for part in sweep_figures.FIG4.values() for method in part} == set(style.METHODS)
