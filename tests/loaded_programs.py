"""Frames, and variants of the kernel program that are built once, for all tests of the kernel."""

import mmap
from functools import lru_cache

import numpy as np
from made_models import port_tree

from ids_repro.kernel.program import Program
from ids_repro.kernel.variants import Variant
from ids_repro.native.layouts import ENTRY, PROBE

ETHERNET = bytes(12)
RETURNS = {("xdp", "pass"): 2, ("xdp", "drop"): 1, ("tc", "pass"): 2**32 - 1, ("tc", "drop"): 2}


def ipv4(proto=17, dport=80, sport=1234, payload=64, version_ihl=0x45, fragment=0) -> bytes:
    """Return a frame with an IPv4 packet of TCP or UDP."""
    l4 = b"".join(int(v).to_bytes(2, "big") for v in (sport, dport)) + bytes(16)
    header = bytes([version_ihl, 0]) + (len(l4) + 20 + payload).to_bytes(2, "big") + bytes(2)
    header += fragment.to_bytes(2, "big") + bytes([64, proto, 0, 0]) + bytes([10, 99, 0, 1, 10, 99, 0, 2])
    return ETHERNET + b"\x08\x00" + header + l4 + bytes(payload)


UDP, TCP = ipv4(), ipv4(proto=6)
FRAMES = {
    "udp": (UDP, "ok"),
    "tcp": (TCP, "ok"),
    "icmp": (ipv4(proto=1), "ok"),
    "a later fragment has no ports": (ipv4(fragment=100)[: 14 + 20], "ok"),
    "arp": (ETHERNET + b"\x08\x06" + bytes(28), "not_ip"),
    "no ethernet header": (UDP[:13], "truncated"),
    "nothing": (b"", "truncated"),
    "half an ip header": (UDP[: 14 + 19], "truncated"),
    "no ports": (UDP[: 14 + 20 + 3], "truncated"),
    "no tcp flags": (TCP[: 14 + 20 + 13], "truncated"),
    "version 6 in an ipv4 frame": (ipv4(version_ihl=0x65), "malformed"),
    "a header shorter than 20 bytes": (ipv4(version_ihl=0x44), "malformed"),
}


@lru_cache
def program(hook: str, classifier: str = "none", n_classes: int = 2, action: str = "count", probe: bool = False):
    """Return a loaded variant, which is built once for all tests."""
    params = port_tree(n_classes).to_bytes() if classifier == "dt" else None
    return Program(Variant(hook, classifier, n_classes, action, probe=probe), params)


def probed(hook: str, frames: list[bytes], now_ns: int = 10**9) -> np.ndarray:
    """Send frames through flow extraction, one microsecond apart, and return the probes."""
    probes = np.zeros(len(frames), PROBE)
    probes["now_ns"] = now_ns + 1000 * np.arange(len(frames))
    return program(hook, probe=True).probe(probes, frames)


def states(loaded: Program) -> np.ndarray:
    """Return the states of the flows of two and more packets that the flow table holds; dtype FLOW."""
    entries = np.frombuffer(mmap.mmap(loaded.fds["entries"], loaded.variant.flows * ENTRY.itemsize), ENTRY)
    buckets = loaded._buckets()
    held = (buckets["tag"] != 0) & (buckets["seen"] & 2 == 0)  # IDS_IS_ONCE of bpf/flow_table.h
    return entries["flow"].reshape(held.shape)[held]
