"""However a command ends, it says so in one sentence and an exit code; whatever its streams and its files are like."""

import os
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import pyarrow as pa
import pytest
from machine_state import heed_signals, until

from ids_repro import config
from ids_repro.cli import make_parser
from ids_repro.cli.ending import KEPT, exit_code, sentence

IDS = [sys.executable, "-m", "ids_repro"]
EXTRACT = ["extract", config.SAMPLE, "--out"]
COMMANDS = [*make_parser()._subparsers._group_actions[0].choices]


def run(*argv: object, **kwargs: object) -> subprocess.CompletedProcess:
    """Run a command; its streams are pipes unless the caller says otherwise."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | kwargs
    return subprocess.run([*IDS, *map(str, argv)], cwd=config.ROOT, **pipes)


def in_shell(streams: str, *argv: object) -> subprocess.CompletedProcess:
    """Run a command whose streams a shell has changed."""
    argv = ["bash", "-c", f'exec "$@" {streams}', "bash", *IDS, *map(str, argv)]
    return subprocess.run(argv, cwd=config.ROOT, capture_output=True, text=True)


def made_of(error: str) -> Exception:
    """Make a real error of a library."""
    try:
        if error == "zlib":
            zlib.decompress(b"none")
        elif error == "pyarrow":
            pa.ipc.open_file(pa.py_buffer(b"none"))
        elif error == "subprocess":
            subprocess.run(["sh", "-c", "echo 'no such link' >&2; exit 3"], check=True, capture_output=True)
        elif error == "two files":
            Path("/nowhere/a").rename("/nowhere/b")
        elif error == "circle":
            Path("/proc/self/cwd/circle").resolve(strict=True)
        elif error == "memory":
            bytearray(2**62)
        else:
            __import__("a_library_that_is_not_there")
    except Exception as made:
        return made
    raise AssertionError(error)


SENTENCES = {
    "zlib": "zlib: Error -3 while decompressing data: incorrect header check",
    "pyarrow": "pyarrow: ",
    "subprocess": "subprocess: no such link",
    "two files": "/nowhere/a -> /nowhere/b: No such file or directory",
    "circle": "Symlink loop from '/" if sys.version_info < (3, 13) else "/",
    "memory": "this machine's memory does not suffice",
    "library": f"{sys.executable} has no 'a_library_that_is_not_there': run 'make system venv', and use ",
}


@pytest.mark.parametrize("what", SENTENCES)
def test_an_error_that_is_not_ours_is_a_sentence(capsys, monkeypatch, tmp_path, what):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "circle").symlink_to("circle")

    def fail() -> int:
        raise made_of(what)

    assert exit_code("extract", fail) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"ids_repro extract: {SENTENCES[what]}") and said.count("\n") == 1


@pytest.mark.parametrize(
    "error", [ValueError("a"), KeyError("a"), AssertionError(), ModuleNotFoundError(name="ids_repro.a")]
)
def test_a_fault_of_ours_keeps_its_traceback(error):
    assert sentence(error) is None

    def fail() -> int:
        raise error

    with pytest.raises(type(error)):
        exit_code("extract", fail)


@pytest.mark.parametrize("command", COMMANDS)
def test_only_commands_with_trials_say_that_they_stay(capsys, command):
    def interrupted() -> int:
        raise KeyboardInterrupt

    assert exit_code(command, interrupted) == 130
    said = capsys.readouterr().err
    assert said.startswith(f"ids_repro {command}: interrupted") and said.count("\n") == 1
    assert ("trials" in said, "resumes" in said) == (command in ("reproduce", "sweep"),) * 2
    assert ("'status' shows" in said) == (command in ("attach", "swap", "detach"))


def test_a_name_with_a_newline_forges_no_second_line(capsys):
    def fail() -> int:
        raise config.UserError("a\nids_repro detach: v0: detached")

    assert exit_code("attach", fail) == 2
    assert capsys.readouterr().err == "ids_repro attach: a\\nids_repro detach: v0: detached\n"


def test_what_an_interrupted_command_says_belongs_to_a_command():
    assert set(KEPT) <= set(COMMANDS)


@pytest.mark.parametrize("json", [[], ["--json"]])
def test_a_reader_that_has_enough_is_no_error(tmp_path, json):
    ends = os.pipe()
    os.close(ends[0])
    done = run(*EXTRACT, tmp_path / "x.parquet", *json, stdout=ends[1])
    os.close(ends[1])
    assert done.returncode == 0 and (tmp_path / "x.parquet").is_file()
    assert "rror" not in done.stderr and "Traceback" not in done.stderr


SAYING = {  # commands that print something, and whose work is done by then
    "extract": (*EXTRACT, "{tmp}/x.parquet"),
    "extract --json": (*EXTRACT, "{tmp}/x.parquet", "--json"),
    "figures": ("figures", "--results", config.DATA / "example", "--figures", "{tmp}"),
}


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("what", SAYING)
def test_an_output_that_is_full_is_named(tmp_path, what, unbuffered):
    argv = [str(word).format(tmp=tmp_path) for word in SAYING[what]]
    with Path("/dev/full").open("w") as full:
        done = run(*argv, stdout=full, env=os.environ | {"PYTHONUNBUFFERED": unbuffered})
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"ids_repro {argv[0]}: standard output: No space left on device"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_command_that_cannot_say_anything_on_standard_error_does_its_work(tmp_path, unbuffered):
    with Path("/dev/full").open("w") as full:
        kwargs = {"stderr": full, "env": os.environ | {"PYTHONUNBUFFERED": unbuffered}}
        done = run("extract", config.SAMPLE, "--out", tmp_path / "x.parquet", **kwargs)
        wrong = run("extract", "/nowhere", "--out", tmp_path / "y.parquet", **kwargs)
    assert (done.returncode, wrong.returncode) == (0, 2)
    assert (tmp_path / "x.parquet").is_file()


def test_progress_that_cannot_be_shown_does_not_stop_the_work(tmp_path):
    with Path("/dev/full").open("w") as full:
        assert run("extract", config.SAMPLE, "--out", tmp_path / "a.parquet", stderr=full).returncode == 0
    assert (tmp_path / "a.parquet").is_file()


@pytest.mark.parametrize("streams", [">&-", "2>&-", "<&-", ">&- 2>&- <&-", ">/dev/full 2>/dev/full", "2>/dev/full"])
def test_streams_that_are_closed_or_full_end_in_no_traceback_and_get_into_no_file(tmp_path, streams):
    done = in_shell(streams, *EXTRACT, tmp_path / "x.parquet")
    assert done.returncode == (2 if ">/dev/full" in streams.split() else 0), done.stderr
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr
    data = (tmp_path / "x.parquet").read_bytes()
    assert data[:4] == data[-4:] == b"PAR1"


def test_a_name_that_no_encoding_knows_is_printed_escaped(tmp_path):
    out = os.fsencode(tmp_path) + b"/\xff\xfe\n.parquet"
    done = subprocess.run([*IDS, *EXTRACT, out], cwd=config.ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert Path(os.fsdecode(out)).is_file() and b"\\udcff" in done.stdout


def test_a_name_that_is_too_long_is_named(tmp_path):
    long = tmp_path / ("a" * 256)
    for argv in ((*EXTRACT, long), ("extract", long), ("models", "show", long), ("detect", "--train", long)):
        done = run(*argv)
        assert done.returncode == 2, done.stderr
        assert f"{long}: " in done.stderr and "File name too long" in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_python_without_the_libraries_is_told_which_has_them():
    argv = [sys.executable, "-S", "-m", "ids_repro", "models", "show", "a.npz"]
    done = subprocess.run(argv, cwd=config.ROOT, capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
    assert (done.returncode, done.stdout) == (2, "")
    assert "has no 'numpy': run 'make system venv'" in done.stderr and done.stderr.count("\n") == 1


BROKEN = {
    "raise SystemExit(3)": "the library 'pyarrow' cannot be imported (SystemExit: 3)",
    "raise BaseException": "the library 'pyarrow' cannot be imported (BaseException)",
    "raise RuntimeError('no kernel')": "the library 'pyarrow' cannot be imported (RuntimeError: no kernel)",
    "import ctypes; ctypes.CDLL('none.so')": "the library 'pyarrow' cannot be imported (OSError: none.so: ",
    "print 'hello'": "/pyarrow/__init__.py' cannot be imported (SyntaxError: ",
    "import pyarrow.none": "has no 'pyarrow.none'",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_library_that_cannot_be_imported_is_named(tmp_path, text):
    (tmp_path / "pyarrow").mkdir()
    (tmp_path / "pyarrow/__init__.py").write_text(text + "\n")
    done = run(*EXTRACT, tmp_path / "x.parquet", env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.count("\n") == 1 and BROKEN[text] in done.stderr and "run 'make system venv'" in done.stderr


def training(folder: Path, **kwargs: object) -> subprocess.Popen:
    """Start a training, which takes longer than a test may; it has begun."""
    argv = [*IDS, "train-detector", "--out", str(folder / "a.npz")]
    process = subprocess.Popen(argv, cwd=config.ROOT, stderr=subprocess.PIPE, **kwargs)
    os.set_blocking(process.stderr.fileno(), False)
    process.said = b""

    def begun() -> bool:
        process.said += process.stderr.read() or b""
        return b"training" in process.said

    assert until(begun, patience_s=60), process.said
    return process


@pytest.mark.parametrize(
    "numbers", [[signal.SIGINT], [signal.SIGTERM], [signal.SIGHUP], [signal.SIGHUP, signal.SIGHUP]]
)
def test_a_signal_ends_a_command_as_ctrl_c_does(tmp_path, numbers):
    """A terminal that closes sends SIGHUP, and then its shell does."""
    with training(tmp_path, preexec_fn=heed_signals) as process:
        for number in numbers:
            process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.endswith(b"ids_repro train-detector: interrupted\n")
    assert b"Traceback" not in err and list(tmp_path.iterdir()) == []


def test_under_nohup_a_command_goes_on(tmp_path):
    with training(tmp_path, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) as process:
        process.send_signal(signal.SIGHUP)
        assert not until(lambda: process.poll() is not None, patience_s=0.5)
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 130


def test_signals_are_as_before_after_a_command():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    assert exit_code("extract", lambda: 1) == 1
    assert {number: signal.getsignal(number) for number in before} == before


def test_the_exit_code_after_ctrl_c_is_130_wherever_it_came():
    """Python kills itself with SIGINT at its end if Ctrl-C came while a text was executed, as in a dataclass."""
    code = """
import os, runpy, signal
import ids_repro.cli
def main():
    try:
        exec("os.kill(os.getpid(), signal.SIGINT)")
    except KeyboardInterrupt:
        return 130
ids_repro.cli.main = main
runpy.run_module("ids_repro", run_name="__main__")
"""
    argv = [sys.executable, "-c", code]
    assert subprocess.run(argv, cwd=config.ROOT, preexec_fn=heed_signals).returncode == 130
