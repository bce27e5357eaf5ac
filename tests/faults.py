"""The faults that every command has to survive, in one table, and how each is tried; tests/test_faults.py runs them.

A clock is stepped for the command alone, by a library that is loaded before it (cli/step_clock.c): the kernel's own
stamps stay. The machine's clock is nobody's to step, and a time namespace cannot. So `record`, whose capture has the
kernel's stamps, is left out.
"""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
from fault_commands import COMMANDS, END_S, Command, Lab, Told
from machine_state import until

from ids_repro.network.hosts import Host

STEPS_S = (-3600, 3600)
DISK = "256k"  # of a disk that is full soon
Tried = Callable[[Command, Told, random.Random], tuple[int, float]]


def _ended(process: subprocess.Popen, told: Told, *codes: int) -> int:
    """Wait for a command's end and return its exit code; say what was wrong with it."""
    try:
        _, err = process.communicate(timeout=END_S)
    except subprocess.TimeoutExpired:
        told.wrong.append(f"it went on for {END_S:g} s")
        process.kill()
        _, err = process.communicate()
    if process.returncode not in codes:
        told.wrong.append(f"it ended with {process.returncode}: {err[-500:]}")
    if "Traceback" in err or "Exception ignored" in err:
        told.wrong.append(f"a traceback: {err[-700:]}")
    if process.returncode == 2 and not err.strip():
        told.wrong.append("it ended with 2 and said nothing")
    return process.returncode


def _wait(process: subprocess.Popen, moment_s: float) -> float:
    """Wait until a command has run for so long, or has ended; return how long it has run."""
    end = process.began + moment_s
    while process.poll() is None and time.monotonic() < end:
        time.sleep(min(0.01, max(end - time.monotonic(), 0)))
    return time.monotonic() - process.began


def _signalled(number: signal.Signals, command: Command, told: Told, rng: random.Random) -> tuple[int, float]:
    """Send a signal at a random moment. A terminal that closes sends SIGHUP to all processes of its job."""
    process = command.start()
    at = _wait(process, command.moment(rng))
    with contextlib.suppress(ProcessLookupError):
        (os.killpg if number == signal.SIGHUP else os.kill)(process.pid, number)
    return _ended(process, told, 0, -number, *([130] if number != signal.SIGKILL else [])), at


@contextlib.contextmanager
def _mounted(folder: Path, *how: str) -> Iterator[None]:
    subprocess.run(["mount", *how, folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _full_disk(command: Command, told: Told, rng: random.Random) -> tuple[int, float]:
    """Let it write to a disk that is too small; then the disk grows."""
    size = f"{rng.choice((4, 8, 12))}k" if command.name == "sweep" else DISK
    kept = {one.name: one.read_bytes() for one in command.writes.iterdir() if one.is_file()}
    command.undo.enter_context(_mounted(command.writes, "-t", "tmpfs", "-o", f"size={size}", "tmpfs"))
    for name, data in kept.items():
        (command.writes / name).write_bytes(data)
    process = command.start()
    code = _ended(process, told, 0, 1, 2)
    subprocess.run(["mount", "-o", "remount,size=1g", command.writes], check=True)
    return code, 0.0


def _read_only(command: Command, told: Told, _: random.Random) -> tuple[int, float]:
    """Let it write to a folder that is mounted read-only."""
    with _mounted(command.writes, "--bind", str(command.writes)):
        subprocess.run(["mount", "-o", "remount,bind,ro", command.writes], check=True)
        return _ended(command.start(), told, 2), 0.0


def _few_files(command: Command, told: Told, _: random.Random) -> tuple[int, float]:
    """Give it 64 file descriptors; it works, or says in words that they do not suffice."""
    return _ended(command.start("prlimit", "--nofile=64"), told, 0, 1, 2), 0.0


def _interface_removed(command: Command, told: Told, rng: random.Random) -> tuple[int, float]:
    """Remove the interface that it works on, at a random moment."""
    if command.namespace:
        process = command.start()
        at = _wait(process, command.moment(rng))
        if Path(f"/run/netns/{command.namespace}").exists():
            Host("server", "").run(["ip", "link", "del", "eth0"], capture_output=True)
        return _ended(process, told, 0, 1, 2), at
    command.do("detach", "eth0")
    command.host.run(["ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"], check=True)
    command.iface = "v0"
    command.prepare(rng)
    process = command.start()
    at = _wait(process, command.moment(rng))
    command.host.run(["ip", "link", "del", "v0"], check=True)
    _ended(process, told, 0, 1, 2)
    command.iface = "eth0"
    if found := command.status(told):
        told.left.append(f"the program of v0: {found}")
    command.prepare(rng)  # the rerun has another interface
    return 2, at


def _namespace_deleted(command: Command, told: Told, rng: random.Random) -> tuple[int, float]:
    """Delete a network namespace of its, at a random moment, as `ip netns delete` does."""
    process = command.start()
    at = _wait(process, command.moment(rng))
    subprocess.run(["ip", "netns", "delete", command.namespace], capture_output=True)
    return _ended(process, told, 0, 1, 2), at


def _hping3_hangs(command: Command, told: Told, rng: random.Random) -> tuple[int, float]:
    """Stop hping3 as it begins, so that it neither sends nor ends."""
    process = command.start()

    def found() -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return [one for one in psutil.Process(process.pid).children(recursive=True) if one.name() == "hping3"]
        return []

    until(lambda: found() or process.poll() is not None, END_S)
    at = time.monotonic() - process.began
    for one in found():
        with contextlib.suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGSTOP)
    return _ended(process, told, 0, 1), at


def _clock_step(command: Command, told: Told, rng: random.Random) -> tuple[int, float]:
    """Set the clock that the command sees an hour back or ahead, at a random moment."""
    library, offset = command.lab.out.parent / "step_clock.so", command.lab.out.parent / "clock"
    source = Path(__file__).with_name("cli") / "step_clock.c"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
    offset.write_text("0")
    process = command.start(f"STEP_CLOCK={offset}", f"LD_PRELOAD={library}")
    at = _wait(process, command.moment(rng))
    offset.write_text(str(rng.choice(STEPS_S)))
    return _ended(process, told, 0), at


def _two_at_once(command: Command, told: Told, _: random.Random) -> tuple[int, float]:
    """Start it twice at the same time: one does its work, the other waits or is refused in a sentence."""
    both = [command.start(), command.start()]
    codes = [_ended(one, told, 0, *command.refused) for one in both]
    if 0 not in codes:
        told.wrong.append(f"neither of two did its work: {codes}")
    return 0, 0.0


def _torn_line(command: Command, told: Told, rng: random.Random) -> tuple[int, float]:
    """Cut the last record at a random place, as a kill within the write does."""
    code = _ended(command.start(), told, 0)
    data = command.file.read_bytes()
    last = data.rstrip(b"\n").rfind(b"\n") + 1
    command.file.write_bytes(data[: rng.randrange(last + 1, len(data) - 2)])
    return code, 0.0


@dataclass(frozen=True)
class Fault:
    """A fault: how it is brought about, and the commands that it happens to. The first is tried in the short form."""

    tried: Tried
    commands: tuple[str, ...]


EACH = ("attach", "swap", "detach", "sweep", "record", "reproduce")
WRITERS = ("extract", "sweep", "record", "figures")
FAULTS = {
    "SIGKILL": Fault(partial(_signalled, signal.SIGKILL), ("sweep", *EACH[:3], *EACH[4:])),
    "SIGTERM": Fault(partial(_signalled, signal.SIGTERM), ("swap", "attach", *EACH[2:])),
    "SIGHUP": Fault(partial(_signalled, signal.SIGHUP), EACH),
    "full_disk": Fault(_full_disk, WRITERS),
    "read_only_folder": Fault(_read_only, WRITERS),
    "nofile_64": Fault(_few_files, EACH),
    "interface_removed": Fault(_interface_removed, ("attach", "swap", "detach", "sweep")),
    "namespace_deleted": Fault(_namespace_deleted, ("sweep", "record")),
    "hping3_hangs": Fault(_hping3_hangs, ("sweep",)),
    "clock_step": Fault(_clock_step, ("attach", "sweep")),
    "two_at_once": Fault(_two_at_once, ("detach", "attach", "swap", "sweep", "record", "reproduce")),
    "torn_line": Fault(_torn_line, ("sweep",)),
}
SIGNALS = ("SIGKILL", "SIGTERM", "SIGHUP")  # come at random moments, so they are tried most often


def rounds(tries: int, others: int, batch: int) -> Iterator[tuple[str, str, range]]:
    """Yield fault, command and numbers of tries: each row of the table once, then each again for some tries, and so on.

    The commands that take long come last in each round.
    """
    rows = [(name, command) for name, fault in FAULTS.items() for command in fault.commands]
    rows.sort(key=lambda row: COMMANDS[row[1]].usual_s)
    first, step = 0, 1
    while first < max(tries, others):
        for name, command in rows:
            last = min(first + step, tries if name in SIGNALS else others)
            if first < last:
                yield name, command, range(first, last)
        first, step = first + step, batch


def run(lab: Lab, fault: str, command: str, numbers: range, seed: int) -> dict:
    """Try a fault some times; return `moments_s`, and what was lost, left and wrong, each sentence with its try."""
    found: dict[str, list] = {"moments_s": [], "lost": [], "left": [], "wrong": []}
    one = COMMANDS[command](lab)
    with one.world():
        lab.settle()
        for number in numbers:
            rng, told = random.Random(f"{seed} {fault} {command} {number}"), Told()
            with contextlib.ExitStack() as one.undo:
                one.prepare(rng)
                code, at = FAULTS[fault].tried(one, told, rng)
                one.finish(told, code)
                told.left += lab.left()
            found["moments_s"].append(round(at, 3))
            for name in ("lost", "left", "wrong"):
                found[name] += [f"try {number}, {at:.3f} s: {sentence}"[:2000] for sentence in getattr(told, name)]
    return found
