"""A figure is one column wide, legible for everybody, and the same records make the same files."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
import synthetic
from matplotlib.colors import to_rgb

from ids_repro import config, records
from ids_repro.report import kernel_cost, packet_by_packet, page, style, sweep_figures
from ids_repro.report.exhibit import Results
from ids_repro.sweep.methods import METHODS

NAMES = ["fig4", "fig5a", "fig5b", "flow_churn"]
FIGURES = [*NAMES, "blinding", "detector", "losses", "per_packet"]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return Results(synthetic.everything(tmp_path_factory.mktemp("results")))


@pytest.fixture(scope="module")
def drawn(results):
    made = [*sweep_figures.exhibits(results), kernel_cost.flow_churn(results)]
    for exhibit in made:
        exhibit.chart.file("png")
    return {exhibit.name: exhibit.chart for exhibit in made}


@pytest.fixture(scope="module")
def shipped():
    """Return every figure, drawn from the shipped records."""
    sections = page.sections(Results(records.read(config.DATA / "example"))).values()
    charts = {exhibit.name: exhibit.chart for section in sections for exhibit in section if exhibit.chart}
    for chart in charts.values():
        chart.file("png")
    return charts


def texts(figure):
    """Return every text of a figure that is not empty, its footer left out."""
    inside = [text for legend in figure.legends for text in legend.get_texts()]
    around = [text for axis in figure.axes for text in (axis.title, axis.xaxis.label, axis.yaxis.label, *axis.texts)]
    return [text for text in (*inside, *around) if text.get_text()]


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_is_one_column_wide_and_nothing_is_cut_off_or_too_small(drawn, name):
    figure = drawn[name]
    assert figure.get_figwidth() == 3.5
    for text in texts(figure):
        assert text.get_fontsize() >= 6
        box = text.get_window_extent()
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, text.get_text()
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1, text.get_text()


@pytest.mark.parametrize("name", FIGURES)
def test_a_legend_is_within_the_figure(drawn, shipped, name):
    assert sorted(shipped) == sorted(FIGURES)
    for figure in filter(None, (drawn.get(name), shipped[name])):
        for legend in figure.legends:
            box = legend.get_window_extent()
            assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1


def test_a_raw_socket_on_the_papers_24_cores_fits_too(tmp_path):
    for record in (rows := synthetic.everything(tmp_path)):
        if record["asked"].get("method") == "rawsockN_nn_fused":
            record["raw"]["workers"] = 24
    chart = sweep_figures.fig4(Results(rows))
    chart.file("png")
    assert "24-core Rawsocket (NN fused)" in [text.get_text() for text in chart.legends[0].get_texts()]
    box = chart.legends[0].get_window_extent()
    assert chart.bbox.x0 <= box.x0 and box.x1 <= chart.bbox.x1


@pytest.mark.parametrize("group", [*sweep_figures.FIG4.values(), "cpu", "classifiers"], ids=str)
def test_colours_differ_for_readers_of_any_colour_vision(group):
    colours = {
        "cpu": sweep_figures.CPU_COLOURS.values(),
        "classifiers": [colour for colour, *_ in kernel_cost.CLASSIFIERS.values()],
    }
    chosen = colours.get(group) or [style.METHODS[method].colour for method in group]
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


def test_the_same_records_make_the_same_files_and_leave_no_figure_open(results):
    first, second = (sweep_figures.fig5(results, sweep_figures.FIG5B) for _ in range(2))
    for kind in ("svg", "png", "pdf"):
        assert first.file(kind) == second.file(kind)
    assert plt.get_fignums() == []


def test_the_order_of_the_files_does_not_matter(results):
    first, second = (sweep_figures.fig5(results, sweep_figures.FIG5B) for _ in range(2))
    kinds = ("pdf", "png", "svg")
    assert [first.file(kind) for kind in kinds] == [second.file(kind) for kind in reversed(kinds)][::-1]


def test_a_pdf_says_where_it_comes_from_in_its_properties_only(results):
    chart = kernel_cost.flow_churn(results).chart
    assert b"/Subject (flow_churn.jsonl: profile smoke; machine" in chart.file("pdf")
    assert chart.get_supxlabel().startswith("flow_churn.jsonl"), "it is there again afterwards"


def test_each_file_is_drawn_once_and_a_notebook_shows_the_png(results):
    chart = packet_by_packet.exhibit(results).chart
    shown, size = chart._repr_png_()
    assert shown.startswith(b"\x89PNG") and shown is chart.file("png")
    assert size["width"] <= 900 and size["height"] <= 540
    assert size["width"] / size["height"] == pytest.approx(7.2 / 4.6, rel=0.01), "its shape is kept"


def test_every_method_has_a_look():
    assert set(style.METHODS) == set(METHODS)
