"""The commands that faults.py disturbs: how each begins, and what must be so when it was started again."""

import contextlib
import ctypes
import io
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import psutil
from machine_state import attachments, interfaces, until
from project_copy import Project

from ids_repro import locks, records
from ids_repro.cli import make_parser, run_command
from ids_repro.cli.ending import exit_code
from ids_repro.config import DamagedWarning, UserError
from ids_repro.data import packets
from ids_repro.live import pins
from ids_repro.network.hosts import Host
from ids_repro.network.namespaces import leftovers, network

HOSTS = {"client": "10.98.0.1", "server": "10.98.0.2"}
METHODS = ("no_filter", "rawsock1_nn_fused")
END_S = 120.0  # a command that goes on for longer hangs
GONE_S = 15.0  # how long what belongs to a killed command may take to end by itself
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of linux/prctl.h


class Lab:
    """Where commands are disturbed: a copy of the project, models, a folder for temporary files.

    Parameters
    ----------
    project : Project
        It has the models of notebook 03, and a profile "faults".
    folder : Path
    models : dict of str to Path
        "first" and "second", for attach and swap.
    """

    def __init__(self, project: Project, folder: Path, models: dict[str, Path]) -> None:
        self.project, self.models = project, models
        self.tmp, self.out = folder / "tmp", folder / "out"
        self.results = project.root / "data/results"
        for one in (self.tmp, self.out, self.results):
            one.mkdir(parents=True, exist_ok=True)
        self.took_s: dict[str, float] = {}  # by the name of a command, when nothing disturbed it
        ctypes.CDLL(None).prctl(SUBREAPER, 1)  # whatever a killed command leaves becomes a child of this process
        self.settle()

    def settle(self) -> None:
        """Note which processes and locks are here that are not the commands'."""
        self._others: set[int] = set()
        self._others = {child.pid for child in self._children()}
        self._held = self._locks()

    def start(self, *argv: object, host: Host | None = None, before: tuple[str, ...] = ()) -> subprocess.Popen:
        """Start a command of the copy, on a host or on this machine; `before` stands before it."""
        command = ["env", f"TMPDIR={self.tmp}", *before, sys.executable, "-B", "-m", "ids_repro", *map(str, argv)]
        process = self.project.popen(*(host.command(command) if host else command))
        process.began = time.monotonic()
        return process

    def left(self) -> list[str]:
        """Return what is left of commands that have ended: processes, namespaces, locks, files."""
        until(lambda: not self._children(), GONE_S)
        found = [f"process {child.pid}: {' '.join(child.cmdline())[:200]}" for child in self._children()]
        found += [f"temporary file {one}" for one in self.tmp.iterdir()]
        found += [f"temporary file {one}" for one in self.project.root.rglob(".part-*")]
        found += [f"lock {one}" for one in self._locks() - self._held]
        journal = locks.run_folder() / f"{Path('/proc/self/ns/net').stat().st_ino}.jsonl"
        found += [f"journal {journal}"] if journal.exists() else []
        return found

    @staticmethod
    def _locks() -> set[str]:
        """Return the names of the locks that somebody holds whom this process sees."""
        held = set(re.findall(r" FLOCK .* (\S+) \d+ EOF", Path("/proc/locks").read_text()))
        names = {one.name: one.stat() for one in locks.run_folder().iterdir()}
        devices = {name: f"{os.major(one.st_dev):02x}:{os.minor(one.st_dev):02x}" for name, one in names.items()}
        return {name for name, one in names.items() if f"{devices[name]}:{one.st_ino}" in held}

    def _children(self) -> list[psutil.Process]:
        """Return the processes that commands left, after those that have ended are reaped."""
        found = []
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.pid in self._others or child.ppid() in self._others:
                    continue
                if child.status() == psutil.STATUS_ZOMBIE:
                    with contextlib.suppress(ChildProcessError):
                        os.waitpid(child.pid, os.WNOHANG)
                    continue
                found.append(child)
        return found

    def close(self) -> None:
        """End what is left all the same, so that it disturbs no other test."""
        for child in self._children():
            child.kill()
        ctypes.CDLL(None).prctl(SUBREAPER, 0)


class Told:
    """What a disturbed command lost, what it left, and what else was wrong; a sentence for each."""

    def __init__(self) -> None:
        self.lost: list[str] = []
        self.left: list[str] = []
        self.wrong: list[str] = []


class Command:
    """One command: its words, the time that it takes, and where it runs.

    Attributes
    ----------
    usual_s : float
        How long it takes, until it was measured.
    host : Host or None
    writes : Path or None
        The folder that it writes to.
    """

    usual_s = 2.0
    host: Host | None = None
    writes: Path | None = None
    refused = (2,)  # the exit code of the second, of two at once
    namespace: str | None = None  # one that it makes itself

    def __init__(self, lab: Lab) -> None:
        self.lab, self.name = lab, type(self).__name__.lower()

    @contextlib.contextmanager
    def world(self) -> Iterator[None]:
        """Make what all tries need."""
        before = interfaces()
        yield
        assert interfaces() == before

    def prepare(self, rng: random.Random) -> None:
        """Make things as they are before the command begins."""

    def argv(self) -> list:
        """Return the command's words."""
        raise NotImplementedError

    def start(self, *before: str, **more) -> subprocess.Popen:
        """Start it."""
        return self.lab.start(*self.argv(), host=self.host, before=before, **more)

    def moment(self, rng: random.Random) -> float:
        """Return a moment while it runs, in seconds after its start."""
        return rng.random() * self.lab.took_s.get(self.name, self.usual_s)

    def again(self, told: Told, *codes: int) -> str:
        """Run it to its end; its exit code must be one of these, by default 0. Return what it said."""
        process = self.start()
        out, err = process.communicate(timeout=END_S)
        if process.returncode not in (codes or (0,)):
            told.wrong.append(f"the rerun of {self.name} ended with {process.returncode}: {err[-500:]}")
        elif process.returncode == 0:
            self.lab.took_s[self.name] = time.monotonic() - process.began
        if "Traceback" in err:
            told.wrong.append(f"the rerun of {self.name}: {err[-500:]}")
        return out + err

    def finish(self, told: Told, code: int) -> None:
        """Start it again after it was disturbed and ended with `code`; say what was lost, left or wrong."""
        raise NotImplementedError


class Live(Command):
    """A command for a program that stays on an interface of a host."""

    hooks = ("xdp-drv", "xdp-skb", "tc", "tc-both")
    iface = "eth0"

    @contextlib.contextmanager
    def world(self) -> Iterator[None]:
        with super().world(), network(HOSTS) as hosts:
            self.host, self._client = hosts["server"], hosts["client"]
            yield
            self.do("detach", self.iface)
        assert not pins.FOLDER.exists()

    def prepare(self, rng: random.Random) -> None:
        self.hook = rng.choice(self.hooks)
        self.offloads = rng.choice(("keep", "off"))
        self.bare = self._state()

    def _state(self) -> list:
        """Return the interfaces of the host, with what is attached and their settings."""
        shown = self.host.run(["ethtool", "-k", self.iface], capture_output=True, text=True).stdout
        return [attachments(self.host), [one.name for one in pins.all_folders()], shown]

    def attach_argv(self) -> list:
        """Return the words that attach the first model."""
        argv = ["attach", self.iface, "--model", self.lab.models["first"], "--classifier", "dt"]
        return [*argv, "--hook", self.hook, "--offloads", self.offloads, "--flows", 1024]

    def do(self, *argv: object) -> tuple[int, str, str]:
        """Run another command on the host, in this process; return its exit code and what it said."""

        def parse_and_run() -> int:
            args = make_parser().parse_args([str(one) for one in argv])
            args.look_s = 0.02
            return self.host.call(run_command, args)

        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = exit_code(str(argv[0]), parse_and_run)
        return code, out.getvalue(), err.getvalue()

    def status(self, told: Told) -> dict | None:
        """Return what status says of the program, None if there is none; this is the next start."""
        code, out, err = self.do("status", "--json")
        if code or err:
            told.wrong.append(f"status ended with {code}: {err}")
            return None
        found = json.loads(out)
        if found and found[0]["missing"]:
            told.left.append(f"half a program: not at {found[0]['missing']}")
        return found[0] if found else None

    def must(self, told: Told, *argv: object) -> None:
        """Run a command that has to succeed."""
        code, _, err = self.do(*argv)
        if code:
            told.wrong.append(f"{argv[0]} ended with {code}: {err}")

    def require_bare(self, told: Told) -> None:
        """Say what is attached or pinned although there should be nothing."""
        now = self._state()
        if now != self.bare:
            told.left.append(f"attached, pinned or set: {now[:2]}" + " and offloads" * (now[2] != self.bare[2]))


class Attach(Live):
    def argv(self) -> list:
        return self.attach_argv()

    def finish(self, told: Told, code: int) -> None:
        found = self.status(told)
        if (code == 0) != (found is not None) and code not in (-signal.SIGKILL,):
            told.wrong.append(f"attach ended with {code}, and status says {found}")
        if found:
            self.must(told, "detach", self.iface)
        self.require_bare(told)
        self.again(told)
        self.must(told, "detach", self.iface)
        self.require_bare(told)


class Detach(Live):
    usual_s = 1.0

    def prepare(self, rng: random.Random) -> None:
        super().prepare(rng)
        self.do(*self.attach_argv())

    def argv(self) -> list:
        return ["detach", self.iface]

    def finish(self, told: Told, code: int) -> None:
        found = self.status(told)
        if code == 0 and found:
            told.left.append("the program, though detach had ended")
        self.again(told, 0 if found else 2)
        self.require_bare(told)


class Swap(Live):
    usual_s = 1.0
    refused = (0,)  # the second swap waits for the first
    sent = 10  # packets, before and after

    def prepare(self, rng: random.Random) -> None:
        super().prepare(rng)
        self.hook, self.offloads = rng.choice(("xdp-drv", "tc")), "keep"
        self.do(*self.attach_argv())
        self._send()

    def _send(self) -> None:
        with self._client.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
            for _ in range(self.sent):
                with contextlib.suppress(ConnectionRefusedError):
                    sender.sendto(b"payload", (self.host.address, 7777))

    def argv(self) -> list:
        return ["swap", self.iface, "--model", self.lab.models["second"]]

    def finish(self, told: Told, code: int) -> None:
        found = self._counted(told, self.sent)
        if found and code == 0 and found["generation"] == 0:
            told.lost.append("the new model, though swap had ended")
        self.again(told)
        self._send()
        found = self._counted(told, 2 * self.sent)
        if found and found["models"][-1]["file"] != self.lab.models["second"].name:
            told.lost.append(f"the new model: {found['models']}")
        self.must(told, "detach", self.iface)
        self.require_bare(told)

    def _counted(self, told: Told, n: int) -> dict | None:
        """Return the status; every packet must have one verdict."""
        found = self.status(told)
        if found is None:
            told.lost.append("the program")
        elif not found["reasons"]["ok"] == sum(found["verdicts"].values()) == n:
            told.lost.append(f"verdicts: {n} packets, counted {found['reasons']}, {found['verdicts']}")
        return found


class Run(Command):
    """A command that makes a network of its own and writes files."""

    def nothing_left(self, told: Told) -> None:
        """Say what is left when the command has run again."""
        told.left += [f"namespace {one}" for one in leftovers()]


class Sweep(Run):
    usual_s = 8.0
    namespace = "ids-server"

    def prepare(self, rng: random.Random) -> None:
        self.writes = self.lab.results
        self.file = self.writes / "sweep.jsonl"
        self.file.unlink(missing_ok=True)

    def argv(self) -> list:
        return ["sweep", "--profile", "faults", "--methods", ",".join(METHODS)]

    def finish(self, told: Told, code: int) -> None:
        lines = self.file.read_bytes().splitlines(keepends=True) if self.file.exists() else []
        before, said = self._read()
        if len(before) < sum(line.endswith(b"\n") for line in lines):
            told.lost.append(f"finished records: {len(before)} of {len(lines)} lines; {said}")
        torn, said = len(before) < len(lines), self.again(told)
        if self.name == "sweep" and ("is not a whole record" in said) != torn:
            told.wrong.append(f"a line is {'torn' if torn else 'whole'}, and the rerun says: {said[-500:]}")
        after, said = self._read()
        if after[: len(before)] != before or said:
            told.lost.append(f"records: {len(before)} before the rerun; {said}")
        done = [one["asked"] for one in after if one["status"] == "ok"]
        if len(done) != 2 * len(METHODS) or any(done.count(one) != 1 for one in done):
            told.wrong.append(f"{len(done)} trials are done")
        if any(not 0 <= one["provenance"]["duration_s"] < END_S for one in after):
            told.wrong.append("a duration that cannot be")
        self.nothing_left(told)

    def _read(self) -> tuple[list[dict], str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            return records.read(self.file), " ".join(str(one.message) for one in caught)


class Reproduce(Sweep):
    usual_s = 20.0

    def argv(self) -> list:
        return ["reproduce", "--profile", "faults", "--only", "05"]

    def finish(self, told: Told, code: int) -> None:
        super().finish(told, code)
        executed = self.lab.project.root / "notebooks/executed/05_packet_processing.ipynb"
        cells = json.loads(executed.read_text())["cells"]
        if any(one.get("outputs", [{}])[-1:] == [{"output_type": "error"}] for one in cells):
            told.wrong.append("the executed notebook has an error")


class Files(Run):
    """A command that writes some files, whole or not at all."""

    outputs: tuple[str, ...] = ()

    def prepare(self, rng: random.Random) -> None:
        self.writes = self.lab.out
        shutil.rmtree(self.writes)
        self.writes.mkdir()
        self.old = rng.random() < 0.5  # whether there are files of an earlier run
        for name in self.outputs if self.old else ():
            (self.writes / name).write_bytes(b"old")

    def finish(self, told: Told, code: int) -> None:
        names = {one.name for one in self.writes.iterdir() if one.stat().st_size or not one.name.startswith(".part-")}
        if code and not names and self.old:
            told.lost.append("the files of the run before")
        for name in set(self.outputs) & names if code else ():
            if (self.writes / name).read_bytes() != b"old" and not self.is_whole(self.writes / name):
                told.lost.append(f"{name} is cut")
        self.again(told)
        if {one.name for one in self.writes.iterdir()} != set(self.outputs):
            told.left.append(f"files: {sorted(one.name for one in self.writes.iterdir())}")
        elif not all(self.is_whole(self.writes / name) for name in self.outputs):
            told.wrong.append("a file of the rerun is cut")
        self.nothing_left(told)

    def is_whole(self, path: Path) -> bool:
        """Return whether a file is a finished one."""
        raise NotImplementedError


class Record(Files):
    usual_s = 5.0
    namespace = "ids-inside"
    outputs = ("lab.pcap", "lab.csv")

    def argv(self) -> list:
        return ["record", "--seconds", 1, "--out", self.writes]

    def is_whole(self, path: Path) -> bool:
        if path.suffix == ".csv":
            return path.read_text().startswith("label,") and path.read_text().endswith("\n")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                return len(packets.read(path).rows) > 100
            except (UserError, DamagedWarning):
                return False


class Extract(Files):
    usual_s = 2.0
    outputs = ("lab.parquet",)

    def argv(self) -> list:
        return ["extract", self.lab.project.root / "data/sample/lab.pcap.gz", "--out", self.writes / "lab.parquet"]

    def is_whole(self, path: Path) -> bool:
        data = path.read_bytes()
        return data[:4] == data[-4:] == b"PAR1"


class Figures(Files):
    usual_s = 8.0
    outputs = ("report.html",)

    def argv(self) -> list:
        results = self.lab.project.root / "data/example"
        return ["figures", "--results", results, "--figures", self.writes, "--methods", "no_filter"]

    def is_whole(self, path: Path) -> bool:
        return path.read_text().rstrip().endswith("</html>")

    def finish(self, told: Told, code: int) -> None:
        kept = [one.name for one in self.writes.iterdir()]
        for name in kept:
            data = (self.writes / name).read_bytes()
            if name.endswith(".svg") and data != b"old" and not data.rstrip().endswith(b"</svg>"):
                told.lost.append(f"{name} is cut")
        self.again(told)
        if not self.is_whole(self.writes / "report.html"):
            told.wrong.append("the report of the rerun is cut")
        self.nothing_left(told)


COMMANDS = {one.__name__.lower(): one for one in (Attach, Swap, Detach, Sweep, Record, Reproduce, Extract, Figures)}
