"""A second reproduction runs what has changed and nothing else, and says why.

Here notebooks 01 to 03 have cells of their own that write small files at once. Like the real ones, 02 and 03 write the
same models, and 03 appends records. `tests/test_notebooks.py` runs the real ones twice.
"""

import json
import shutil
import sys
from pathlib import Path

import pytest

from ids_repro import stages

# The cells after that of the parameters. Imports that are not executed still say what the code is.
CELLS = {
    "01_dataset": """
from pathlib import Path
Path(out).parent.mkdir(exist_ok=True)
Path(out).write_bytes(Path(pcap).read_bytes()[:100] + Path(pcap.replace(".pcap.gz", ".csv")).read_bytes())
if not profile:
    from ids_repro.data import dataset
    from ids_repro.evaluate import flow_counts""",
    "02_training": """
from pathlib import Path
Path("data/models").mkdir(exist_ok=True)
[Path(f"data/models/{task}-0.npz").write_bytes(Path(data_file).read_bytes()) for task in ("binary", "multi")]
if not profile:
    from ids_repro.models import training
    from ids_repro.kernel import program""",
    "03_quantization": """
from pathlib import Path
Path("data/results").mkdir(exist_ok=True)
[path.write_bytes(path.read_bytes() + b"quantized") for path in Path("data/models").glob("*-0.npz")]
path = Path("data/results/calibration.jsonl")
path.write_text((path.read_text() if path.exists() else "") + '{"kind": "calibration"}\\n')
if not profile:
    from ids_repro.models import calibration, training""",
}
RUN = f"""
import sys
from ids_repro import stages
stages.run_all(sys.argv[1], stages.choose({tuple(CELLS)}), fresh=len(sys.argv) > 2)"""


@pytest.fixture(scope="module")
def reproduced(project):
    """Return a copy of the project in which the three notebooks ran, with a function that runs them again."""
    project.add_profile("other", trial_s=0.3)
    for name, code in CELLS.items():
        path = project.root / f"notebooks/{name}.ipynb"
        book = json.loads(path.read_text())
        cells = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
        book["cells"] = [cells[0], cells[1] | {"source": code.splitlines(keepends=True)}]
        path.write_text(json.dumps(book))

    def again(profile: str = "smoke", *fresh: str) -> dict[str, str]:
        done = project.run(sys.executable, "-c", RUN, profile, *fresh, timeout=600)
        assert done.returncode == 0, done.stderr
        lines = [line.split(": ", 1) for line in done.stdout.splitlines()]
        assert [name for name, _ in lines] == list(CELLS)
        return dict(lines)

    project.again = again
    assert set(again().values()) == {"runs: it has not run to its end yet"}
    return project


def ran(said: dict[str, str]) -> dict[str, str]:
    return {name[:2]: why.removeprefix("runs: ") for name, why in said.items() if why.startswith("runs: ")}


def test_nothing_changed_so_nothing_runs_and_it_says_so(reproduced):
    said = reproduced.again()
    assert ran(said) == {}
    assert all(why.startswith("skipped: unchanged: the notebook, its parameters, ") for why in said.values())


def test_a_file_that_is_touched_or_a_notebook_that_is_saved_with_outputs_has_not_changed(reproduced):
    (reproduced.root / "ids_repro/data/dataset.py").touch()
    path = reproduced.root / "notebooks/01_dataset.ipynb"
    stored, book = path.read_text(), json.loads(path.read_text())
    book["cells"][1]["execution_count"] = 3
    path.write_text(json.dumps(book))
    assert ran(reproduced.again()) == {}
    path.write_text(stored)


def test_changed_code_runs_the_notebooks_that_use_it_and_what_depends_on_what_they_write(reproduced):
    with (reproduced.root / "ids_repro/models/training.py").open("a") as file:
        file.write("# changed\n")
    said = ran(reproduced.again())
    assert said["02"] == "changed: code ids_repro/models/training.py"
    assert said["03"].startswith("changed: code ids_repro/models/training.py")
    assert "01" not in said
    with (reproduced.root / "bpf/ids.bpf.c").open("a") as file:
        file.write("// changed\n")
    assert ran(reproduced.again()) == {"02": "changed: code bpf/ids.bpf.c", "03": WROTE_AGAIN}


WROTE_AGAIN = (
    "changed: output data/models/binary-0.npz, output data/models/multi-0.npz"  # which notebook 02 has written anew
)


def test_outputs_that_are_gone_or_changed_are_made_again(reproduced):
    (reproduced.root / "data/interim/dataset.parquet").unlink()
    said = ran(reproduced.again())
    assert said["01"] == "changed: output data/interim/dataset.parquet, which is gone"
    (reproduced.root / "data/models/multi-0.npz").write_bytes(b"")
    said = ran(reproduced.again())
    assert said["02"] == "changed: output data/models/multi-0.npz" and "03" in said
    (reproduced.root / "notebooks/executed/03_quantization.ipynb").unlink()
    assert ran(reproduced.again()) == {"03": "changed: output notebooks/executed/03_quantization.ipynb, which is gone"}


def test_records_that_others_append_do_not_count_but_lost_ones_do(reproduced):
    path = reproduced.root / "data/results/calibration.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines(keepends=True)[-1])
    assert ran(reproduced.again()) == {}
    path.write_bytes(whole[: len(whole) // 2])
    assert ran(reproduced.again()) == {"03": "changed: output data/results/calibration.jsonl"}


def test_another_capture_other_parameters_and_fresh(reproduced):
    path = reproduced.root / "notebooks/01_dataset.ipynb"
    stored = path.read_text()
    shutil.copy(reproduced.root / "data/sample/lab2.pcap.gz", reproduced.root / "mine.pcap.gz")
    shutil.copy(reproduced.root / "data/sample/lab2.csv", reproduced.root / "mine.csv")
    path.write_text(stored.replace("data/sample/lab.pcap.gz", "mine.pcap.gz"))
    said = ran(reproduced.again())
    assert said["01"].startswith("changed: the notebook, input mine.pcap.gz, input mine.csv")
    assert said["02"].startswith("changed: input data/interim/dataset.parquet")
    lines = (reproduced.root / "mine.csv").read_text().splitlines(keepends=True)
    (reproduced.root / "mine.csv").write_text("".join(lines[:-1]))
    assert ran(reproduced.again())["01"] == "changed: input mine.csv"
    path.write_text(stored)
    assert ran(reproduced.again("other"))["02"].startswith("changed: parameter profile")
    assert ran(reproduced.again("other", "--fresh")) == dict.fromkeys(("01", "02", "03"), "--fresh runs all")


def test_a_notebook_that_fails_or_is_stopped_is_not_done(reproduced):
    reproduced.again()
    folder = reproduced.root / "data/interim"
    kept = folder.rename(folder.with_name("kept"))
    folder.write_text("a file where notebook 01 needs a folder")
    with pytest.raises(AssertionError, match="FileExistsError"):
        reproduced.again()
    folder.unlink()
    kept.rename(folder)
    assert ran(reproduced.again())["01"] == "it has not run to its end yet"


def test_every_path_of_a_stage_is_named_by_a_parameter_of_its_notebook_or_is_of_this_project():
    for stage in stages.STAGES:
        values = stages._parameters(stage.name)
        for one in (*stage.reads, *stage.writes):
            name, brace, _ = one.removeprefix("{").partition("}")
            assert name in values if brace else Path(one).parts[0] == "data", (stage.name, one)
        assert {name for pair in stage.captures for name in pair} <= set(values)
        assert set(stage.fresh) <= set(values)
