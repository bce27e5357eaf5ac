"""Whatever somebody types, the command line ends with a known exit code, without a traceback and with its inputs whole.

Hypothesis draws commands, options and values, by default for some 20 s: IDS_ANYTHING_S=300 makes it five minutes.
"""

import argparse
import hashlib
import os
import signal
import stat
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import made_captures as made
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from machine_state import heed_signals
from packet_tables import write_table

from ids_repro import config
from ids_repro.cli import make_parser
from ids_repro.models.model_file import write_model

SECONDS = float(os.environ.get("IDS_ANYTHING_S", 20))
MOST_S, END_S = 3.0, 60.0  # how long a command may go on before it gets SIGTERM, and then to put things back
# Root runs each command with network, mounts and /run/netns of its own, where no name is that of a real interface, and
# where nothing but the tests' own folder ($0) can be written.
APART = (
    'mkdir -p /run/netns && mount --make-rprivate / && mount --bind "$0" "$0" && cd "$PWD" && '
    "mount -o remount,bind,ro / && "
    "mount -t tmpfs tmpfs /run/netns && mount -t bpf bpf /sys/fs/bpf && ip link set lo up && "
    'exec "$@"'
)
QUICK = ["extract", "figures", "attach", "swap", "samples", "detach", "models", "detect", "train-detector", "accuracy"]
NUMBERS = ["0", "0.01", "0.5", "1", "2", "3.5", "10", "94", "1000", "1024", "65536"]
NASTY = ["", " ", "-", "--", ".", "..", "/", "-1", "0", "1", "2", "5", "0.5", "nan", "inf", "1e400", "9" * 5000, "0x10"]
NASTY += [
    "a\nb",
    "%s%n",
    "{}",
    "[]",
    "=1+1",
    "\x1b[31m",
    "\x7f",
    "\udcff",
    "é",
    "a" * 256,
    "a/" * 3000,
    "all",
    "lo",
    "eth999",
]
NASTY += ["/dev/null", "/dev/full", "/dev/zero", "/dev/stdout", "/dev/stdin", "/proc/self/mem", "/proc/self/cmdline"]
NASTY += [
    "/nowhere/x",
    "/sys/kernel",
    "tcp://127.0.0.1:1",
    "ssh://root@127.0.0.1:1",
    "ssh://-oProxyCommand=false",
    "none",
]
NASTY += [
    "10.88.0.10",
    "10.88.0.10,x",
    "no_filter",
    "no_filter,,x",
    "smoke",
    "01",
    "05",
    "published",
    "csv",
    "1024",
    "94",
]


@pytest.fixture(scope="module")
def inputs(project, models, detector, tmp_path_factory) -> Path:
    """Return a folder of files of every kind that commands read, and of what is no file."""
    folder = tmp_path_factory.mktemp("inputs")
    frames = [(1_700_000_000_000_000 + k * 1000, made.ethernet(made.ipv4(sport=1000 + k % 7))) for k in range(200)]
    (folder / "a.pcap").write_bytes(made.pcap(frames))
    (folder / "cut.pcap").write_bytes(made.pcap(frames)[:-7])
    schedule = "label,activity,start_us,end_us,src,dst,dport,proto\nDoS,x,0,9000000000000000,,,,\n"
    (folder / "a.csv").write_text(schedule)
    (folder / "table").mkdir()
    write_table(folder / "table")
    write_model(models["binary"], folder / "binary.npz")
    write_model(detector, folder / "detector.npz")
    (folder / "records.jsonl").write_bytes((config.DATA / "example/sweep.jsonl").read_bytes())
    (folder / "text").write_text("neither this nor that\n")
    (folder / "empty").touch()
    os.mkfifo(folder / "pipe")
    for name, target in {"link": "a.pcap", "circle": "circle", "dangling": "none", "folder": "table"}.items():
        (folder / name).symlink_to(target)
    done = project.cli("extract", folder / "a.pcap", "--labels", folder / "a.csv", "--out", folder / "a.parquet")
    assert done.returncode == 0, done.stderr
    return folder


def content(path: Path) -> tuple:
    """Return what kind of thing is at a path, and what is in it."""
    kind = stat.S_IFMT(path.lstat().st_mode)
    if stat.S_ISREG(kind):
        return kind, hashlib.sha256(path.read_bytes()).hexdigest()
    return (kind, path.readlink()) if stat.S_ISLNK(kind) else (kind, path.lstat().st_rdev)


def tree(*folders: Path) -> dict[Path, tuple]:
    """Return the `content` of everything in some folders."""
    return {path: content(path) for folder in folders for path in [*folder.rglob("*"), folder]}


@st.composite
def command_lines(draw: st.DrawFn, nasty: list[str], likely: dict[str, list[str]]) -> list[str]:
    """Draw a command, some of its options, and values of which about half are not what the options take."""
    commands = make_parser()._subparsers._group_actions[0].choices
    name = draw(st.sampled_from([*sorted(commands), *QUICK * 3]))
    argv, parser = [name], commands[name]
    if parser._subparsers:
        argv, parser = [name, "show"], parser._subparsers._group_actions[0].choices["show"]

    def value(action: argparse.Action) -> str:
        """Draw a value: half of the paths and names are nasty, and a tenth of the numbers and choices."""
        closed = action.choices or isinstance(action.type, partial)
        usual = sorted(action.choices or ()) or (NUMBERS if closed else likely.get(action.dest, nasty))
        return draw(st.sampled_from(nasty if draw(st.integers(0, 9)) < (1 if closed else 5) else usual))

    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        most = 0 if action.nargs == 0 else 3 if action.nargs == "+" else 1
        if not action.option_strings:
            argv += [value(action) for _ in range(draw(st.integers(draw(st.integers(0, 5)) > 0, most)))]
        elif action.required or draw(st.integers(0, 2)) == 0:
            argv += [action.option_strings[0], *(value(action) for _ in range(draw(st.integers(min(most, 1), most))))]
    return argv


def written_alone(path: Path, argv: list[str]) -> bool:
    """Return whether a file is what --out names, and no other word of a command names it or a folder above it."""
    named = [Path(os.path.realpath(word)) for before, word in zip(argv, argv[1:], strict=False) if before != "--out"]
    out = [os.path.realpath(word) for before, word in zip(argv, argv[1:], strict=False) if before == "--out"]
    return str(path) in out and not any(path.is_relative_to(one) for one in named if one != Path("/"))


def run(argv: list[str], root: Path, folder: Path) -> tuple[int, str]:
    """Run a command in a copy of the project, below `folder`, and end it as a user would if it goes on for long."""
    apart = ["unshare", "--net", "--mount", "sh", "-c", APART, folder] if os.geteuid() == 0 else []
    environment = os.environ | {"PYTHONPATH": str(root), "TMPDIR": str(folder / "tmp")}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
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


def test_whatever_is_typed(project, inputs, tmp_path, tmp_path_factory):
    base = tmp_path_factory.getbasetemp()
    (base / "tmp").mkdir()
    (tmp_path / "tmp").mkdir()
    captures = [str(inputs / name) for name in ("a.pcap", "cut.pcap", "link", "table", "folder")]
    outs = [str(tmp_path / "new"), str(tmp_path / "tmp/x.parquet"), str(inputs / "a.pcap"), str(inputs / "link")]
    likely = dict.fromkeys(("source", "train", "test", "pcap", "data"), captures) | {"out": outs, "figures": outs}
    likely |= dict.fromkeys(("labels", "train_labels", "test_labels"), [str(inputs / "a.csv"), "published"])
    likely |= dict.fromkeys(("model", "file"), [str(inputs / "binary.npz"), str(inputs / "detector.npz")])
    likely |= dict.fromkeys(("iface", "client_iface", "server_iface"), ["lo"])
    likely |= {"results": [str(inputs / "records.jsonl"), str(inputs)], "profile": ["smoke"], "methods": ["all"]}
    likely |= {"only": ["01", "06"], "arriving_at": ["10.0.0.2"], "client": ["ssh://root@127.0.0.1:1"], "name": ["x"]}
    likely |= {"scheduler": ["tcp://127.0.0.1:1"], "target": ["127.0.0.1"], "ssh_config": [str(inputs / "text")]}
    likely |= {"client_dir": [str(inputs)]}
    values = [*NASTY, *map(str, sorted(inputs.iterdir())), *map(str, sorted((inputs / "table").iterdir()))]
    values += [str(tmp_path / "new"), str(tmp_path / "new/deeper/x.parquet"), str(tmp_path / "tmp")]
    before = tree(inputs, project.root / "data/sample", project.root / "data/labels", project.root / "ids_repro")
    before |= {path: content(path) for path in map(Path, ("/dev/null", "/dev/full", "/dev/zero", "/dev/stdout"))}
    kept = {path: path.read_bytes() for path in before if path.is_relative_to(inputs) and path.is_file()}
    seen, ends = set(), {}

    @settings(
        max_examples=100,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # a smaller example would take minutes to find
        suppress_health_check=list(HealthCheck),
    )
    @given(command_lines(values, likely))
    def check(argv: list[str]) -> None:
        if time.monotonic() > end or tuple(argv) in seen:
            return
        code, err = run(argv, project.root, base)
        ends[code] = ends.get(code, 0) + 1
        assert code in (0, 1, 2, 130), (argv, code, err)
        assert "Traceback" not in err and "Exception ignored" not in err, (argv, err)
        assert code != 2 or err.strip(), argv
        changed = {path for path in before if content(path) != before[path]}
        assert all(written_alone(path, argv) for path in changed), (argv, changed)
        for path in changed:
            path.write_bytes(kept[path])
        seen.add(tuple(argv))

    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        check()
    print(f"exit codes: {ends}")
    assert sum(ends.values()) >= SECONDS / (MOST_S + END_S)
