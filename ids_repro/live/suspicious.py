"""Suspicious packets that the action "redirect" gave to user space, as lines of text and as a pcap."""

from __future__ import annotations

import ipaddress
import struct
import time
from collections.abc import Iterator

import numpy as np

from ..native import stream
from .attached import Live

MOST = 256  # packets at once
WAIT_MS = 200
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp6"}
# https://www.tcpdump.org/manpages/pcap-savefile.5.txt: time stamps in ns, Ethernet
PCAP_HEADER = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1)
_RECORD_BYTES = 16  # before each frame


def take(live: Live, count: int | None = None) -> Iterator[np.ndarray]:
    """Yield samples, dtype SUSPECT, in pieces as they come; ends after so many, or when the program is detached."""
    left = count if count is not None else np.inf
    while left > 0:
        found = live.samples(int(min(left, MOST)), WAIT_MS)
        left -= len(found)
        if len(found):
            yield found
        elif not live.folder.exists():
            return


def wall_ns(now_ns: np.ndarray) -> np.ndarray:
    """The kernel's monotonic clock to the time of day [ns since 1970]."""
    return now_ns.astype(np.int64) + (time.time_ns() - time.monotonic_ns())


def _endpoint(address: bytes, port: int) -> str:
    ip = ipaddress.ip_address(address)
    return f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"


def _ends(frame: bytes, row: np.void) -> str:
    """Protocol, source and destination of a frame whose IP header stands at ``row["ip_at"]``."""
    packet = frame[row["ip_at"] :]
    at, size = (8, 16) if packet[0] >> 4 == 6 else (12, 4)
    source, sink = packet[at : at + size], packet[at + size : at + 2 * size]
    proto = PROTOCOLS.get(int(row["proto"]), f"protocol {row['proto']}")
    return f"{proto} {_endpoint(source, row['sport'])} > {_endpoint(sink, row['dport'])}"


def lines(samples: np.ndarray, classes: tuple[str, ...]) -> list[str]:
    """One line a sample: when, verdict, generation, protocol, from, to, length."""
    rows, _ = stream.Reader(ipv6=True).read(np.frombuffer(PCAP_HEADER + pcap_records(samples), np.uint8))
    parsed, out, at = {int(row["offset"]): row for row in rows}, [], len(PCAP_HEADER)
    for sample, ns in zip(samples, wall_ns(samples["now_ns"]).tolist(), strict=True):
        at += _RECORD_BYTES
        frame, row = sample["data"].tobytes(), parsed.get(at)
        ends = "its headers are longer than the sample" if row is None else _ends(frame, row)
        at += int(sample["caplen"])
        clock = time.strftime("%H:%M:%S", time.localtime(ns // 10**9)) + f".{ns // 1000 % 10**6:06}"
        verdict = f"{classes[sample['verdict']]} (gen. {sample['generation']})"
        out.append(f"{clock}  {verdict}  {ends}  {sample['len']} bytes")
    return out


def pcap_records(samples: np.ndarray) -> bytes:
    """The samples as records of a pcap, to follow PCAP_HEADER."""
    out = []
    for sample, ns in zip(samples, wall_ns(samples["now_ns"]).tolist(), strict=True):
        head = struct.pack("<IIII", ns // 10**9, ns % 10**9, sample["caplen"], sample["len"])
        out.append(head + sample["data"].tobytes()[: sample["caplen"]])
    return b"".join(out)
