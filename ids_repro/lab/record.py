"""Record the lab capture: the packets of real programs on hosts of our own, and a schedule that labels their flows."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import astuple
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from ..config import LAB_SECONDS, LAB_SNAPLEN, UserError
from ..data.labels.schedule import COLUMNS
from ..files import replaced
from ..network.hosts import Host
from ..network.namespaces import SWITCH, network
from ..require import require_programs
from .activity import PROGRAMS
from .actors import Lab, Row, now_us, run_all
from .files import Login, write_files
from .normal import SERVICES
from .servers import servers

SERVERS = ("inside", "outside")
ADDRESSES = {
    "inside": "10.88.0.10",
    "outside": "10.88.0.40",
    "client1": "10.88.0.21",
    "client2": "10.88.0.22",
    "client3": "10.88.0.23",
    "client4": "10.88.0.24",
    "client5": "10.88.0.25",
    "attacker1": "10.88.0.31",
    "attacker2": "10.88.0.32",
    "attacker3": "10.88.0.33",
    "attacker4": "10.88.0.34",
}
Beside = Callable[[Mapping[str, Host]], contextlib.AbstractContextManager]
FILTER = "ip and (tcp or udp or icmp)"
OFFLOADS = ("tx", "off", "rx", "off", "sg", "off", "tso", "off", "gso", "off", "gro", "off")


def _normal_rows(start_us: int, end_us: int) -> list[Row]:
    """Return rows for all Normal flows. They come after the attacks' rows, and the first row that matches wins."""
    users = [address for name, address in ADDRESSES.items() if name not in SERVERS]
    served = [(name, src, ADDRESSES[dst], port) for src in users for dst in SERVERS for name, port in SERVICES]
    others = [("other", src, dst, None) for src in ADDRESSES.values() for dst in ADDRESSES.values() if src != dst]
    return [Row("Normal", name, start_us, end_us, src, dst, port, None) for name, src, dst, port in served + others]


@contextlib.contextmanager
def _capture(switch: Host, out: BinaryIO, snaplen: int) -> Iterator[Counter]:
    """Capture the bridge's TCP, UDP and ICMP packets into a pcap, each packet once.

    Yields
    ------
    collections.Counter
        tcpdump's counts, ``captured`` and ``dropped by kernel``; it is filled when the block ends.

    Raises
    ------
    UserError
        If tcpdump does not start or loses packets.
    """
    counts: Counter = Counter()
    # tcpdump stays root (-Z), because a program that changes its user survives when this process is killed.
    argv = ["tcpdump", "-Z", "root", "-i", "br0", "-n", "-U", "-s", snaplen, "-B", 16384, "-w", "-", FILTER]
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
    if counts["dropped by kernel"]:
        raise UserError(f"tcpdump lost {counts['dropped by kernel']} packets: run it when the machine is idle")


def _write_schedule(attacks: Iterable[Row], start_us: int, end_us: int, out: BinaryIO) -> None:
    """Write the schedule of a recording that lasted from ``start_us`` to ``end_us``."""
    rows = sorted(attacks, key=lambda row: row.start_us) + _normal_rows(start_us, end_us)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(["" if value is None else value for value in astuple(row)] for row in rows)
    out.write(text.getvalue().encode())


@contextlib.contextmanager
def _outputs(out: Path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Open the capture and the schedule; both get their names when the block succeeds."""
    with replaced(out / "lab.pcap") as pcap, replaced(out / "lab.csv") as schedule:
        yield pcap, schedule


def _prepare(directory: Path, hosts: Iterable[Host], seed: int) -> Login:
    """Write the lab's files and turn the hosts' offloads off; return the account."""
    directory.chmod(0o711)
    # With offloads on, the capture would have packets longer than the MTU and wrong checksums.
    for host in hosts:
        host.run(["ethtool", "-K", "eth0", *OFFLOADS], check=True, capture_output=True)
    return write_files(directory, ADDRESSES, seed)


def record_capture(
    out: Path,
    seconds: float = LAB_SECONDS,
    seed: int = 0,
    snaplen: int = LAB_SNAPLEN,
    progress: bool = True,
    beside: Beside = lambda _: contextlib.nullcontext(),
) -> dict[str, object]:
    """Record a lab capture into ``out/lab.pcap`` and its schedule into ``out/lab.csv``.

    Parameters
    ----------
    out : Path
        Made if it does not exist. The files get their names when both are complete.
    seconds : float
        Length of the recording.
    seed : int
        Of every draw: which activities, when, and with which values. (The timing within a program is not drawn.)
    snaplen, progress : int, bool
        How many bytes of each packet are kept; whether to show a progress bar.
    beside : callable
        Takes the hosts by name and returns a context manager that is open while there is traffic.

    Returns
    -------
    dict
        ``pcap`` and ``schedule`` (paths), ``packets``, ``seconds`` (measured), ``runs`` and ``failed`` (by activity).

    Raises
    ------
    UserError
        Without root, if a program is missing, a server or tcpdump does not start, or tcpdump loses packets.
    """
    require_programs(*PROGRAMS, remedy="make system-lab")
    with TemporaryDirectory() as name, network(ADDRESSES) as made, _outputs(out) as (pcap, schedule):
        directory, hosts = Path(name), [made[host] for host in ADDRESSES]
        login = _prepare(directory, hosts, seed)
        with servers(hosts, directory, login), beside(made), _capture(made[SWITCH], pcap, snaplen) as counts:
            start_us, start = now_us(), time.monotonic()
            lab = Lab(ADDRESSES, directory, login, start + seconds)
            run_all(lab, [host for host in hosts if host.name not in SERVERS], seed, progress)
        _write_schedule(lab.rows, start_us, now_us(), schedule)
    done = {"pcap": out / "lab.pcap", "schedule": out / "lab.csv", "packets": counts["captured"]}
    return done | {"seconds": round(time.monotonic() - start, 1), **_runs(lab)}


def _runs(lab: Lab) -> dict[str, dict[str, int]]:
    """Return how many runs each activity had, and how many of them failed."""
    runs, failed = (Counter(name for name, bad in lab.runs if bad or every) for every in (True, False))
    return {"runs": dict(runs), "failed": dict(failed)}
