"""Records the lab capture: real programs on hosts of our own, a pcap of their packets and a schedule of labels."""

from __future__ import annotations

import argparse
import contextlib
import csv
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

from ..config import DATA, UserError
from ..data.labels.schedule import COLUMNS
from ..network.hosts import Host
from ..network.namespaces import SWITCH, network
from ..require import require_programs
from .activity import PROGRAMS
from .actors import Lab, Row, now_us, run_all
from .files import write_files
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
SECONDS = 370.0
# Ethernet 14, IPv4 without options 20, TCP with options at most 60: 94.
SNAPLEN = 96
TEMPORARY = "ids-lab-"
FILTER = "ip and (tcp or udp or icmp)"
OFFLOADS = ("tx", "off", "rx", "off", "sg", "off", "tso", "off", "gso", "off", "gro", "off")


def _normal_rows(start_us: int, end_us: int) -> list[Row]:
    """Rows for all Normal flows. They come after the attacks', which so win where both match."""
    users = [address for name, address in ADDRESSES.items() if name not in SERVERS]
    served = [(name, src, ADDRESSES[dst], port) for src in users for dst in SERVERS for name, port in SERVICES]
    others = [("other", src, dst, None) for src in ADDRESSES.values() for dst in ADDRESSES.values() if src != dst]
    return [Row("Normal", name, start_us, end_us, src, dst, port, None) for name, src, dst, port in served + others]


@contextlib.contextmanager
def _capture(switch: Host, path: Path, snaplen: int) -> Iterator[Counter]:
    """Capture the bridge's TCP, UDP and ICMP, each packet once, into a pcap; yields what will be tcpdump's counts."""
    counts: Counter = Counter()
    # As root to the end: a program that changes its user outlives us if we are killed.
    argv = ["tcpdump", "-Z", "root", "-i", "br0", "-n", "-U", "-s", snaplen, "-B", 16384, "-w", "-", FILTER]
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


def _write_schedule(rows: list[Row], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(["" if value is None else value for value in astuple(row)] for row in rows)


def record_capture(
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
    with tempfile.TemporaryDirectory(prefix=TEMPORARY) as name, network(ADDRESSES) as hosts:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{out} cannot be the output directory ({error.strerror}): give another to --out") from None
        directory = Path(name)
        # Only one network exists at a time, so any other directory was left by a run that was killed.
        for stale in directory.parent.glob(f"{TEMPORARY}*"):
            if stale != directory:
                shutil.rmtree(stale, ignore_errors=True)
        directory.chmod(0o711)
        login = write_files(directory, ADDRESSES, seed)
        for host in ADDRESSES:
            hosts[host].run(["ethtool", "-K", "eth0", *OFFLOADS], check=True, capture_output=True)
        users = [hosts[host] for host in ADDRESSES if host not in SERVERS]
        part, part_csv = out / "lab.part.pcap", out / "lab.part.csv"
        try:
            offering = [hosts[host] for host in ADDRESSES]
            with servers(offering, directory, login), _capture(hosts[SWITCH], part, snaplen) as counts:
                start_us, start = now_us(), time.monotonic()
                lab = Lab(ADDRESSES, directory, login, start + seconds)
                run_all(lab, users, seed, progress)
            if counts["dropped by kernel"]:
                raise UserError(f"tcpdump lost {counts['dropped by kernel']} packets: run it when the machine is idle")
            rows = sorted(lab.rows, key=lambda row: row.start_us) + _normal_rows(start_us, now_us())
            _write_schedule(rows, part_csv)
            part.rename(out / "lab.pcap")
            part_csv.rename(out / "lab.csv")
        finally:
            part.unlink(missing_ok=True)
            part_csv.unlink(missing_ok=True)
    return {
        "pcap": out / "lab.pcap",
        "schedule": out / "lab.csv",
        "packets": counts["captured"],
        "seconds": round(time.monotonic() - start, 1),
        "goes": dict(Counter(name for name, _ in lab.goes)),
        "failed": dict(Counter(name for name, failed in lab.goes if failed)),
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``record`` to a parser."""
    parser.add_argument("--out", type=Path, default=DATA / "raw" / "lab", metavar="DIR", help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=SECONDS, metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--snaplen", type=int, default=SNAPLEN, metavar="N", help="bytes a packet; default: %(default)s"
    )


def record_command(args: argparse.Namespace) -> int:
    """Record as the command line says; see `record`."""
    done = record_capture(args.out, args.seconds, args.seed, args.snaplen)
    print(f"{done['packets']} packets in {done['seconds']} s: {done['pcap']}, labels in {done['schedule']}")
    return 0
