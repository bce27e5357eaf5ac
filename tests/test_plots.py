"""Figures show what the records say, and the same records make the same file."""

import matplotlib.pyplot as plt
import pytest
import synthetic

from ids_repro import metrics, plots, records


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("results") / "sweep.jsonl"
    synthetic.sweep(path)
    return records.read(path)


def words(figure):
    legends = [text.get_text() for axis in figure.axes for text in (axis.get_legend() or axis).findobj(plt.Text)]
    return " ".join([*legends, *(axis.get_title() for axis in figure.axes), figure.get_supxlabel()])


def test_fig4_has_both_panels_every_method_and_the_papers_marks(rows):
    figure = plots.fig4(rows)
    assert [axis.get_title() for axis in figure.axes] == list(plots.PANELS)
    text = words(figure)
    for method in synthetic.CAPACITIES_PPS:
        assert plots.METHODS[method].format(n=8) in text
    for part in ("paper: no loss up to", "sent by hping3", "sweep.jsonl", "profile smoke"):
        assert part in text
    assert "kpps" in figure.axes[0].get_xlabel()
    marks = {line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "^" and len(line.get_xdata())}
    assert marks == {300, 450}


def test_fig5_has_a_panel_for_each_method(rows):
    figure = plots.fig5(rows)
    titles = [axis.get_title() for axis in figure.axes]
    assert len([title for title in titles if title]) == len(plots.METHODS)
    assert all(
        len(axis.collections) == len(metrics.CPU) for axis, title in zip(figure.axes, titles, strict=True) if title
    )


def test_the_same_records_make_the_same_files_and_leave_no_figure_open(rows, tmp_path):
    for folder in ("a", "b"):
        plots.write(rows, tmp_path / folder)
    names = [f"{name}.{kind}" for name in ("fig4", "fig5") for kind in ("png", "svg")]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert plt.get_fignums() == []


@pytest.mark.filterwarnings("error")
def test_no_records_or_one_point_still_make_a_figure(rows, tmp_path):
    for some in ([], rows[:1]):
        figures = plots.write(some, tmp_path)
        assert ("no records yet: run notebook 05" in figures["fig4"].get_supxlabel()) == (not some)


def test_a_notebook_shows_a_figure(rows):
    assert plots.fig4(rows)._repr_png_().startswith(b"\x89PNG")


def test_every_method_has_a_look_and_a_panel():
    assert set(plots.LOOKS) == set(plots.METHODS)
    assert {method for part in plots.FIG5.values() for method in part} == set(plots.METHODS)
    assert {method for part in plots.PANELS.values() for method in part} == set(plots.METHODS)
