"""What goes wrong at the user's end is said in one sentence, with exit code 2 and without a traceback."""

import json
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import pytest

from ids_repro import config
from ids_repro.__main__ import main
from ids_repro.data import dataset

SCHEDULE = config.SAMPLE.with_suffix(".csv")
HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)


def record(frame: bytes) -> bytes:
    """One record of a pcap."""
    return struct.pack("<IIII", 1_700_000_000, 0, len(frame), len(frame)) + frame


ARP = record(bytes(12) + b"\x08\x06" + bytes(46))
IP = record(bytes(12) + b"\x08\x00\x45" + bytes(60))
CAPTURES = {
    "empty": (b"", "the file is empty or shorter than a pcap header"),
    "garbage": (bytes(range(100)), "not a pcap or pcapng file"),
    "broken pcapng": (b"\x0a\x0d\x0d\x0a" + bytes(60), "no IPv4 packet"),
    "no packet": (HEADER, "no IPv4 packet"),
    "only ARP": (HEADER + ARP, "no IPv4 packet"),
    "not Ethernet": (HEADER[:20] + b"\x93\0\0\0" + IP, "link type 147"),
}


@pytest.fixture
def refused(capsys):
    """Run a command that has to fail with exit code 2; returns its one sentence."""

    def run(*argv: str | Path) -> str:
        assert main([str(arg) for arg in argv]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"ids_repro {argv[0]}: ")
        assert err.count("\n") == 1
        return err

    return run


@pytest.fixture
def extract(refused, tmp_path):
    """Refuse a capture or a schedule, and write nothing."""

    def run(pcap: Path = config.SAMPLE, schedule: Path = SCHEDULE) -> str:
        out = tmp_path / "out.parquet"
        said = refused("extract", pcap, "--labels", schedule, "--out", out)
        assert not out.exists()
        return said

    return run


@pytest.mark.parametrize("what", CAPTURES)
def test_a_bad_capture(extract, tmp_path, what):
    content, message = CAPTURES[what]
    path = tmp_path / "bad.pcap"
    path.write_bytes(content)
    said = extract(path)
    assert message in said
    assert str(path) in said


def test_a_capture_that_is_not_there(extract, tmp_path):
    assert "there is no such file" in extract(tmp_path / "none.pcap")


def test_parity_looks_at_its_capture_before_it_trains(refused, tmp_path):
    assert "there is no such file" in refused("parity", "--pcap", tmp_path / "none.pcap")


def test_a_schedule_that_is_not_there(extract, tmp_path):
    assert "there is no such label schedule" in extract(schedule=tmp_path / "none.csv")


CHANGES = {
    "of another day": (lambda s: s.assign(start_us=s.start_us + 10**12, end_us=s.end_us + 10**12), "matches none"),
    "without a column": (lambda s: s.drop(columns="dst"), "the column 'dst' is missing"),
    "with another class": (lambda s: s.assign(label="Ransomware"), "'Ransomware' is no class; use Botnet, "),
    "without a row": (lambda s: s[:0], "matches none"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_schedule(extract, tmp_path, change):
    apply, message = CHANGES[change]
    apply(pd.read_csv(SCHEDULE)).to_csv(tmp_path / "bad.csv", index=False)
    assert message in extract(schedule=tmp_path / "bad.csv")


def test_a_schedule_that_is_no_csv(extract, tmp_path):
    (tmp_path / "bad.csv").write_bytes(bytes(range(128, 256)))
    assert "not a CSV file" in extract(schedule=tmp_path / "bad.csv")


def test_a_good_capture_is_extracted(tmp_path, capsys):
    out = tmp_path / "folder/out.parquet"
    assert (
        main(["extract", str(config.SAMPLE), "--labels", str(SCHEDULE), "--out", str(out), "--name", "mine", "--json"])
        == 0
    )
    assert json.loads(capsys.readouterr().out)["packets"] > 0
    assert dataset.load(out).meta["name"] == "mine"


def test_names_that_do_not_exist(refused):
    assert "there is no profile 'huge': use one of smoke, paper" in refused("reproduce", "--profile", "huge")
    assert "no notebook begins with 07; there are 01_dataset, " in refused("reproduce", "--only", "07")


@pytest.mark.parametrize("argv", [["reproduce", "--bogus", "1"], ["nothing"], [], ["parity", "--n", "many"]], ids=str)
def test_what_the_command_line_does_not_know(argv):
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code == 2


def test_a_program_that_is_not_installed(refused, monkeypatch, tmp_path):
    for program in ("ethtool", "ip", "cc"):
        (tmp_path / program).symlink_to(shutil.which(program))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "'hping3' is not installed: run 'make system'" in refused("reproduce", "--only", "05")


def test_models_that_are_not_there(project):
    done = project.cli("reproduce", "--only", "05")
    assert done.returncode == 2
    assert "binary-0.joblib: there is no such model yet; run notebooks 02 and 03 first" in done.stderr
    assert "Traceback" not in done.stderr


def as_nobody(*argv: str | Path) -> subprocess.CompletedProcess:
    """Run ids_repro as an ordinary user, in the real project."""
    drop = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    if subprocess.run([*drop, "test", "-r", config.__file__, "-a", "-x", sys.executable]).returncode:
        pytest.skip("this checkout lies where other users cannot read it")
    command = [*drop, sys.executable, "-B", "-m", "ids_repro", *map(str, argv)]
    return subprocess.run(command, cwd=config.ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("argv", [["parity"], ["reproduce"], ["reproduce", "--only", "05"], ["record"]], ids=" ".join)
def test_without_root(argv):
    done = as_nobody(*argv)
    assert (done.returncode, done.stdout) == (2, "")
    assert "needs root" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_file_that_the_user_may_not_read():
    with tempfile.NamedTemporaryFile(suffix=".pcap") as secret:  # mode 0600
        Path(secret.name).write_bytes(HEADER)
        done = as_nobody("extract", secret.name, "--labels", SCHEDULE, "--out", "/tmp/never.parquet")
        assert (done.returncode, done.stderr) == (
            2,
            f"ids_repro extract: {secret.name}: cannot be read (Permission denied)\n",
        )


def test_a_folder_that_the_user_may_not_write_to(tmp_path):
    done = as_nobody("extract", config.SAMPLE, "--labels", SCHEDULE, "--out", tmp_path / "folder/out.parquet")
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert "Permission denied" in done.stderr
    assert done.stderr.count("\n") == 1
