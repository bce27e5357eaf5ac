"""Whatever somebody types, the command line ends with a known exit code, without a traceback and with its inputs whole.

Hypothesis changes valid command lines and damages their files, by default for some 20 s: IDS_ANYTHING_S=300 makes it
five minutes.
"""

import hashlib
import itertools
import os
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_lines import NASTY, bases, command_lines, write_inputs
from hypothesis import HealthCheck, Phase, given, seed, settings
from machine_state import heed_signals

SECONDS = float(os.environ.get("IDS_ANYTHING_S", 20))
MOST_S, END_S = 12.0, 60.0  # how long a command may go on before it gets SIGTERM, and then to put things back
# Root runs the commands with network, mounts and /run/netns of their own, where no name is that of a real interface,
# and where nothing but the tests' own folder ($0) can be written.
APART = (
    'mkdir -p /run/netns && mount --make-rprivate / && mount --bind "$0" "$0" && mount -o remount,bind,ro / && '
    "mount -t tmpfs tmpfs /run/netns && mount -t bpf bpf /sys/fs/bpf && ip link set lo up && "
    "echo apart && exec sleep inf"
)
NEEDS_ONE = ("status", "swap", "samples", "detach")  # commands for a program that is attached


@pytest.fixture(scope="module")
def inputs(project, models, detector, tmp_path_factory) -> Path:
    """Return a folder of files of every kind that commands read, and of what is no file."""
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder, models, detector)
    project.save(models)
    done = project.cli("extract", folder / "a.pcap", "--labels", folder / "a.csv", "--out", folder / "a.parquet")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def apart(tmp_path_factory) -> Iterator[list[str]]:
    """Return words that let a command run apart from this machine if they stand before it; none for a usual user."""
    if os.geteuid() != 0:
        yield []
        return
    argv = ["unshare", "--net", "--mount", "sh", "-c", APART, tmp_path_factory.getbasetemp()]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, preexec_fn=heed_signals) as process:
        assert process.stdout.readline() == b"apart\n"
        yield ["nsenter", "-t", str(process.pid), "-n", "-m"]
        process.kill()


def content(path: Path) -> tuple:
    """Return what kind of thing is at a path, and what is in it."""
    kind = stat.S_IFMT(path.lstat().st_mode)
    if stat.S_ISREG(kind):
        return kind, hashlib.sha256(path.read_bytes()).hexdigest()
    return (kind, path.readlink()) if stat.S_ISLNK(kind) else (kind, path.lstat().st_rdev)


def tree(*folders: Path) -> dict[Path, tuple]:
    """Return the `content` of everything in some folders."""
    return {path: content(path) for folder in folders for path in [*folder.rglob("*"), folder]}


def written_alone(path: Path, argv: list[str]) -> bool:
    """Return whether a file is what --out names, and no other word of a command names it or a folder above it."""
    named = [Path(os.path.realpath(word)) for before, word in zip(argv, argv[1:], strict=False) if before != "--out"]
    out = [os.path.realpath(word) for before, word in zip(argv, argv[1:], strict=False) if before == "--out"]
    return str(path) in out and not any(path.is_relative_to(one) for one in named if one != Path("/"))


def run(argv: list[str], root: Path, folder: Path, apart: list[str]) -> tuple[int, str]:
    """Run a command in a copy of the project, below `folder`, and end it as a user would if it goes on for long."""
    environment = os.environ | {"PYTHONPATH": str(root), "TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1"}
    environment |= {"MPLCONFIGDIR": str(folder / "tmp/matplotlib")}  # where its list of fonts stays
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    apart = [*apart, f"--wd={root}"] if apart else []
    command = [*apart, sys.executable, "-m", "ids_repro", *argv]
    with subprocess.Popen(command, cwd=root, env=environment, preexec_fn=heed_signals, **pipes) as process:
        try:
            _, err = process.communicate(timeout=MOST_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            try:
                _, err = process.communicate(timeout=END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
    return process.returncode, err.decode(errors="replace")


def test_whatever_is_typed(project, inputs, apart, tmp_path, tmp_path_factory):
    base = tmp_path_factory.getbasetemp()
    for folder in (base / "tmp", tmp_path / "tmp", base / "broken"):
        folder.mkdir()
    values = [*NASTY, *map(str, sorted(inputs.iterdir())), *map(str, sorted((inputs / "table").iterdir()))]
    values += [str(tmp_path / "new"), str(tmp_path / "new/deeper/x.parquet"), str(tmp_path / "tmp")]
    attach = ["attach", "lo", "--model", str(inputs / "detector.npz"), "--hook", "xdp-skb", "--flows", "1024"]
    before = tree(inputs, project.root / "data/sample", project.root / "data/labels", project.root / "ids_repro")
    before |= {path: content(path) for path in map(Path, ("/dev/null", "/dev/full", "/dev/zero", "/dev/stdout"))}
    kept = {path: path.read_bytes() for path in before if path.is_relative_to(inputs) and path.is_file()}
    seen, ends = set(), Counter()

    @settings(
        max_examples=100,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # a smaller example would take minutes to find
        suppress_health_check=list(HealthCheck),
    )
    @given(command_lines(bases(inputs, tmp_path / "tmp"), values, base / "broken"))
    def check(argv: list[str]) -> None:
        if time.monotonic() > end or tuple(argv) in seen:
            return
        damaged = tree(base / "broken")
        if apart and argv[0] in ("attach", *NEEDS_ONE):  # it finds the interface bare, or with a program
            run(["detach", "lo"] if argv[0] == "attach" else attach, project.root, base, apart)
        code, err = run(argv, project.root, base, apart)
        ends[argv[0], code] += 1
        print(code, *argv, "|", *err.strip().splitlines()[-1:], flush=True)
        assert code in (0, 1, 2, 130), (argv, code, err)
        assert "Traceback" not in err and "Exception ignored" not in err, (argv, err)
        assert code != 2 or err.strip(), argv
        changed = {path for path, was in (before | damaged).items() if content(path) != was}
        assert all(written_alone(path, argv) for path in changed), (argv, changed)
        for path in changed & set(kept):
            path.write_bytes(kept[path])
        if not any(str(base / "broken") in word for word in argv):
            seen.add(tuple(argv))

    end = time.monotonic() + SECONDS
    for number in itertools.count():  # the same examples in every run, in the same order
        if time.monotonic() > end:
            break
        seed(number)(check)()
    print(f"exit codes: {dict(sorted(ends.items()))}")
    assert ends.total() >= SECONDS / (2 * MOST_S + END_S)
    assert SECONDS < 100 or sum(n for (_, code), n in ends.items() if code == 0) > ends.total() / 10
