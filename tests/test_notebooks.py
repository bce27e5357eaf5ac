"""The seven notebooks: their form, their parameters, and one run through all of them from the command line."""

import ast
import json
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from machine_state import load_processes, until

from ids_repro import config, notebooks, records
from ids_repro.config import UserError
from ids_repro.network.namespaces import leftovers
from ids_repro.stages import STAGES
from ids_repro.sweep.methods import choose_methods

NAMES = ["01_dataset", "02_training", "03_quantization", "04_inference", "05_packet_processing", "06_report"]
NAMES += ["07_detector"]
PAPERMILL = Path(sys.executable).with_name("papermill")
SAFE = ("-c", f"safe.directory={config.ROOT}")
DRAWN = ("fig4", "fig5a", "fig5b", "flow_churn", "blinding", "per_packet", "detector", "losses")
TABLES = ("blinding", "claims", "detector", "discrepancies", "kernel_cost", "losses", "robustness")
TABLES += ("table1", "table2", "table3", "throughput")
MADE = [f"{name}.{kind}" for name in DRAWN for kind in ("pdf", "png", "svg")] + ["report.html"]
MADE = sorted([*MADE, *(f"{name}.{kind}" for name in TABLES for kind in ("csv", "md", "tex"))])


def code(name: str) -> list[nbformat.NotebookNode]:
    """Return the code cells of a notebook, as git has it, because a user may have run and saved it."""
    path = config.NOTEBOOKS / f"{name}.ipynb"
    stored = subprocess.run(["git", *SAFE, "show", f":notebooks/{path.name}"], cwd=config.ROOT, capture_output=True)
    book = nbformat.reads(path.read_text() if stored.returncode else stored.stdout.decode(), as_version=4)
    nbformat.validate(book)
    return [cell for cell in book.cells if cell.cell_type == "code"]


def test_there_are_seven():
    assert sorted(stage.name for stage in STAGES) == NAMES
    assert sorted(path.stem for path in config.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb") if "Copy" not in path.stem) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_it_is_short_and_has_no_code_of_its_own(name):
    cells = code(name)
    assert len(cells) <= 10
    assert max(len(cell.source.splitlines()) for cell in cells) <= 12
    for cell in cells:  # parsing also refuses magics and !commands
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, (ast.FunctionDef, ast.Lambda, ast.ClassDef, ast.For, ast.While)), cell.source
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not node.value.startswith(("/", "~")), node.value


@pytest.mark.parametrize("name", NAMES)
def test_it_is_stored_without_results(name):
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code(name))


@pytest.mark.parametrize("name", NAMES)
def test_its_first_code_cell_is_its_parameters_and_the_second_refuses_others(name):
    first, second, *rest = code(name)
    assert first.metadata.get("tags") == ["parameters"]
    assert not any(cell.metadata.get("tags") for cell in (second, *rest))
    assert all(isinstance(node, ast.Assign) for node in ast.parse(first.source).body)
    assert 'profile = "smoke"' in first.source
    assert "notebooks.refuse_unknown(In)" in second.source
    assert "profile" in notebooks.parameters(name)


def test_an_unknown_parameter_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(
        UserError,
        match="06_report has no parameter 'bogus'; it has dataset, figures, methods, profile, results, shipped, w",
    ):
        notebooks.run("06_report", {"bogus": 1}, tmp_path / "out.ipynb")
    assert list(tmp_path.iterdir()) == []


def test_a_notebook_is_not_executed_into_itself_or_into_a_device():
    source = config.NOTEBOOKS / "06_report.ipynb"
    before = source.read_bytes()
    for out, why in ((source, "is read as an input"), (Path("/dev/null"), "is a device")):
        with pytest.raises(UserError, match=f"{out}: {why}"):
            notebooks.run("06_report", {}, out)
    assert source.read_bytes() == before


def test_the_executed_copy_of_a_notebook_that_fails_stays_and_says_where_it_is(tmp_path):
    values = {"results": str(config.DATA / "example"), "figures": str(tmp_path / "figures"), "methods": "bogus"}
    (tmp_path / "out.ipynb").write_text("older")
    with pytest.raises(UserError, match=rf"06_report: .*bogus(?s:.)*{tmp_path}/out\.ipynb"):
        notebooks.run("06_report", values, tmp_path / "out.ipynb")
    book = json.loads((tmp_path / "out.ipynb").read_text())
    assert book["metadata"]["papermill"]["output_path"] == str(tmp_path / "out.ipynb")
    assert any(output.get("ename") == "UserError" for cell in book["cells"] for output in cell.get("outputs", ()))
    assert {path.name for path in tmp_path.iterdir()} == {"out.ipynb"}


def test_a_kernel_of_the_users_own_by_the_name_python3_is_not_used(tmp_path):
    (tmp_path / "kernels/python3").mkdir(parents=True)
    spec = {"argv": ["/bin/false", "{connection_file}"], "display_name": "mine", "language": "python"}
    (tmp_path / "kernels/python3/kernel.json").write_text(json.dumps(spec))
    code = """
import os, sys
from pathlib import Path
from jupyter_client.kernelspec import get_kernel_spec
from ids_repro import notebooks
assert get_kernel_spec("python3").argv[0] == "/bin/false"
folder = sys.argv[1]
notebooks.run("06_report", {"results": "data/example", "figures": folder + "/figures"}, Path(folder, "out.ipynb"))
"""
    argv = [sys.executable, "-c", code, str(tmp_path)]
    environment = os.environ | {"JUPYTER_PATH": str(tmp_path)}
    done = subprocess.run(argv, cwd=config.ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "figures/report.html").is_file()


def test_refuse_unknown_looks_only_at_what_papermill_put_in():
    own = "profile = 'smoke'\nn = 1"
    notebooks.refuse_unknown(["", own, "bogus = 1"])
    notebooks.refuse_unknown(["", own, "# Parameters\nprofile = 'paper'\nn = 2"])
    with pytest.raises(UserError, match="'bogus'; it has n, profile"):
        notebooks.refuse_unknown(["", own, "# Parameters\nbogus = 1"])


def test_a_table_has_text_left_numbers_right_four_digits_and_no_row_numbers():
    frame = pd.DataFrame(
        {"row": ["DT (C)", "NN"], "flows": [32174, None], "accuracy": [0.92287, 1.0], "ns": [17.512, 52880.4]}
    )
    shown = notebooks.table(frame)
    assert [column.kind for column in shown.blocks[0].columns()] == ["word", "number", "number", "number"]
    assert shown.blocks[0].frame.to_numpy().tolist() == [
        ["DT (C)", "32,174", "0.9229", "17.51"],
        ["NN", "", "1.000", "52,880"],
    ]
    cells = re.findall(r"<t[dh][^>]*text-align: (\w+)[^>]*>([^<]*)<", shown._repr_html_())
    assert cells[:5] == [
        ("left", "row"),
        ("right", "flows"),
        ("right", "accuracy"),
        ("right", "ns"),
        ("left", "DT (C)"),
    ]


def test_a_table_keeps_an_index_of_its_own_and_says_what_of_a_long_one_is_not_shown():
    by_class = notebooks.table(pd.DataFrame({"flows": [1, 2]}, index=["DoS", "Normal"])).blocks[0].frame
    assert by_class.to_numpy().tolist() == [["DoS", "1"], ["Normal", "2"]]
    pairs = notebooks.table({"dt": {"numpy_c": 0, "c_xdp": 0}, "nn_q16": {"numpy_c": 3, "c_xdp": 0}}).blocks[0].frame
    assert pairs.to_numpy().tolist() == [["dt", "0", "0"], ["nn_q16", "3", "0"]]
    long = notebooks.table(pd.DataFrame({"trial": [f"t{n}" for n in range(100)], "sent": range(100)}))
    assert long.notes == "The first and the last 30 of 100 lines."
    assert len(long.blocks[0].frame) == 60 and long.blocks[0].frame.iloc[-1].tolist() == ["t99", "99"]


@pytest.fixture(scope="module")
def reproduced(project):
    """A copy of the project in which all seven notebooks ran, by the command that users run."""
    project.add_profile("tiny", trial_s=0.3)
    project.add_profile("long", trial_s=30.0)
    done = project.run(sys.executable, "-m", "ids_repro", "reproduce", "--profile", "tiny", timeout=600)
    assert done.returncode == 0, done.stderr
    return project


@pytest.mark.root
@pytest.mark.quiet
@pytest.mark.bpf
def test_all_seven_make_the_tables_figures_and_the_report(reproduced):
    figures = reproduced.root / "figures"
    assert (
        sorted(
            path.name
            for path in figures.iterdir()
            if path.is_file() and path.stat().st_size and path.name != "README.md"
        )
        == MADE
    )
    assert sorted(path.stem for path in (reproduced.root / "notebooks/executed").glob("*.ipynb")) == NAMES
    report = (figures / "report.html").read_text()
    assert report.count("<svg") + report.count("data:image/png") >= 2
    assert not re.search(r"""(src|href)=["'](?!#|data:)""", report), "the report is one page"


@pytest.mark.root
@pytest.mark.quiet
@pytest.mark.bpf
def test_a_second_reproduction_with_nothing_changed_runs_nothing_and_takes_less_than_15_s(reproduced):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = reproduced.cli("reproduce", "--profile", "tiny")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)  # CPU time: another load does not count
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 15
    estimate, *lines, _ = done.stdout.splitlines()
    assert estimate.startswith("profile tiny: about ") and estimate.endswith(
        " if every notebook has to run; a rerun resumes"
    )
    said = [line.split(": ")[:2] for line in lines]
    assert said == [[stage.name, "skipped"] for stage in STAGES], done.stdout


@pytest.mark.root
@pytest.mark.quiet
@pytest.mark.bpf
def test_no_executed_notebook_holds_a_warning_a_bar_or_a_table_of_pandas(reproduced):
    outputs = [
        (path.stem, output)
        for path in sorted((reproduced.root / "notebooks/executed").glob("*.ipynb"))
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", ())
    ]
    assert {name for name, _ in outputs} == set(NAMES)
    for name, output in outputs:
        assert output.get("name") != "stderr", (name, output["text"])
        shown = output.get("data", {})
        assert "application/vnd.jupyter.widget-view+json" not in shown, name
        assert 'class="dataframe"' not in shown.get("text/html", ""), name
        if "image/png" in shown:
            size = output["metadata"]["image/png"]
            assert 0 < size["width"] <= 900 and 0 < size["height"] <= 540, (name, size)


@pytest.mark.root
@pytest.mark.quiet
@pytest.mark.bpf
def test_every_number_has_its_record(reproduced):
    rows = records.read(reproduced.root / "data/results")
    assert {row["status"] for row in rows if row["kind"] != "sweep"} == {"ok"}
    for kind in ("accuracy", "detector", "discrepancy", "end_to_end", "inference", "per_packet", "sweep"):
        assert records.current(rows, kind), kind
    confusions = {
        (r["asked"]["task"], r["asked"]["row"]): r["raw"]["confusion"] for r in records.current(rows, "accuracy")
    }
    for task, classes in config.TASKS.items():
        assert {len(c) for (t, _), c in confusions.items() if t == task} == {len(classes)}
        # The program in the kernel decides every test flow as user-space C does.
        assert confusions[task, "nn_q16_kernel"] == confusions[task, "nn_q16_c"]
        assert confusions[task, "dt_kernel"] == confusions[task, "dt_c"]
    assert {r["asked"]["profile"] for r in rows if r["kind"] == "sweep"} == {"tiny"}
    assert len(records.current(rows, "sweep")) == 2 * len(choose_methods("all"))


@pytest.mark.root
@pytest.mark.quiet
@pytest.mark.bpf
def test_the_inputs_are_untouched(reproduced):
    for name in NAMES:
        path = Path("notebooks") / f"{name}.ipynb"
        assert (reproduced.root / path).read_bytes() == (config.ROOT / path).read_bytes()


@pytest.mark.root
@pytest.mark.quiet
@pytest.mark.bpf
def test_it_runs_from_another_folder_as_in_jupyterlab_with_papermill_itself(reproduced, tmp_path):
    book, out = reproduced.root / "notebooks/06_report.ipynb", tmp_path / "out.ipynb"
    options = ("-p", "profile", "tiny", "-p", "figures", "data/interim/elsewhere", "-k", "python3")
    done = reproduced.run(PAPERMILL, book, out, *options, cwd=reproduced.root / "notebooks")
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower()
    assert sorted(path.name for path in (reproduced.root / "data/interim/elsewhere").iterdir()) == MADE
    assert json.loads(out.read_text())["metadata"]["papermill"]["parameters"]["profile"] == "tiny"


@pytest.mark.root
@pytest.mark.quiet
@pytest.mark.bpf
def test_papermill_itself_is_stopped_at_an_unknown_parameter(reproduced, tmp_path):
    book = reproduced.root / "notebooks/06_report.ipynb"
    done = reproduced.run(PAPERMILL, book, tmp_path / "out.ipynb", "-p", "bogus", "1", "-k", "python3", cwd=tmp_path)
    assert done.returncode != 0
    assert (
        "this notebook has no parameter 'bogus'; it has dataset, figures, methods, profile, results, shipped, width_in"
        in done.stderr
    )


@pytest.mark.root
@pytest.mark.quiet
@pytest.mark.bpf
@pytest.mark.parametrize(("number", "send"), [(signal.SIGINT, os.killpg), (signal.SIGTERM, os.kill)])
def test_a_signal_to_the_driver_cleans_up_after_the_kernel_too(reproduced, nothing_left, number, send):
    command = (sys.executable, "-m", "ids_repro", "reproduce", "--profile", "long", "--only", "05")
    with reproduced.popen(*command) as process:
        assert until(lambda: "ids-server" in leftovers(), patience_s=30)
        send(process.pid, number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    # the notebook's kernel is interrupted too, and may print lines after this one
    assert "ids_repro reproduce: interrupted; finished trials and files stay, a rerun resumes" in err.splitlines()


@pytest.mark.root
@pytest.mark.quiet
@pytest.mark.bpf
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_to_papermill_itself_leaves_no_network(reproduced, tmp_path, nothing_left, number):
    book = reproduced.root / "notebooks/05_packet_processing.ipynb"
    with reproduced.popen(PAPERMILL, book, tmp_path / "out.ipynb", "-p", "profile", "long", "-k", "python3") as process:
        assert until(lambda: "ids-server" in leftovers(), patience_s=30)
        process.send_signal(number)
        process.communicate(timeout=30)
    assert until(lambda: leftovers() == [], patience_s=20)
    assert until(lambda: load_processes() == [], patience_s=5)
