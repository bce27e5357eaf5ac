"""What the hosts of the lab do during a recording: users who pause between activities, and attacks.

Every host alternates between Normal traffic and attacks and never does both at once. So at any time a host's address
tells the schedule which of the two its flows are. Over the whole recording neither address nor time reveals the class.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..network.hosts import Host
from ..progress import show_progress
from .activity import ICMP, TCP, TOGETHER, Activity, attack_rounds, command, hosts_for
from .attacks import ATTACKS
from .files import Login
from .normal import NORMAL

USERS_PER_HOST = 3
THINK_S = 0.6
# The beginning of a host's name to the shortest and longest time between two of its attacks [s].
CALM_S = {"client": (4.0, 12.0), "attacker": (0.5, 3.0)}


@dataclass(frozen=True)
class Row:
    """A line of the schedule: it gives a label to some flows.

    Parameters
    ----------
    label, activity : str
        The class, and the name of the activity.
    start_us, end_us : int
        A flow belongs to this row if its first packet is between them, both included (microseconds since 1970).
    src, dst : str
        The address that sent the flow's first packet, and the other address.
    dport, proto : int or None
        Destination port and IP protocol; None is any.
    """

    label: str
    activity: str
    start_us: int
    end_us: int
    src: str
    dst: str
    dport: int | None
    proto: int | None


def now_us() -> int:
    """Return the time by the clock of the capture: microseconds since 1970."""
    return time.time_ns() // 1000


@dataclass
class Lab:
    """The state that the threads of one recording share.

    Parameters
    ----------
    addresses : dict of str to str
        Host name to address, for all hosts.
    directory : pathlib.Path
        The recording's temporary directory.
    login : Login
        The account of the servers.
    until : float
        The end of the recording, by time.monotonic() [s].
    rows : list of Row
        The schedule's rows of the attacks so far.
    runs : list of tuple
        For each run of an activity so far: its name, and whether one of its copies failed.
    stop : threading.Event
        Set when everything is to end at once.
    """

    addresses: dict[str, str]
    directory: Path
    login: Login
    until: float
    rows: list[Row] = field(default_factory=list)
    runs: list[tuple[str, bool]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def left(self) -> float:
        """Return how long the recording still lasts [s]; 0 after it was told to stop."""
        return 0.0 if self.stop.is_set() else max(0.0, self.until - time.monotonic())


def _words(rng: np.random.Generator, directory: Path) -> Path:
    """Write a list of wrong passwords and return its path."""
    with tempfile.NamedTemporaryFile("w", dir=directory, suffix=".words", delete=False) as file:
        file.writelines(f"{word:x}\n" for word in rng.integers(1 << 40, size=400))
    return Path(file.name)


def _commands(lab: Lab, host: Host, activity: Activity, rng: np.random.Generator) -> list[str]:
    """Draw the command of each copy of an activity."""
    fixed = {"user": lab.login.user, "password": lab.login.password}
    if "{words}" in activity.command:
        fixed["words"] = str(_words(rng, lab.directory))
    fixed |= hosts_for(host.name, lab.addresses, rng)
    return [command(activity, rng, lab.directory, **fixed) for _ in range(activity.copies)]


def _run(lab: Lab, host: Host, activity: Activity, commands: Sequence[str]) -> None:
    """Run an activity once: start its commands, wait for them, and kill those that take too long."""
    processes = [
        host.popen(
            # Without "exit" the shell would become its last command, and that would be the namespace's first process.
            [*TOGETHER, "sh", "-c", text + "; exit $?"],
            cwd=lab.directory,
            env={"PATH": os.environ["PATH"], "HOME": str(lab.directory), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for text in commands
    ]
    end = time.monotonic() + min(activity.seconds, lab.left() + 1)
    while any(p.poll() is None for p in processes) and time.monotonic() < end and not lab.stop.wait(0.02):
        pass
    for process in processes:
        # SIGKILL, because nothing in them needs an orderly end.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    # A list and not a generator, which any() would leave early: each process must be waited for.
    lab.runs.append((activity.name, any([process.wait() != 0 for process in processes])))


def _normal(lab: Lab, host: Host, seconds: float, rng: np.random.Generator) -> None:
    """Make the Normal traffic of a host's users for some seconds; users pause between activities."""
    rows = [a for a in NORMAL if host.name.startswith(a.hosts)]
    weights = np.array([a.weight for a in rows], float)
    until = time.monotonic() + min(seconds, lab.left())

    def user(rng: np.random.Generator) -> None:
        while time.monotonic() < until and not lab.stop.wait(rng.exponential(THINK_S)):
            activity = rows[rng.choice(len(rows), p=weights / weights.sum())]
            _run(lab, host, activity, _commands(lab, host, activity, rng))

    with ThreadPoolExecutor(USERS_PER_HOST) as pool:
        for future in [pool.submit(user, child) for child in rng.spawn(USERS_PER_HOST)]:
            future.result()


def _attack(lab: Lab, host: Host, activity: Activity, rng: np.random.Generator) -> None:
    """Attack once and write the schedule's rows for it."""
    commands = _commands(lab, host, activity, rng)
    start = now_us()
    _run(lab, host, activity, commands)
    # Packets that a killed program had queued leave in this time.
    lab.stop.wait(0.05)
    name, window, here = (activity.label, activity.name), (start, now_us()), host.address
    for there in lab.addresses.values():
        if there not in re.findall(r"[\d.]+\d", " ".join(commands)):
            continue
        lab.rows.append(Row(*name, *window, here, there, activity.dport, activity.proto))
        if activity.proto != TCP:
            # "Port unreachable": the other host sends it for a closed port, this one for an answer that came too late.
            lab.rows += [Row(*name, *window, *pair, None, ICMP) for pair in ((there, here), (here, there))]


def _live(
    lab: Lab, host: Host, attacks: Callable[[], Activity], calm_s: tuple[float, float], rng: np.random.Generator
) -> None:
    """Make a host's Normal traffic and attacks, alternately, until the recording ends."""
    longest = min(calm_s[1], lab.left() / 8 + 0.6)
    while lab.left() > 0:
        _normal(lab, host, rng.uniform(min(calm_s[0], longest), longest), rng)
        if lab.left() > 1:
            _attack(lab, host, attacks(), rng)


def _shared(rounds: Iterator[Activity]) -> Callable[[], Activity]:
    """Return a function by which several threads can draw from one iterator."""
    lock = threading.Lock()

    def draw() -> Activity:
        with lock:
            return next(rounds)

    return draw


def run_all(lab: Lab, hosts: Sequence[Host], seed: int, progress: bool) -> None:
    """Make every host's traffic until the recording ends; the first error ends it at once.

    Parameters
    ----------
    lab : Lab
        The recording; this adds to its rows and runs.
    hosts : sequence of Host
        The hosts that make traffic; each name is a key of `CALM_S` and a number.
    seed : int
        Seed of every draw.
    progress : bool
        Whether to show a progress bar.
    """
    seconds = lab.left()
    rng = np.random.default_rng(seed)
    kinds = {
        begin: (_shared(attack_rounds([a for a in ATTACKS if begin.startswith(a.hosts)], child)), calm_s)
        for (begin, calm_s), child in zip(CALM_S.items(), rng.spawn(len(CALM_S)), strict=True)
    }
    with (
        ThreadPoolExecutor(len(hosts)) as pool,
        show_progress(total=round(seconds), unit="s", disable=not progress) as bar,
    ):
        try:
            futures = [
                pool.submit(_live, lab, host, *kinds[host.name.rstrip("0123456789")], child)
                for host, child in zip(hosts, rng.spawn(len(hosts)), strict=True)
            ]
            while not all(future.done() for future in futures):
                time.sleep(0.25)
                bar.update(min(round(seconds), int(seconds - lab.left())) - bar.n)
                bar.set_postfix(attacks=len({(row.src, row.start_us) for row in lab.rows}), refresh=False)
                for future in futures:
                    if future.done():
                        future.result()
        finally:
            lab.stop.set()
