"""What the hosts of the lab do during a recording: users who think between two activities, and attackers.

An attacker's host makes Normal traffic too, but not while it attacks. So the schedule can tell the two by address and
time, while over the whole recording neither address nor time tells them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .lab_servers import Login
from .lab_traffic import ACTIVITIES, ICMP, TOGETHER, UDP, Activity, attack_rounds, command
from .testbed import Host

USERS_PER_HOST = 3
THINK_S = 0.6


@dataclass(frozen=True)
class Row:
    """A line of the schedule: which flows carry which label.

    Parameters
    ----------
    label, activity : str
        Class and activity.
    start_us, end_us : int
        A flow belongs here if its first packet is between them, both included (microseconds since 1970).
    src, dst : str
        Address that sent the flow's first packet, and the other one.
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
    """Microseconds since 1970, the clock of the capture."""
    return time.time_ns() // 1000


@dataclass
class Lab:
    """What the threads of one recording share.

    Parameters
    ----------
    server : Host
        Where all traffic goes.
    directory : pathlib.Path
        The recording's temporary directory.
    login : Login
        The account of the server.
    until : float
        Its end, by time.monotonic().
    rows : list of Row
        The attacks so far.
    goes : list of tuple
        Activity name and whether a copy ended with an error, for each go so far.
    stop : threading.Event
        Set when everything is to end at once.
    """

    server: Host
    directory: Path
    login: Login
    until: float
    rows: list[Row] = field(default_factory=list)
    goes: list[tuple[str, bool]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def left(self) -> float:
        """Seconds that are left of the recording, 0 when it was told to stop."""
        return 0.0 if self.stop.is_set() else max(0.0, self.until - time.monotonic())


def _words(rng: np.random.Generator, directory: Path) -> Path:
    """Write a list of passwords, none of them right, and return its path."""
    with tempfile.NamedTemporaryFile("w", dir=directory, suffix=".words", delete=False) as file:
        file.writelines(f"{word:x}\n" for word in rng.integers(1 << 40, size=400))
    return Path(file.name)


def _go(lab: Lab, host: Host, activity: Activity, rng: np.random.Generator) -> None:
    """Do an activity once: start its copies, wait for them, end what is not over in time."""
    fixed = {"server": lab.server.address, "user": lab.login.user, "password": lab.login.password}
    if "{words}" in activity.command:
        fixed["words"] = str(_words(rng, lab.directory))
    processes = [
        host.popen(
            # "exit" keeps the shell from becoming its last command, which then would be the first process.
            [*TOGETHER, "sh", "-c", command(activity, rng, lab.directory, **fixed) + "; exit $?"],
            cwd=lab.directory,
            env={"PATH": os.environ["PATH"], "HOME": str(lab.directory), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for _ in range(activity.copies)
    ]
    end = time.monotonic() + min(activity.seconds, lab.left() + 1)
    while any(p.poll() is None for p in processes) and time.monotonic() < end and not lab.stop.wait(0.02):
        pass
    for process in processes:
        # SIGKILL, for they hold nothing that needs an orderly end.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    # A list of all, not any() over a generator: each process is to be waited for.
    lab.goes.append((activity.name, any([process.wait() != 0 for process in processes])))


def _normal(lab: Lab, host: Host, seconds: float, rng: np.random.Generator) -> None:
    """Make the Normal traffic of a host's users for some seconds, with time to think between two activities."""
    rows = [a for a in ACTIVITIES if a.label == "Normal" and host.name.startswith(a.hosts)]
    weights = np.array([a.weight for a in rows], float)
    until = time.monotonic() + min(seconds, lab.left())

    def user(rng: np.random.Generator) -> None:
        while time.monotonic() < until and not lab.stop.wait(rng.exponential(THINK_S)):
            _go(lab, host, rows[rng.choice(len(rows), p=weights / weights.sum())], rng)

    with ThreadPoolExecutor(USERS_PER_HOST) as pool:
        for future in [pool.submit(user, child) for child in rng.spawn(USERS_PER_HOST)]:
            future.result()


def _attack(lab: Lab, host: Host, activity: Activity, rng: np.random.Generator) -> None:
    """Attack once and write the schedule's rows for it."""
    start = now_us()
    _go(lab, host, activity, rng)
    # What a killed program had queued leaves in the next instant.
    lab.stop.wait(0.05)
    name, window = (activity.label, activity.name), (start, now_us())
    here, there = host.address, lab.server.address
    lab.rows.append(Row(*name, *window, here, there, activity.dport, activity.proto))
    if activity.proto == UDP:
        # Port unreachable, from the server for a closed port and from us for an answer that comes too late.
        lab.rows += [Row(*name, *window, *pair, None, ICMP) for pair in ((there, here), (here, there))]


def _attacker(lab: Lab, host: Host, attacks: Callable[[], Activity], rng: np.random.Generator) -> None:
    """Live through the recording on an attacker's host: Normal traffic and attacks by turns."""
    short = lab.left() / 8
    while lab.left() > 0:
        _normal(lab, host, rng.uniform(0.5, min(4.0, short + 0.6)), rng)
        if lab.left() > 1:
            _attack(lab, host, attacks(), rng)


def run_all(lab: Lab, hosts: Sequence[Host], seed: int, progress: bool) -> None:
    """Make every host's traffic until the end of the recording; the first error ends all.

    Parameters
    ----------
    lab : Lab
        The recording; its rows and goes grow.
    hosts : sequence of Host
        Those named ``attacker...`` attack now and then; the others are Normal all the time.
    seed : int
        Of every draw.
    progress : bool
        Show a progress bar.
    """
    seconds = lab.left()
    rng = np.random.default_rng(seed)
    rounds, lock = attack_rounds(rng.spawn(1)[0]), threading.Lock()

    def next_attack() -> Activity:
        with lock:
            return next(rounds)

    with ThreadPoolExecutor(len(hosts)) as pool, tqdm(total=round(seconds), unit="s", disable=not progress) as bar:
        try:
            futures = [
                pool.submit(_attacker, lab, host, next_attack, child)
                if host.name.startswith("attacker")
                else pool.submit(_normal, lab, host, seconds, child)
                for host, child in zip(hosts, rng.spawn(len(hosts)), strict=True)
            ]
            while not all(future.done() for future in futures):
                time.sleep(0.25)
                bar.update(min(round(seconds), int(seconds - lab.left())) - bar.n)
                bar.set_postfix(attacks=len(lab.rows), refresh=False)
                for future in futures:
                    if future.done():
                        future.result()
        finally:
            lab.stop.set()
