"""An exhibit is written, put on the page and shown in a notebook from one value; what it needs is computed once."""

import pandas as pd
import pytest
import synthetic

from ids_repro import records
from ids_repro.report.exhibit import Block, Exhibit, Results, circumstances, no_records, origin
from ids_repro.report.style import Chart

FRAME = pd.DataFrame(
    [["No Filter", "≥ 1,300", "–", "Sec. V-B2", "x" * 60], ["1-core Rawsocket", "", "+5.0 [1, 2]", "", ""]],
    columns=["Method", "Rate", "Rate", "Source", "Reason"],
)


def test_text_is_set_left_and_numbers_right():
    kinds = [column.kind for column in Block("", FRAME).columns()]
    assert kinds == ["word", "number", "number", "word", "text"]
    rule = Block("", FRAME).markdown().splitlines()[1]
    assert rule == "| --- | ---: | ---: | --- | --- |"


def test_markdown_is_caption_blocks_with_their_titles_and_notes():
    blocks = [Block("First", FRAME[["Method"]]), Block("Empty", FRAME[["Method"]][:0])]
    text = Exhibit("a", "Caption.", FRAME, blocks, "Notes.").markdown()
    rows = "| Method |\n| --- |\n| No Filter |\n| 1-core Rawsocket |"
    assert text == f"Caption.\n\n**First**\n\n{rows}\n\nNotes.\n"


def test_a_table_is_written_as_csv_and_markdown_and_shown_as_html(tmp_path):
    exhibit = Exhibit("a", "Caption <1>.", FRAME, [Block("", FRAME)], "Notes.", badges={"–": "none"})
    assert [path.name for path in exhibit.write(tmp_path / "new")] == ["a.csv", "a.md", "a.tex"]
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "new/a.csv", header=None, skiprows=1, dtype=str).fillna(""),
                                  FRAME.set_axis(range(5), axis=1))  # fmt: skip
    shown = exhibit._repr_html_()
    for part in ("Caption &lt;1&gt;.", "Notes.",
                 '<td class="word" style="text-align: left; white-space: nowrap">No Filter</td>',
                 '<td class="number" style="text-align: right; white-space: nowrap">≥ 1,300</td>',
                 '<span class="badge none">–</span>'):  # fmt: skip
        assert part in shown
    assert exhibit._repr_png_() is None


def test_a_figure_is_written_as_it_is_shown(tmp_path):
    chart = Chart(figsize=(2, 1), layout="constrained")
    chart.subplots().plot([1, 2])
    synthetic.costs(tmp_path)
    exhibit = Exhibit.of_chart(Results(records.read(tmp_path)), "flow_churn", "a", "Caption.", chart)
    assert exhibit.caption == "Caption. Records: flow_churn.jsonl, 4 trials."
    assert chart.get_supxlabel().replace("\n", " ").startswith("flow_churn.jsonl: profile smoke; machine")
    assert [path.name for path in exhibit.write(tmp_path)] == ["a.svg", "a.png", "a.pdf"]
    assert (tmp_path / "a.png").read_bytes() == exhibit._repr_png_()[0] and exhibit._repr_html_() is None
    inlined = exhibit.svg()
    assert inlined.startswith("<svg") and ' id="a-' in inlined
    assert inlined.replace("a-", "") in (tmp_path / "a.svg").read_text().replace("a-", "")


def test_without_records_a_figure_says_what_to_run():
    exhibit = Exhibit.of_chart(Results([]), "sweep", "a", "Caption.", Chart(figsize=(2, 1), layout="constrained"))
    assert exhibit.caption == "Caption. no records yet: run notebook 05" and not exhibit.has_records
    assert exhibit.chart.get_supxlabel() == no_records("sweep")


def test_what_exhibits_need_is_computed_once(tmp_path):
    synthetic.sweep(tmp_path / "sweep.jsonl")
    results, calls = Results(records.read(tmp_path)), []

    def count(some, *args):
        calls.append(args)
        return len(some.rows)

    assert results.once(count) == results.once(count) == len(results.rows)
    assert results.once(count, "binary") == results.once(count, "binary")
    assert calls == [(), ("binary",)]
    assert results.current("sweep") is results.current("sweep")
    assert results.current("sweep") == records.current(results.rows, "sweep")


def test_circumstances_name_each_value_once(tmp_path):
    synthetic.accuracy(tmp_path / "a.jsonl", seeds=2, profile="smoke")
    used = records.read(tmp_path)
    assert circumstances(used)["seed"] == "0, 1" and circumstances([]) == {}
    assert origin(used, ("profile", "seed", "labels")) == "profile smoke; seed 0, 1"


@pytest.mark.parametrize(("kind", "notebook"), [("sweep", "05"), ("flow_churn", "04")])
def test_no_records_names_the_notebook(kind, notebook):
    assert no_records(kind) == f"no records yet: run notebook {notebook}"
