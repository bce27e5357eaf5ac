"""Records the lab capture: real programs on hosts of our own, a pcap of their packets and a schedule of labels.

Normal traffic runs on every host during the whole recording. An attacker's host stops its Normal traffic while it
attacks, so address and time tell attack from Normal in the schedule, while neither tells it over the recording.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .config import DATA, UserError
from .lab_servers import Login, servers, write_files
from .lab_traffic import ACTIVITIES, ICMP, PROGRAMS, SERVICES, UDP, Activity, attack_rounds, command
from .testbed import SWITCH, Host, network, require_programs

SERVER = "server"
ADDRESSES = {
    SERVER: "10.88.0.10",
    "client1": "10.88.0.21",
    "client2": "10.88.0.22",
    "client3": "10.88.0.23",
    "attacker1": "10.88.0.31",
    "attacker2": "10.88.0.32",
    "attacker3": "10.88.0.33",
}
HEADER = ("label", "activity", "start_us", "end_us", "src", "dst", "dport", "proto")
SECONDS = 150.0
# Ethernet 14, IPv4 at most 60 and TCP at most 60 are 134, but no program here sends IPv4 options: 14 + 20 + 60.
SNAPLEN = 96
USERS_PER_HOST = 3
THINK_S = 0.6
OFFLOADS = ("tx", "off", "rx", "off", "sg", "off", "tso", "off", "gso", "off", "gro", "off")


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


def _now_us() -> int:
    return time.time_ns() // 1000


@dataclass
class _Lab:
    """What the threads of one recording share."""

    server: Host
    directory: Path
    login: Login
    until: float
    rows: list[Row] = field(default_factory=list)
    goes: Counter = field(default_factory=Counter)
    failed: Counter = field(default_factory=Counter)
    stop: threading.Event = field(default_factory=threading.Event)

    def left(self) -> float:
        """Seconds that are left of the recording, 0 when it was told to stop."""
        return 0.0 if self.stop.is_set() else max(0.0, self.until - time.monotonic())


def _words(rng: np.random.Generator, directory: Path) -> Path:
    """Write a list of passwords, none of them right, and return its path."""
    with tempfile.NamedTemporaryFile("w", dir=directory, suffix=".words", delete=False) as file:
        file.writelines(f"{word:x}\n" for word in rng.integers(1 << 40, size=400))
    return Path(file.name)


def _go(lab: _Lab, host: Host, activity: Activity, rng: np.random.Generator) -> None:
    """Do an activity once: start its copies, wait for them, end what is not over in time."""
    fixed = {"server": lab.server.address, "user": lab.login.user, "password": lab.login.password}
    if "{words}" in activity.command:
        fixed["words"] = str(_words(rng, lab.directory))
    processes = [
        host.popen(
            ["sh", "-c", command(activity, rng, lab.directory, **fixed)],
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
        # The group, for the shell may have children; SIGKILL, for they hold nothing that needs an orderly end.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        lab.failed[activity.name] += process.wait() != 0
    lab.goes[activity.name] += 1


def _normal(lab: _Lab, host: Host, seconds: float, rng: np.random.Generator) -> None:
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


def _attack(lab: _Lab, host: Host, activity: Activity, rng: np.random.Generator) -> None:
    """Attack once and write the schedule's rows for it."""
    start = _now_us()
    _go(lab, host, activity, rng)
    # What a killed program had queued leaves in the next instant.
    lab.stop.wait(0.05)
    name, window = (activity.label, activity.name), (start, _now_us())
    here, there = host.address, lab.server.address
    lab.rows.append(Row(*name, *window, here, there, activity.dport, activity.proto))
    if activity.proto == UDP:
        # Port unreachable, from the server for a closed port and from us for an answer that comes too late.
        lab.rows += [Row(*name, *window, *pair, None, ICMP) for pair in ((there, here), (here, there))]


def _attacker(lab: _Lab, host: Host, attacks: Callable[[], Activity], rng: np.random.Generator) -> None:
    """Live through the recording on an attacker's host: Normal traffic and attacks by turns."""
    short = lab.left() / 8
    while lab.left() > 0:
        _normal(lab, host, rng.uniform(0.5, min(4.0, short + 0.6)), rng)
        if lab.left() > 1:
            _attack(lab, host, attacks(), rng)


def _normal_rows(start_us: int, end_us: int) -> list[Row]:
    """Rows for all Normal flows. They come after the attacks', which so win where both match."""
    server = ADDRESSES[SERVER]
    hosts = [address for name, address in ADDRESSES.items() if name != SERVER]
    return [
        Row("Normal", name, start_us, end_us, src, server, port, None) for src in hosts for name, port in SERVICES
    ] + [Row("Normal", "other", start_us, end_us, server, dst, None, None) for dst in hosts]


@contextlib.contextmanager
def _capture(switch: Host, path: Path, snaplen: int) -> Iterator[Counter]:
    """Capture the bridge's TCP, UDP and ICMP, each packet once, into a pcap; yields what will be tcpdump's counts."""
    counts: Counter = Counter()
    argv = ["tcpdump", "-i", "br0", "-n", "-U", "-s", snaplen, "-B", 16384, "-w", "-", "ip and (tcp or udp or icmp)"]
    with path.open("wb") as out:
        process = switch.popen(argv, stdout=out, stderr=subprocess.PIPE, text=True)
        try:
            while "listening on" not in (line := process.stderr.readline()):
                if not line:
                    raise UserError(f"tcpdump did not start (status {process.wait()}): run 'make system-lab'")
            yield counts
            time.sleep(0.3)
        finally:
            process.send_signal(signal.SIGINT)
            text = process.stderr.read()
            process.wait()
    counts.update({what: int(n) for n, what in re.findall(r"(\d+) packets? (captured|dropped by kernel)", text)})


def _run_all(lab: _Lab, hosts: list[Host], seconds: float, seed: int, progress: bool) -> None:
    """Run every host's traffic to the end, under a progress bar; the first error ends all."""
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


def _write_schedule(rows: list[Row], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(["" if value is None else value for value in astuple(row)] for row in rows)


def record(
    out: Path, seconds: float = SECONDS, seed: int = 0, snaplen: int = SNAPLEN, progress: bool = True
) -> dict[str, object]:
    """Record a lab capture into ``out/lab.pcap`` and its schedule into ``out/lab.csv``.

    Parameters
    ----------
    out : pathlib.Path
        Directory; made if it does not exist. The files get their names when both are complete.
    seconds : float
        Length of the recording.
    seed : int
        Of every draw: which activities, when, and with what. (The programs' own timing stays that of the machine.)
    snaplen : int
        Bytes kept of each packet.
    progress : bool
        Show a progress bar.

    Returns
    -------
    dict
        ``pcap`` and ``schedule`` (paths), ``packets``, ``seconds`` (measured), ``goes`` and ``failed`` (by activity).

    Raises
    ------
    UserError
        Without root, if a program is missing, or if a server or tcpdump does not start or loses packets.
    """
    require_programs(*PROGRAMS, remedy="make system-lab")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ids-lab-") as name, network(ADDRESSES) as hosts:
        directory = Path(name)
        directory.chmod(0o711)
        login = write_files(directory, ADDRESSES[SERVER], seed)
        for host in ADDRESSES:
            hosts[host].run(["ethtool", "-K", "eth0", *OFFLOADS], check=True, capture_output=True)
        others = [hosts[host] for host in ADDRESSES if host != SERVER]
        part = out / "lab.part.pcap"
        try:
            with servers(hosts[SERVER], directory, login), _capture(hosts[SWITCH], part, snaplen) as counts:
                start_us, start = _now_us(), time.monotonic()
                lab = _Lab(hosts[SERVER], directory, login, start + seconds)
                _run_all(lab, others, seconds, seed, progress)
            if counts["dropped by kernel"]:
                raise UserError(f"tcpdump lost {counts['dropped by kernel']} packets: run it when the machine is idle")
            rows = sorted(lab.rows, key=lambda row: row.start_us) + _normal_rows(start_us, _now_us())
            _write_schedule(rows, out / "lab.part.csv")
            part.rename(out / "lab.pcap")
            (out / "lab.part.csv").rename(out / "lab.csv")
        finally:
            part.unlink(missing_ok=True)
    return {
        "pcap": out / "lab.pcap",
        "schedule": out / "lab.csv",
        "packets": counts["captured"],
        "seconds": round(time.monotonic() - start, 1),
        "goes": dict(lab.goes),
        "failed": dict(+lab.failed),
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``record`` to a parser."""
    parser.add_argument("--out", type=Path, default=DATA / "raw" / "lab", metavar="DIR", help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=SECONDS, metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--snaplen", type=int, default=SNAPLEN, metavar="N", help="bytes a packet; default: %(default)s"
    )


def main(args: argparse.Namespace) -> int:
    """Record as the command line says; see `record`."""
    done = record(args.out, args.seconds, args.seed, args.snaplen)
    print(f"{done['packets']} packets in {done['seconds']} s: {done['pcap']}, labels in {done['schedule']}")
    return 0
