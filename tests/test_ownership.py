"""What root writes into another user's checkout is that user's, however the process ends; sbin is in the PATH."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from machine_state import until

from ids_repro import config, ownership

USER = 12_345  # nobody's number on this machine
PAPERMILL = Path(sys.executable).with_name("papermill")


@pytest.fixture(scope="module")
def theirs(project):
    """Return a copy of the project that belongs to another user."""
    for path in (project.root, *project.root.rglob("*")):
        os.chown(path, USER, USER, follow_symlinks=False)
    return project


def not_theirs(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.lstat().st_uid != USER)


def test_programs_in_sbin_are_found_by_an_ordinary_users_path():
    code = (
        "import os, shutil; from ids_repro.cli import main; main(['models', 'show', 'none']); print(os.environ['PATH'])"
    )
    environment = os.environ | {"PATH": "/usr/local/bin:/usr/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=config.ROOT, env=environment, capture_output=True, text=True
    )
    assert done.stdout == "/usr/local/bin:/usr/bin:/usr/sbin:/sbin\n"


@pytest.mark.root
def test_what_commands_write_is_the_owners_with_its_folders(theirs):
    data = theirs.root / "data"
    done = theirs.cli(
        "extract",
        data / "sample/lab.pcap.gz",
        "--labels",
        data / "sample/lab.csv",
        "--out",
        data / "new/folder/x.parquet",
    )
    assert done.returncode == 0, done.stderr
    assert (data / "new/folder/x.parquet").is_file()
    assert any((theirs.root / "build").iterdir())
    assert not_theirs(theirs.root) == []


@pytest.mark.root
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_a_command_has_written_when_it_is_killed_is_the_owners(theirs, number):
    code = """
import sys, time
from ids_repro import records
from ids_repro.config import RESULTS, DATA
from ids_repro.files import replaced
from ids_repro.ownership import prepare_process
prepare_process()
with replaced(DATA / "made" / sys.argv[1]) as file:
    file.write(b"x")
asked = {"dataset": "x", "labels": "y", "flow_rules": "text"}
records.append(RESULTS / f"{sys.argv[1]}.jsonl", "flows", asked, {"flows_by_class": {"DoS": 1}, "unit": "flows"})
print("written", flush=True)
time.sleep(60)
"""
    with theirs.popen(sys.executable, "-c", code, number.name) as process:
        assert process.stdout.readline() == "written\n", process.stderr.read()
        process.send_signal(number)
        process.communicate(timeout=20)
    assert (theirs.root / f"data/results/{number.name}.jsonl").is_file()
    assert not_theirs(theirs.root) == []


@pytest.mark.root
@pytest.mark.parametrize("number", [None, signal.SIGKILL])
def test_what_papermill_itself_writes_is_the_owners(theirs, number):
    book, out = theirs.root / "notebooks/06_report.ipynb", theirs.root / "out.ipynb"
    options = ("-p", "results", "data/example", "-p", "figures", "data/figures", "-k", "python3")
    with theirs.popen(PAPERMILL, book, out, *options) as process:
        if number:
            assert until(lambda: (theirs.root / "data/figures").is_dir(), patience_s=120)
            process.send_signal(number)
        _, err = process.communicate(timeout=240)
    assert process.returncode == (-number if number else 0), err
    assert out.stat().st_uid == USER
    assert until(lambda: not_theirs(theirs.root) == [], patience_s=30), not_theirs(theirs.root)
    out.unlink()
    shutil.rmtree(theirs.root / "data/figures")


@pytest.mark.root
def test_a_checkout_of_root_and_files_elsewhere_stay_as_they_are(tmp_path):
    (tmp_path / "checkout/data").mkdir(parents=True)
    (tmp_path / "checkout/data/x").write_text("")
    (tmp_path / "elsewhere").write_text("")
    ownership.give(tmp_path / "checkout/data/x", tmp_path / "checkout")
    assert (tmp_path / "checkout/data/x").stat().st_uid == 0
    os.chown(tmp_path / "checkout", USER, USER)
    (tmp_path / "checkout/link").symlink_to(tmp_path / "elsewhere")
    ownership.give(tmp_path / "elsewhere", tmp_path / "checkout")
    ownership.give_all(tmp_path / "checkout")
    assert not_theirs(tmp_path / "checkout") == []
    assert (tmp_path / "elsewhere").stat().st_uid == 0


@pytest.mark.root
def test_a_file_of_a_third_user_keeps_its_owner(tmp_path):
    (tmp_path / "x").write_text("")
    os.chown(tmp_path / "x", USER + 1, USER + 1)
    os.chown(tmp_path, USER, USER)
    ownership.give_all(tmp_path)
    assert (tmp_path / "x").stat().st_uid == USER + 1
