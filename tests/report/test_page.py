"""The report stands alone, counts every trial and has every table and figure."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import synthetic

from ids_repro import config, records
from ids_repro.__main__ import main
from ids_repro.config import UserError
from ids_repro.published import published
from ids_repro.report import page as report
from ids_repro.report.exhibit import Results, no_records


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    synthetic.everything(folder)
    return folder


@pytest.fixture(scope="module")
def rows(folder):
    return records.read(folder)


@pytest.fixture(scope="module")
def page(rows):
    return html(rows)


def html(rows):
    results = Results(rows)
    return report.html(results, report.sections(results))


def test_without_records_each_section_says_what_to_run():
    text = html([])
    assert "run notebook 04" in text and "run notebook 05" in text and "<svg" not in text
    empty = [exhibit for part in report.sections(Results([])).values() for exhibit in part]
    assert all(no_records("accuracy") in exhibit.markdown() for exhibit in empty if exhibit.name.startswith("table"))


def test_the_page_needs_no_other_file(page):
    assert not re.search(r'(?:src|href)="(?!#|https://)[^"]', page) and "<script" not in page
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', page)) <= set(ids)


def test_the_page_counts_trials_and_says_where_numbers_come_from(rows, page):
    counts = len([record for record in rows if record["kind"] == "sweep"]) - 1
    assert f"<td>sweep.jsonl</td><td>{counts}</td><td>1</td><td>0</td><td>{counts}</td>" in page
    assert "hping3 &lt;ended&gt; 1" in page
    made = rows[0]["provenance"]
    for part in (
        made["kernel"],
        made["cpu"],
        made["packages"]["numpy"],
        "lab capture",
        "interval_us",
        "accuracy.jsonl",
    ):
        assert part in page
    assert str(published()["table3"]["rows"]["nn_q16_c"]["accuracy"]) in page


def test_the_page_has_every_table_and_figure(page):
    assert page.count("<svg") == 5
    for part in (
        "nn_fused_packed",
        "300 [300, 700]",
        "Fig. 4. ",
        "Fig. 5a. ",
        "Fig. 5b. ",
        "XDP_DRV (NN q16)",
    ):
        assert part in page


def test_the_command_draws_everything_again_to_the_same_bytes_and_the_claims_as_files(folder, page, tmp_path):
    assert main(["figures", "--results", str(folder), "--figures", str(tmp_path)]) == 0
    made = {path.name for path in tmp_path.iterdir()}
    assert {"fig4.pdf", "fig5a.svg", "fig5b.png", "flow_churn.pdf", "kernel_cost.md", "throughput.csv"} <= made
    assert {"claims.csv", "claims.md", "table2.md", "table3.csv", "per_packet.pdf", "discrepancies.md"} <= made
    assert {"losses.svg", "losses.tex"} <= made
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page
    assert "| holds: better |" in (tmp_path / "claims.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("argv", "said"),
    [((), "no record of a finished trial"), (("--methods", "bogus"), "there is no method 'bogus' to draw")],
)
def test_the_command_says_what_is_wrong_in_a_sentence_and_writes_nothing(argv, said, tmp_path, capsys):
    results = tmp_path / "results"
    if argv:
        synthetic.sweep(results / "sweep.jsonl", repeats=1)
    assert main(["figures", "--results", str(results), "--figures", str(tmp_path / "made"), *argv]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


def test_nothing_takes_the_place_of_a_report_without_a_finished_trial(rows, tmp_path):
    report.write_all(rows, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for none in ([], [row for row in rows if row["status"] != "ok"]):
        with pytest.raises(UserError, match="no record of a finished trial"):
            report.write_all(none, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_notebook_06_refuses_a_folder_without_records(project):
    figures, out = project.root / "figures", project.root / "out.ipynb"
    (figures / "report.html").write_text("a good report")
    before = sorted(figures.rglob("*"))
    papermill = Path(sys.executable).with_name("papermill")
    done = project.run(papermill, "notebooks/06_report.ipynb", out, "-k", "python3", "-p", "results", "data/none")
    assert done.returncode != 0 and "data/none: no record of a finished trial is there; give the folder" in done.stderr
    assert sorted(figures.rglob("*")) == before and (figures / "report.html").read_text() == "a good report"


NO_ROOM = {
    "full": ('mount -t tmpfs -o size=256k none "$0" && mkdir "$0/a"', "No space left on device"),
    "read-only": ('mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"', "Read-only file system"),
}


@pytest.mark.root
@pytest.mark.parametrize("what", NO_ROOM)
def test_without_room_there_is_one_sentence_and_no_cut_figure(folder, tmp_path, what):
    prepare, reason = NO_ROOM[what]
    inside = tmp_path / "small"
    (inside / "a").mkdir(parents=True)
    command = f'{prepare} && mkdir -p "$0/a"; "$@"; code=$?; cp -a "$0/a" "$0.kept"; exit $code'
    argv = [sys.executable, "-m", "ids_repro", "figures", "--results", folder, "--figures", inside / "a"]
    apart = ["unshare", "--mount", "sh", "-c", command, inside, *argv]
    done = subprocess.run(apart, cwd=config.ROOT, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(f"ids_repro figures: {inside}/a/\\S+: cannot be written \\({reason}\\); .*\n", done.stderr)
    kept = list((tmp_path / "small.kept").iterdir())
    assert bool(kept) == (what == "full") and not [path for path in kept if path.name.startswith(".")]
    report.write_all(records.read(folder), tmp_path / "whole")
    assert all(path.read_bytes() == (tmp_path / "whole" / path.name).read_bytes() for path in kept)
