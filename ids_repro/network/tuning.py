"""Change settings of an interface that the user named, for a measurement, and put them back in every case.

Before a setting changes, the value that it has is written to a file in /run/ids_repro. Both the file and the settings
last until the machine restarts. So what a killed run has changed is put back when the next run begins. The settings are
offloads, neighbour entries, a route, a measured program and, on the server, what holds its work to one CPU.
"""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from pyroute2.netlink.exceptions import NetlinkError

from .. import locks
from ..config import UserError
from .facts import NET, interrupts, napi_threads, state
from .hosts import FIRST
from .setting_kinds import KINDS

PATIENCE_S = 5.0
Change = tuple[str, str, str | None]  # kind, name and the value before


@dataclass
class _Journal:
    """What the settings of one interface were, both in a file and here.

    Parameters
    ----------
    file : TextIO
        The file; it is locked while this process lives.
    iface, mac : str
        Name and MAC address of the interface.
    sysfs : Path
        The interface's folder in /sys.
    foreign : set of int
        NAPI threads of other interfaces whose name begins alike, such as those of another namespace's eth0.
    old : dict
        Kind and name of each setting to the value before.
    """

    file: TextIO
    iface: str
    mac: str
    sysfs: Path
    foreign: set[int]
    old: dict[tuple[str, str], str | None] = field(default_factory=dict)


_open: dict[str, _Journal] = {}


def begin(iface: str, run: Path | None = None, net: Path = NET) -> None:
    """Begin to change this machine's settings for one interface, after putting back what a killed run left.

    Parameters
    ----------
    iface : str
        Name of the interface.
    run : Path, optional
        The folder for the file that keeps the values before; `locks.run_folder` by default.
    net : Path
        The folder in /sys that has a folder for each interface.

    Raises
    ------
    UserError
        If there is no such interface, another run measures, or the interface has an XDP program already.
    """
    mac, sysfs = state(iface)["mac"], net / iface
    if not (sysfs / "address").exists() or (sysfs / "address").read_text().strip() != mac:
        raise UserError(
            f"/sys shows another network namespace than the one with {iface}: enter it with 'ip netns exec'"
        )
    put_back_leftovers(run)
    if state(iface)["xdp"]:
        raise UserError(f"{iface} has an XDP program already: 'ip link set dev {iface} xdp off' removes it")
    threaded = sysfs / "threaded"
    ours = threaded.exists() and threaded.read_text().strip() == "1"
    foreign = set() if ours else napi_threads(iface)
    journal = _open[iface] = _Journal(_locked(_state_file(run)), iface, mac, sysfs, foreign)
    # Nothing here changes these two, and nothing is taken off because of them. But the user is told what stays.
    for kind in ("xdp", "clsact"):
        _remember(journal, kind, "")


def change(iface: str, kind: str, name: str, value: str) -> None:
    """Change one setting, after writing down its value.

    Parameters
    ----------
    iface : str
        An interface for which `begin` was called.
    kind, name : str
        A key of `setting_kinds.KINDS`, and its name there.
    value : str
        The new value.

    Raises
    ------
    UserError
        If the interface does not take the offload.
    """
    if _remember(_open[iface], kind, name) != value:
        KINDS[kind][1](iface, name, value)


def write_down(iface: str, kind: str, name: str, old: str | None = None) -> None:
    """Write down a setting that the caller changes itself, unless there was no `begin` for the interface.

    The parameters are those of `change`; `old` is the value before, if the setting has changed already.
    """
    if iface in _open:
        _remember(_open[iface], kind, name, old)


def put_back(iface: str) -> None:
    """Put everything back as it was at `begin`.

    A setting that does not go back now stays in the file, for `put_back_leftovers`. For example, a veth cannot turn its
    segmentation offload on while its peer has an XDP program.
    """
    journal = _open.pop(iface, None)
    if journal is not None:
        left = _restore(iface, [(kind, name, old) for (kind, name), old in journal.old.items()])
        _keep(journal.file, [(iface, journal.mac, *setting) for setting in left])
        journal.file.close()


def put_back_all() -> None:
    """Put back the settings of every interface that this process has changed."""
    for iface in list(_open):
        put_back(iface)


def put_back_leftovers(run: Path | None = None) -> None:
    """Put back what earlier runs have left changed, most often because they were killed.

    Parameters
    ----------
    run : Path, optional
        The folder of the file that keeps the values before; `locks.run_folder` by default.

    Raises
    ------
    UserError
        If a run that changes settings is still alive.

    Warns
    -----
    UserWarning
        For each setting that does not go back. It stays in the file, for the next call.
    """
    path = _state_file(run)
    if not path.exists():
        return
    with _locked(path) as file:
        lines, left = [], []
        with contextlib.suppress(ValueError):  # a last line cut short is of a change that was not made
            lines.extend(map(json.loads, file))
        for iface, mac in dict.fromkeys((line["iface"], line["mac"]) for line in lines):
            with contextlib.suppress(UserError):  # the interface may be gone, and its settings with it
                if state(iface)["mac"] == mac:
                    mine = [(line["kind"], line["name"], line["old"]) for line in lines if line["iface"] == iface]
                    for kind, name, old in _restore(iface, mine):
                        warnings.warn(f"{iface}: {kind} {name} could not be put back to {old}", stacklevel=2)
                        left.append((iface, mac, kind, name, old))
        _keep(file, left)


def _state_file(run: Path | None) -> Path:
    """Return the path of this network namespace's file; each namespace has its own interfaces."""
    return (run or locks.run_folder()) / f"{Path('/proc/self/ns/net').stat().st_ino}.jsonl"


def _locked(path: Path) -> TextIO:
    """Open and lock the file; wait for a process that was just killed, because it may still be putting back."""
    return locks.open_locked(path, "another run measures with this machine's interfaces", PATIENCE_S)


def _keep(file: TextIO, left: list[tuple]) -> None:
    """Keep in the file what did not go back; without any, remove it."""
    file.truncate(0)
    for one in left:
        _write(file, *one)
    if not left:
        Path(file.name).unlink(missing_ok=True)


def _write(file: TextIO, iface: str, mac: str, kind: str, name: str, old: str | None) -> None:
    file.write(json.dumps({"iface": iface, "mac": mac, "kind": kind, "name": name, "old": old}) + "\n")
    file.flush()


def _remember(journal: _Journal, kind: str, name: str, old: str | None = None) -> str | None:
    """Return the value of a setting, or `old`, and write it down if it is the first of this setting."""
    now = KINDS[kind][0](journal.iface, name) if old is None else old
    if (kind, name) not in journal.old:
        _write(journal.file, journal.iface, journal.mac, kind, name, now)
        journal.old[kind, name] = now
    return now


def _restore(iface: str, changes: list[Change]) -> list[Change]:
    """Put settings back, the last change first, and return those that did not go back."""
    left = []
    for kind, name, old in reversed(changes):
        try:
            read, write = KINDS[kind]
            if read(iface, name) != old:
                write(iface, name, old)
        except (FileNotFoundError, ProcessLookupError):
            continue  # its interrupt, queue or thread is gone
        except (KeyError, OSError, NetlinkError, UserError):  # a key that `kernel.attach` adds, which is not loaded
            left.append((kind, name, old))
    return left[::-1]


def hold(iface: str, cpu: int) -> str:
    """Hold what an interface receives to one CPU.

    Three ways are tried: the affinity of its interrupts, whose work is then softirq, as in the paper; a thread for its
    NAPI, as on a veth; RPS. Call this again after each attachment of a program, because a driver that sets up its
    queues again for XDP may have new interrupts then.

    Parameters
    ----------
    iface : str
        An interface for which `begin` was called.
    cpu : int
        The CPU.

    Returns
    -------
    str
        Which of the three ways was used, for records.

    Raises
    ------
    UserError
        If the interface offers none of the three.
    """
    return next(filter(None, (way(_open[iface], cpu) for way in (_by_interrupts, _by_napi_threads, _by_rps))))


def _queues(journal: _Journal) -> list[Path]:
    """Return the files with the CPUs that RPS hands each receive queue's packets to."""
    return sorted((journal.sysfs / "queues").glob("rx-*/rps_cpus"))


def _by_interrupts(journal: _Journal, cpu: int) -> str | None:
    device = journal.sysfs / "device"
    if not device.exists():
        return None
    numbers = interrupts(Path("/proc/interrupts").read_text(), {journal.iface, device.resolve().name})
    with contextlib.suppress(OSError):  # interrupts that the kernel manages do not move
        for number in numbers:
            change(journal.iface, "file", f"/proc/irq/{number}/smp_affinity_list", str(cpu))
        for queue in _queues(journal) if numbers else ():
            if queue.read_text().strip("0,\n"):
                change(journal.iface, "file", str(queue), "0")
        if numbers:
            return f"IRQ affinity on CPU {cpu}"
    return None


def _by_napi_threads(journal: _Journal, cpu: int) -> str | None:
    with contextlib.suppress(OSError):  # a driver without threaded NAPI
        change(journal.iface, "file", str(journal.sysfs / "threaded"), "1")
        threads = sorted(napi_threads(journal.iface) - journal.foreign)
        for pid in threads:
            with contextlib.suppress(ProcessLookupError):
                _remember(journal, "affinity", str(pid))
            pin(pid, cpu)
        if threads:
            return f"NAPI thread {', '.join(map(str, threads))} on CPU {cpu}"
    return None


def _by_rps(journal: _Journal, cpu: int) -> str:
    mask = f"{1 << cpu % 32:x}" + ",00000000" * (cpu // 32)
    try:
        for queue in _queues(journal):
            change(journal.iface, "file", str(queue), mask)
    except OSError as error:
        raise UserError(f"{journal.iface}'s work cannot be held to CPU {cpu}: {error}") from None
    return f"RPS on CPU {cpu}"


def pin(pid: int, cpu: int) -> None:
    """Let a thread run on one CPU only, before other work there. Do nothing if the thread has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.sched_setaffinity(pid, {cpu})
        os.setpriority(os.PRIO_PROCESS, pid, FIRST)
