"""Table I from records: the paper's statement beside what the kernel did, and a verdict."""

from ids_repro import config, published, records
from ids_repro.kernel.constraints import CASES
from ids_repro.report import constraints
from ids_repro.report.exhibit import Results

REFUSED = {"refused_by": "verifier", "message": "R1 | offset", "tail_calls": None}
LOADED = {"refused_by": "", "message": "", "tail_calls": None}


def made(folder, name, broken, alternative=None):
    asked = {"constraint": name, "profile": "smoke"}
    return records.append(
        folder / "constraint.jsonl", "constraint", asked, {"broken": broken, "alternative": alternative}
    )


def test_every_program_is_a_row_of_the_papers_table():
    rows = published.published()["table1"]["rows"]
    assert set(rows) == set(CASES)
    assert (config.BPF / "constraints.bpf.c").read_text().count("defined(IDS_") == len(rows)


def test_a_constraint_holds_if_what_breaks_it_is_refused(tmp_path):
    rows = [made(tmp_path, "bounds", REFUSED, LOADED), made(tmp_path, "stack", LOADED, LOADED)]
    table = constraints.table(Results(rows)).set_index("constraint")
    assert table.loc["Array bound checking", ["ours", "alternative_ours", "verdict"]].tolist() == [
        "refused",
        "loaded",
        "holds",
    ]
    assert table.loc["Maximum stack space", ["ours", "verdict"]].tolist() == ["loaded", "differs"]


def test_tail_calls_are_counted(tmp_path):
    for calls, verdict in ((33, "differs"), (32, "holds")):
        rows = [made(tmp_path, "tail_calls", LOADED | {"tail_calls": calls})]
        line = constraints.table(Results(rows)).iloc[0]
        assert (line["ours"], line["verdict"]) == (f"{calls} calls", verdict)


def test_without_records_the_exhibit_says_what_to_run():
    exhibit = constraints.exhibit(Results([]))
    assert exhibit.frame.empty and "run notebook 04" in exhibit.caption
