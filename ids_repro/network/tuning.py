"""Settings of an interface that its user named: changed for a measurement and put back, whatever happens.

Before a change, what the setting was is written to a file in /run, which lives as long as the settings do: what a
killed run has changed is put back when the next one begins. What is changed: offloads, neighbour entries, and on the
server what holds its work to one CPU.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from ..config import UserError
from .facts import NET, cpu_set, ethtool, first, has_clsact, interrupts, napi_threads, state
from .hosts import FIRST

RUN = Path("/run")
PATIENCE_S = 5.0


def _offload(iface: str, name: str) -> str | None:
    return first(rf"^{name}: (on|off)", ethtool("-k", iface))


def _set_offload(iface: str, name: str, value: str) -> None:
    done = subprocess.run(["ethtool", "-K", iface, name, value], capture_output=True, text=True)
    if done.returncode or _offload(iface, name) != value:
        raise UserError(f"{iface} does not turn {name} {value}: {done.stderr.strip()}")


def _neighbour(iface: str, address: str) -> str | None:
    """The MAC address of a permanent entry; others the kernel finds again by itself."""
    permanent = 0x80
    with IPRoute() as ip:
        for entry in ip.get_neighbours(family=socket.AF_INET, ifindex=socket.if_nametoindex(iface)):
            if entry.get_attr("NDA_DST") == address and entry["state"] == permanent:
                return entry.get_attr("NDA_LLADDR")
    return None


def _set_neighbour(iface: str, address: str, mac: str | None) -> None:
    with IPRoute() as ip:
        index = socket.if_nametoindex(iface)
        if mac is None:
            ip.neigh("del", dst=address, ifindex=index)
        else:
            ip.neigh("replace", dst=address, lladdr=mac, ifindex=index, state="permanent")


def _xdp(iface: str, _: str) -> str:
    return "attached" if state(iface)["xdp"] else "none"


def _detach_xdp(iface: str, *_: str) -> None:
    for mode in ("xdpdrv", "xdpgeneric"):
        subprocess.run(["ip", "link", "set", "dev", iface, mode, "off"], capture_output=True)


def _clsact(iface: str, _: str) -> str:
    return "present" if has_clsact(iface) else "none"


def _remove_clsact(iface: str, *_: str) -> None:
    with IPRoute() as ip:
        ip.tc("del", "clsact", socket.if_nametoindex(iface))


def _affinity(_: str, pid: str) -> str:
    return ",".join(map(str, sorted(os.sched_getaffinity(int(pid)))))


def _set_affinity(_: str, pid: str, text: str) -> None:
    os.sched_setaffinity(int(pid), cpu_set(text))


_KINDS: dict[str, tuple[Callable, Callable]] = {
    "file": (lambda _, path: Path(path).read_text().strip(), lambda _, path, text: Path(path).write_text(text)),
    "offload": (_offload, _set_offload),
    "neighbour": (_neighbour, _set_neighbour),
    "affinity": (_affinity, _set_affinity),
    "xdp": (_xdp, _detach_xdp),
    "clsact": (_clsact, _remove_clsact),
}
Change = tuple[str, str, str | None]  # kind, name and what it was


@dataclass
class _Journal:
    """What the settings of one interface were, in the file and here; the file is locked while a process lives."""

    file: TextIO
    iface: str
    mac: str
    foreign: set[int]
    old: dict[tuple[str, str], str | None] = field(default_factory=dict)


_open: dict[str, _Journal] = {}


def begin(iface: str) -> None:
    """Begin to change this machine's settings for one interface; what a killed run left is put back first.

    Raises
    ------
    UserError
        If there is no such interface, another run measures, or the interface has an XDP program already.
    """
    mac, address = state(iface)["mac"], NET / iface / "address"
    if not address.exists() or address.read_text().strip() != mac:
        raise UserError(
            f"/sys shows another network namespace than the one with {iface}: enter it with 'ip netns exec'"
        )
    put_back_leftovers()
    if state(iface)["xdp"]:
        raise UserError(f"{iface} has an XDP program already: 'ip link set dev {iface} xdp off' removes it")
    threaded = NET / iface / "threaded"
    known = threaded.exists() and threaded.read_text().strip() == "1"
    journal = _open[iface] = _Journal(_locked(), iface, mac, set() if known else napi_threads(iface))
    for kind in ("xdp", "clsact"):  # not changed here, but what a method attaches outlives a killed process
        _remember(journal, kind, "")


def change(iface: str, kind: str, name: str, value: str) -> None:
    """Change one setting, writing down first what it was; see `_KINDS`."""
    if _remember(_open[iface], kind, name) != value:
        _KINDS[kind][1](iface, name, value)


def put_back(iface: str) -> None:
    """Put everything back as it was at `begin`.

    What cannot be put back now is kept for `put_back_leftovers`: a veth has no segmentation offload to turn on, for
    example, while its peer has an XDP program.
    """
    journal = _open.pop(iface, None)
    if journal is not None:
        left = _restore(iface, [(kind, name, old) for (kind, name), old in journal.old.items()])
        journal.file.truncate(0)
        for change in left:
            _write(journal, *change)
        if not left:
            _state_file().unlink(missing_ok=True)
        journal.file.close()


def put_back_all() -> None:
    """Put back what this process has changed, of every interface."""
    for iface in list(_open):
        put_back(iface)


def put_back_leftovers() -> None:
    """Put back what earlier runs, killed ones above all, have left changed; UserError while a run still lives.

    Warns
    -----
    UserWarning
        For each setting that does not go back.
    """
    if not _state_file().exists():
        return
    with _locked() as file:
        lines = []
        with contextlib.suppress(ValueError):  # a last line cut short is of a change that was not made
            lines.extend(map(json.loads, file))
        for iface, mac in dict.fromkeys((line["iface"], line["mac"]) for line in lines):
            with contextlib.suppress(UserError):  # it may be gone, and its settings with it
                if state(iface)["mac"] == mac:
                    mine = [(line["kind"], line["name"], line["old"]) for line in lines if line["iface"] == iface]
                    for kind, name, old in _restore(iface, mine):
                        warnings.warn(f"{iface}: {kind} {name} could not be put back to {old}", stacklevel=2)
        _state_file().unlink(missing_ok=True)


def _state_file() -> Path:
    """One for each network namespace, because that is what an interface belongs to."""
    return RUN / f"ids_repro.{Path('/proc/self/ns/net').stat().st_ino}.jsonl"


def _locked() -> TextIO:
    """Open the state file once no other process has it; a process that was just killed may still be putting back."""
    end = time.monotonic() + PATIENCE_S
    while True:
        file = _state_file().open("a+")
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), _state_file().stat()):
                file.seek(0)
                return file
        file.close()
        if time.monotonic() > end:
            raise UserError("another run measures with this machine's interfaces: wait for it or stop it")
        time.sleep(0.05)


def _write(journal: _Journal, kind: str, name: str, old: str | None) -> None:
    entry = {"iface": journal.iface, "mac": journal.mac, "kind": kind, "name": name, "old": old}
    journal.file.write(json.dumps(entry) + "\n")
    journal.file.flush()


def _remember(journal: _Journal, kind: str, name: str) -> str | None:
    """Write down what a setting is, if it is not written down yet; returns what it is now."""
    now = _KINDS[kind][0](journal.iface, name)
    if (kind, name) not in journal.old:
        _write(journal, kind, name, now)
        journal.old[kind, name] = now
    return now


def _restore(iface: str, changes: list[Change]) -> list[Change]:
    """Put settings back, the last one first; returns those that did not go."""
    left = []
    for kind, name, old in reversed(changes):
        read, write = _KINDS[kind]
        try:
            if read(iface, name) != old:
                write(iface, name, old)
        except (FileNotFoundError, ProcessLookupError):
            continue  # its interrupt, queue or thread is gone
        except (OSError, NetlinkError, UserError):
            left.append((kind, name, old))
    return left[::-1]


def hold(iface: str, cpu: int) -> str:
    """Hold what an interface receives to one CPU and say how; to be called again after each attachment of a program.

    By the affinity of its interrupts where it has any (the work is then softirq, as in the paper); else, as on a veth,
    by threaded NAPI; else by RPS. A driver that sets up its queues anew for XDP may have new interrupts afterwards.

    Raises
    ------
    UserError
        If the interface offers none of the three.
    """
    queues = sorted((NET / iface / "queues").glob("rx-*/rps_cpus"))
    device = NET / iface / "device"
    if device.exists():
        numbers = interrupts(Path("/proc/interrupts").read_text(), {iface, device.resolve().name})
        with contextlib.suppress(OSError):  # interrupts that the kernel manages do not move
            for number in numbers:
                change(iface, "file", f"/proc/irq/{number}/smp_affinity_list", str(cpu))
            for queue in queues if numbers else ():
                if queue.read_text().strip("0,\n"):
                    change(iface, "file", str(queue), "0")
            if numbers:
                return f"IRQ affinity on CPU {cpu}"
    with contextlib.suppress(OSError):
        change(iface, "file", str(NET / iface / "threaded"), "1")
        threads = sorted(napi_threads(iface) - _open[iface].foreign)
        for pid in threads:
            with contextlib.suppress(ProcessLookupError):
                _remember(_open[iface], "affinity", str(pid))
            pin(pid, cpu)
        if threads:
            return f"NAPI thread {', '.join(map(str, threads))} on CPU {cpu}"
    mask = f"{1 << cpu % 32:x}" + ",00000000" * (cpu // 32)
    try:
        for queue in queues:
            change(iface, "file", str(queue), mask)
    except OSError as error:
        raise UserError(f"{iface}'s work cannot be held to CPU {cpu}: {error}") from None
    return f"RPS on CPU {cpu}"


def pin(pid: int, cpu: int) -> None:
    """Give a thread one CPU, before other work there."""
    with contextlib.suppress(ProcessLookupError):
        os.sched_setaffinity(pid, {cpu})
        os.setpriority(os.PRIO_PROCESS, pid, FIRST)
