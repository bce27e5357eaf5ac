"""Turn a capture or a packet table into a Parquet file of feature vectors (`feature_file`), a piece at a time.

Differs (flow rules "go-flows"): go-flows made the paper's dataset, and its users dropped the flows with a negative
interval. These rules follow both, so that the flows can be counted beside the paper's. These things stay different.
go-flows gives an IPv6 packet's length without the header, it reads the first bytes of later IPv6 fragments as ports,
and it leaves out frames with VLAN tags. Here two IPv6 addresses count as one if their hashes of 63 bits are equal.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .. import cluster
from ..config import ROOT, UserError
from ..files import replaced
from ..native import stream
from ..native.layouts import FIRST_PACKETS, ROW
from ..progress import show_progress
from ..text import printable
from . import packet_table, packets
from .feature_file import ROW_GROUP, FeatureWriter
from .flow import ACTIVE_US, IDLE_US
from .labels.source import LabelSource, Report

SAMPLINGS = ("last", "every")
# "text": IPv4 packets, as the paper's text says nothing of others. "go-flows": see above. A flow ends alike in both.
FLOW_RULES = ("text", "go-flows")
# What only captures say of themselves, and what a packet table would say.
CAPTURE_FACTS = {"stepped_back": 0, "most_back_ms": 0.0, "no_length": 0, "unread_links": {}}
# The modules that read packets, each with an `open_source`. The first that knows a path reads it.
SOURCES = (packet_table, packets)
_BAR = {"unit_scale": True, "delay": 1}  # a progress bar in thousands and millions, if it takes more than a second


class PacketSource(Protocol):
    """A file or folder of packets, to be read once: `packets.Packets`, `packet_table.PacketTable`, or one like them.

    Its module is in SOURCES and has a function ``open_source(path, dedup_ms, reorder_ms, rules)``. This returns the
    source, or None if the path is of another kind.

    Attributes
    ----------
    path : Path
        The file or the folder.
    size, position : int
        How much there is to read (0 if nobody knows), and how much has been read, both in `unit`.
    unit : {"B", "packet"}
        Bytes or packets.
    labels : callable or None
        Takes flow numbers of shape (n,), uint64, and returns their labels, shape (n,), int8. None if the source has no
        labels of its own.
    """

    path: Path
    size: int
    position: int
    unit: str
    labels: Callable[[np.ndarray], np.ndarray] | None

    def pieces(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Yield packets (dtype ROW) in the order of arrival, with their flow numbers (uint64) if these are given."""

    def facts(self) -> dict[str, Any]:
        """Return, after the last piece, what the metadata say of the source.

        Returns
        -------
        dict
            "parameters" it was read with, "sources" (file name to SHA-256), "frames" (outcome to number), packets
            "out_of_order" and "late", and "damage": None, or where and how the file broke off. A capture also has
            "most_back_ms", "no_length" and "unread_links"; see `stream.Reader`.
        """

    def sha256(self) -> Any:
        """Return, after the last piece, a hash object that has taken in everything that was read."""


def run(
    source: Path | str,
    out: Path | str,
    labels: LabelSource | None = None,
    *,
    sampling: str = "last",
    dedup_ms: float = 0,
    reorder_ms: float = 0,
    flow_rules: str | None = None,
    name: str = "own capture",
) -> dict[str, Any]:
    """Extract the feature vectors of a capture or a packet table.

    Parameters
    ----------
    source : Path or str
        A capture (`packets.Packets`), or a packet table: its folder or the packets.parquet in it.
    out : Path or str
        The Parquet file (`feature_file`). It appears under this name when it is complete.
    labels : LabelSource, optional
        Labels for the flows of a capture. A packet table has its own.
    sampling : {"last", "every"}
        "last": one vector per flow, at the last of its first 100 packets (Tables II and III). "every": one per packet.
    dedup_ms, reorder_ms : float
        See `stream.Reader` [ms]. Only captures take these two and the rules.
    flow_rules : {"text", "go-flows"}, by default "go-flows" with the labels "published", else "text"
    name : str
        What tables and figures call the data.

    Returns
    -------
    dict
        The counts that `ids_repro extract --json` prints; "damage" says where the file broke off, or is None.

    Raises
    ------
    UserError
        If the input cannot be read, holds no IPv4 packet, no label fits, or the output is the input or cannot be
        written.
    """
    begin = time.perf_counter()
    rules = flow_rules or ("go-flows" if labels and labels.name == "published" else None)
    opened = open_source(Path(source), dedup_ms, reorder_ms, rules)
    meta = write(opened, Path(out), labels, sampling, name, rules)
    return summary(meta, time.perf_counter() - begin)


def open_source(path: Path, dedup_ms: float = 0, reorder_ms: float = 0, rules: str | None = None) -> PacketSource:
    """Open a file or folder of packets with the first module of SOURCES that knows it.

    Parameters
    ----------
    path : Path
        A capture, or a packet table.
    dedup_ms, reorder_ms, rules
        See `run`; `rules` are its `flow_rules`, None if neither the user nor the labels ask for any.

    Returns
    -------
    PacketSource

    Raises
    ------
    UserError
        If it cannot be read, or its kind does not take these options.
    """
    if rules not in (None, *FLOW_RULES):
        raise UserError(f"the flow rules are {rules!r}: use {' or '.join(FLOW_RULES)}")
    found = (module.open_source(path, dedup_ms, reorder_ms, rules) for module in SOURCES)
    return next(source for source in found if source is not None)


def write(
    source: PacketSource, out: Path, labels: LabelSource | None, sampling: str, name: str, rules: str | None = None
) -> dict[str, Any]:
    """Write the feature vectors of an open source to a Parquet file.

    Parameters
    ----------
    source : PacketSource
        It is read to its end.
    out, labels, sampling, name, rules
        See `run` and `open_source`.

    Returns
    -------
    dict
        The metadata of the file.

    Raises
    ------
    UserError
        See `run`.
    """
    if sampling not in SAMPLINGS:
        raise UserError(f"sampling is {sampling!r}: use 'last' or 'every'")
    if rules and source.labels and not labels:
        raise UserError(f"{source.path}: a packet table says which flows there are; leave out --flow-rules")
    every = sampling == "every"
    sampler, label = stream.Sampler(every, rules == "go-flows"), _labeller(source, labels, every)
    with (
        replaced(out, packet_table.files(source.path)) as file,
        FeatureWriter(file, every, label) as writer,
        show_progress(total=source.size or None, desc=printable(source.path.name), unit=source.unit, **_BAR) as bar,
    ):
        for rows, flow in source.pieces():
            cluster.stop_if_unwanted()
            sampler.push(rows, flow)
            writer.drain(sampler, ROW_GROUP)
            bar.update(source.position - bar.n)
        meta = source.facts()
        writer.drain_all(sampler)
        if labels:
            labels.require_some(label.report)
            meta["labels"] = {"source": labels.name, "notes": labels.notes} | label.report.as_dict()
        counts = {key: n for key, n in sampler.counts().items() if key != "waiting"}
        return writer.finish(meta | counts | _circumstances(source, meta, labels, sampling, name, rules))


def _circumstances(
    source: PacketSource, facts: dict, labels: LabelSource | None, sampling: str, name: str, rules: str | None
) -> dict[str, Any]:
    """Return the metadata that say what was asked for, and the hashes of what was read."""
    parameters = {
        "sampling": sampling,
        "flow_rules": rules or FLOW_RULES[0],
        "first_packets": FIRST_PACKETS,
        "idle_s": IDLE_US / 1e6,
        "active_s": ACTIVE_US / 1e6,
        "labels": labels.name if labels else None,
    }
    digest, sources = source.sha256(), facts["sources"]
    if labels:
        digest.update(labels.content)
        sources = sources | {labels.name: hashlib.sha256(labels.content).hexdigest()}
    path = source.path.resolve() if source.path.exists() and not packets.is_pipe(source.path) else None
    if path and path.is_relative_to(ROOT):
        path = path.relative_to(ROOT)  # then another checkout writes the same bytes
    return {
        "name": name,
        "source": source.path.name,
        "path": path and str(path),
        "parameters": facts["parameters"] | parameters,
        "sources": sources,
        "sha256": digest.hexdigest(),
    }


def summary(meta: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return the counts that `run` returns.

    Parameters
    ----------
    meta : dict
        The metadata of the file.
    seconds : float
        How long it took.
    """
    frames = meta["frames"]
    dropped = {reason: n for reason, n in frames.items() if reason not in ("ok", "duplicate")}
    return {
        "frames": sum(frames.values()),
        "packets": meta["packets"],
        "duplicates": frames.get("duplicate", 0),
        "flows": meta["flows"],
        "seconds": round(seconds, 3),
        "packets_per_s": round(meta["packets"] / seconds),
        "dropped": dropped,
        "flow_rules": meta["parameters"]["flow_rules"],
        **{key: meta[key] for key in ("vectors", "flows_by_class", "flows_without_label")},
        **{key: meta[key] for key in ("out_of_order", "late", "damage")},
        **{key: meta.get(key, none) for key, none in CAPTURE_FACTS.items()},
        "unmatched": meta.get("labels", {}).get("flows", {}).get("unmatched", {}),
    }


def _labeller(source: PacketSource, labels: LabelSource | None, every: bool) -> Callable[[np.ndarray], np.ndarray]:
    """Return what labels vectors (dtype VECTOR): by their flows' first packets, by the source itself, or with -1."""
    if labels and source.labels:
        raise UserError(f"{source.path}: it has labels of its own; leave out --labels")
    if labels:
        return _ByFirstPacket(labels, every)
    if source.labels:
        return lambda vectors: source.labels(vectors["flow"])
    return lambda vectors: np.full(len(vectors), -1, np.int8)


class _ByFirstPacket:
    """Label vectors by the first packet of each vector's flow, and report the labels of all flows.

    Attributes
    ----------
    report : Report
        Of the vectors labelled so far.
    """

    def __init__(self, labels: LabelSource, every: bool) -> None:
        self._labels, self._every, self.report = labels, every, Report()

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """Label vectors of shape (n,), dtype VECTOR; the labels are int8, index into CLASSES or -1."""
        _, first, flow = np.unique(vectors["flow"], return_index=True, return_inverse=True)
        rows = np.zeros(len(first), ROW)
        rows["ts_ns"] = vectors["first_us"][first] * np.uint64(1000)
        for name in ("saddr", "daddr", "sport", "dport", "proto"):
            rows[name] = vectors[name][first]
        found, report = self._labels.label(rows, np.bincount(flow) if self._every else None)
        if self._every:  # a flow may have vectors in several pieces: count it only where its first vector is
            _, begun = self._labels.label(rows[vectors["index"][first] == 0])
            report = Report(begun.flows, report.packets)
        self.report += report
        return found[flow]
