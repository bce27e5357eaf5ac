"""Put a detector before the lab's servers while normal and attack traffic runs: what it flags, and what it breaks.

The lab's programs run twice with one seed: through a detector that counts, and through one that cuts off flagged flows.
What was flagged live is compared with what the same model says off-line of the packets that tcpdump saw.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import machine_load, records
from ..config import CLASSES, NORMAL, RESULTS, SAMPLE, SECOND_SAMPLE, Profile
from ..data import packets
from ..kernel.program import Program
from ..kernel.ring import wall_ns
from ..kernel.variants import Variant
from ..lab.normal import NORMAL as ACTIVITIES
from ..lab.record import ADDRESSES, SERVERS, record_capture
from ..models.detector import highest, labels, train_part
from ..models.int_tree import IntTree
from ..models.scorers import scores
from ..native import library
from ..network.hosts import Host
from . import recordings

BUDGET = 0.005  # of the detector, so that of requests with several flows few are broken
SERVER_ADDRESSES = [int(ipaddress.IPv4Address(ADDRESSES[name])) for name in SERVERS]
MODE, LOOK_S, SNAPLEN = "tc_both", 0.1, 96
# At egress TC sees packets as TCP hands them over: longer than on the wire, whatever ethtool says, unless a packet may
# have one segment only.
SINGLE_SEGMENTS = ("ip", "link", "set", "eth0", "gso_max_segs", "1")
# Activities that a server's detector can break: those that go to a server, not to a neighbour.
REQUESTS = {one.name for one in ACTIVITIES if "{peer}" not in one.command}


class Guard(NamedTuple):
    """The tree of a detector that learnt both directions of flows.

    Attributes
    ----------
    tree : IntTree
    data_sha256 : str
        SHA-256 of the recordings that it learnt.
    """

    tree: IntTree
    data_sha256: str


def train_guard() -> Guard:
    """Train a tree on the two shipped recordings of the lab, for `BUDGET`."""
    both = recordings.read([SAMPLE, SECOND_SAMPLE]).data
    return Guard(train_part("dt", both, BUDGET)[0].twin, both.meta["sha256"])


class _Watch:
    """Attaches a detector to each server, and collects the packets by which it flagged flows."""

    def __init__(self, params: bytes, action: str) -> None:
        self.params, self.action = params, action
        self.suspects: list[np.ndarray] = []
        self.lost = 0

    @contextlib.contextmanager
    def __call__(self, hosts: Mapping[str, Host]) -> Iterator[None]:
        variant = Variant(hook=MODE, classifier="dt", evidence=True, action=self.action)
        stop = threading.Event()
        with contextlib.ExitStack() as stack:
            programs = [stack.enter_context(Program(variant, self.params)) for _ in SERVERS]
            for name, program in zip(SERVERS, programs, strict=True):
                hosts[name].run(SINGLE_SEGMENTS, check=True)
                stack.enter_context(program.attached(hosts[name], MODE))
            reader = threading.Thread(target=self._read, args=(programs, stop))
            reader.start()
            try:
                yield
            finally:
                stop.set()
                reader.join()
                self.lost = sum(int(program.counts()["lost"]) for program in programs)

    def _read(self, programs: list[Program], stop: threading.Event) -> None:
        while True:
            last = stop.is_set()
            self.suspects += [program.suspects() for program in programs]
            if last:
                return
            stop.wait(LOOK_S)


def trial(tree: IntTree, action: str, seed: int, seconds: float) -> dict[str, Any]:
    """Run the lab's programs against servers that a detector guards.

    Parameters
    ----------
    tree : IntTree
        Of a detector that learnt both directions of flows.
    action : {"count", "filter"}
    seed : int
        Of the lab's draws.
    seconds : float
        How long the traffic runs.

    Returns
    -------
    dict
        "flows": attack and normal flows to and from the servers. "by_class": how many of each class, and the share
        that was flagged. "live", "offline": the share of each that the program flagged, and that the same tree flags
        in the capture. They differ because the capture is made at the bridge: it has a packet "apart_ms" before or
        after the program (the median and the most of the packets that raised a flag), so times and order of packets
        differ. "runs", "failed": normal requests to the servers by activity. "lost": flags that were not recorded,
        because the ring buffer was full.
    """
    watch = _Watch(tree.to_bytes(), action)
    with tempfile.TemporaryDirectory() as folder:
        done = record_capture(Path(folder), seconds, seed, SNAPLEN, beside=watch)
        whole, rows = recordings.read(done["pcap"]).data, packets.read(done["pcap"]).rows
    at_server = np.isin(rows["saddr"], SERVER_ADDRESSES) | np.isin(rows["daddr"], SERVER_ADDRESSES)
    guarded = whole.take(at_server[whole.packet])
    rows = rows[guarded.packet]
    (flows, label), at = labels(guarded), np.unique(guarded.flow, return_inverse=True)[1]
    offline = highest(scores("dt", watch.params, guarded.x), guarded.flow) >= tree.flag_at
    nearest, apart_ns = _nearest(np.concatenate(watch.suspects), rows)
    live = np.zeros(len(flows), bool)
    live[at[nearest]] = True
    return _shares(label, live, offline) | {
        "runs": {name: n for name, n in done["runs"].items() if name in REQUESTS},
        "failed": {name: n for name, n in done["failed"].items() if name in REQUESTS},
        "apart_ms": [float(way(apart_ns)) / 1e6 for way in (np.median, np.max)] if len(apart_ns) else None,
        "lost": watch.lost,
    }


def _shares(label: np.ndarray, live: np.ndarray, offline: np.ndarray) -> dict[str, Any]:
    """Return how many flows there are, and the shares that were flagged; of each flow its class and both verdicts."""
    attack = label != NORMAL
    by_class = {CLASSES[k]: live[label == k] for k in np.unique(label)}
    return {
        "flows": {"attack": int(attack.sum()), "normal": int((~attack).sum())},
        "by_class": {name: {"flows": len(own), "live": float(own.mean())} for name, own in by_class.items()},
        "live": {"attack": float(live[attack].mean()), "normal": float(live[~attack].mean())},
        "offline": {"attack": float(offline[attack].mean()), "normal": float(offline[~attack].mean())},
    }


def _nearest(suspects: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the packets of a capture that programs gave to user space.

    Returns
    -------
    place : ndarray of int, shape (n,)
        Of each suspect that the capture has, the row: of its addresses and ports, the nearest in time.
    apart_ns : ndarray of int, shape (n,)
        The time between the two stamps [ns].
    """
    names = ("saddr", "daddr", "sport", "dport", "proto")
    seen, _ = library.parse(suspects["data"], suspects["caplen"])
    where: dict[tuple, list[int]] = {}
    for number, key in enumerate(zip(*(rows[name].tolist() for name in names), strict=True)):
        where.setdefault(key, []).append(number)
    found = []
    for *key, stamp in zip(*(seen[name].tolist() for name in names), wall_ns(suspects["now_ns"]), strict=True):
        same = np.array(where.get(tuple(key), []), np.int64)
        if len(same):
            apart = np.abs(rows["ts_ns"][same].astype(np.int64) - stamp)
            found.append((same[apart.argmin()], apart.min()))
    place, apart_ns = np.array(found, np.int64).reshape(-1, 2).T
    return place, apart_ns


def evaluate(guard: Guard, profile: Profile, seed: int = 1000, results: Path = RESULTS) -> list[dict]:
    """Run `trial` for both actions for as long as the profile says, and record each.

    Returns
    -------
    list of dict
        The records, of kind "end_to_end".
    """
    made = []
    for action in ("count", "filter"):
        started = records.now()
        raw = trial(guard.tree, action, seed, profile.live_s)
        asked = {"action": action, "seed": seed, "seconds": profile.live_s, "profile": profile.name}
        asked |= {"dataset": "lab capture"}
        sha256 = hashlib.sha256(guard.tree.to_bytes()).hexdigest()
        identity = {"model_sha256": sha256, "data_hash": guard.data_sha256}
        path = results / "end_to_end.jsonl"
        made.append(records.append(path, "end_to_end", asked, raw, started=started, identity=identity))
    machine_load.say_if_busy(made)
    return made
