"""The network settings and processes of this machine, for tests that must leave them as they found them."""

import contextlib
import json
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator

import psutil

from ids_repro.network.hosts import Host

SO_RCVBUFFORCE = 33


def interfaces() -> list[dict]:
    """Return this machine's interfaces and queueing disciplines, without counters."""
    links = subprocess.run(["ip", "-j", "-d", "link"], capture_output=True, check=True).stdout
    qdiscs = subprocess.run(["tc", "-j", "qdisc"], capture_output=True, check=True).stdout
    return json.loads(links) + json.loads(qdiscs)


def attachments(host: Host) -> list[dict]:
    """Return the XDP programs and clsact queueing disciplines of a host."""
    text = host.run(["ip", "-j", "-d", "link"], capture_output=True, check=True).stdout
    qdiscs = host.run(["tc", "-j", "qdisc"], capture_output=True, check=True).stdout
    programs = [entry["xdp"] for entry in json.loads(text) if "xdp" in entry]
    return programs + [entry for entry in json.loads(qdiscs) if entry["kind"] == "clsact"]


def alive(pid: int) -> bool:
    """Return whether a process still runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def load_processes() -> list[str]:
    """Return the names of the load generators and receivers that run now."""
    found = [p.info for p in psutil.process_iter(["name", "cmdline"]) if alive(p.pid)]
    agents = ["load_agent" for info in found if "ids_repro.sweep.load_agent" in (info["cmdline"] or ())]
    return agents + [i["name"] for i in found if (i["name"] or "").startswith(("hping3", "rawsock", "afxdp", "dpdk"))]


def until(condition: Callable[[], object], patience_s: float = 10.0) -> bool:
    """Wait until a condition holds; return False if it does not within `patience_s`."""
    end = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def heed_signals() -> None:
    """Give a child the usual signals, for `preexec_fn`: under nohup or in the background, this process ignores some."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def tap(host: Host) -> Iterator[socket.socket]:
    """Yield a socket that sees every frame that a host receives or sends."""
    with host.call(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))) as made:
        made.settimeout(5)
        made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 28)
        yield made


def ones_complement(data: bytes) -> int:
    """Return the sum of 16-bit words with carries folded in: 0xffff over data with a right checksum."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total
