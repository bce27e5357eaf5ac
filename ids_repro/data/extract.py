"""A capture or a packet table -> a Parquet file of feature vectors, a piece at a time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from ..config import UserError
from ..native import stream
from ..native.layouts import FIRST_PACKETS, OUTCOMES, ROW, VECTOR
from .features import FEATURES
from .flow import ACTIVE_US, IDLE_US
from .labels.source import LabelSource, Report
from .packet_table import PacketTable
from .packets import Packets

COLUMNS = ("flow", "index", "packet", "time_us", "label")
SCHEMA = pa.schema(
    [(name, pa.int64()) for name in FEATURES]
    + [(name, pa.int8() if name == "label" else pa.int64()) for name in COLUMNS]
)
# The fastest and the smallest of those tried: each byte of the integers by itself, then LZ4.
ENCODING = {
    "use_dictionary": False,
    "compression": "lz4",
    "column_encoding": {name: "BYTE_STREAM_SPLIT" for name in SCHEMA.names if name != "label"},
}
ROW_GROUP = 1 << 17  # vectors; what is held in memory before it is written
SAMPLINGS = ("last", "every")


def run(
    source: Path | str,
    out: Path | str,
    labels: LabelSource | None = None,
    *,
    sampling: str = "last",
    dedup_ms: float = 0,
    reorder_ms: float = 0,
    name: str = "own capture",
) -> dict:
    """Extract the feature vectors of a capture or a packet table.

    Parameters
    ----------
    source : Path or str
        A pcap or pcapng file, plain or gzip; or a folder with a packet table (or its
        packets.parquet), which brings its own labels.
    out : Path or str
        The Parquet file; it appears under this name when it is whole. The same inputs give the same bytes.
        Columns: FEATURES (int64, Q16), then "flow" (number of the flow), "index" (of the packet in the flow, from 0),
        "packet" (among the packets kept), "time_us" (since 1970), all int64, and "label" (int8, index into
        config.CLASSES, -1: none). Order: with "every" that of arrival; with "last" that in which the vectors were
        final, sorted by flow in each row group. Metadata: JSON under "ids_repro" with the sources' SHA-256,
        parameters and counts.
    labels : LabelSource, optional
        Of a capture's flows.
    sampling : {"last", "every"}
        "last": one vector a flow, at the last of its first 100 packets (Tables II and III). "every": one a packet.
    dedup_ms, reorder_ms : float
        See `stream.Reader` and `stream.Order` [ms]; captures only.
    name : str
        What the data is called in tables and figures.

    Returns
    -------
    dict
        frames, packets, duplicates, flows, seconds, packets_per_s, dropped (reason to frames), vectors,
        flows_without_label, out_of_order, late, and damage: None, or where and how the file broke off.

    Raises
    ------
    UserError
        If the input cannot be read, holds no IPv4 packet, no label fits, or the output cannot be written.
    """
    if sampling not in SAMPLINGS:
        raise UserError(f"sampling is {sampling!r}: use 'last' or 'every'")
    begin = time.perf_counter()
    parameters = {
        "sampling": sampling,
        "first_packets": FIRST_PACKETS,
        "idle_s": IDLE_US / 1e6,
        "active_s": ACTIVE_US / 1e6,
        "dedup_ms": float(dedup_ms),
        "reorder_ms": float(reorder_ms),
        "labels": labels.name if labels else None,
    }
    every = sampling == "every"
    source = Path(source)
    if source.is_dir() or source.suffix == ".parquet":
        if labels or dedup_ms or reorder_ms:
            raise UserError(f"{source}: a packet table brings its own labels and order; leave out what is for captures")
        meta = _from_table(
            PacketTable(source if source.is_dir() else source.parent),
            Path(out),
            every,
            {"name": name, "parameters": parameters},
        )
    else:
        packets = Packets(source, dedup_ms, reorder_ms)
        meta = _from_capture(packets, Path(out), every, labels, {"name": name, "parameters": parameters})
    return _summary(meta, time.perf_counter() - begin)


def _from_capture(packets: Packets, out: Path, every: bool, labels: LabelSource | None, meta: dict) -> dict:
    sampler = stream.Sampler(every)
    label = _ByFirstPacket(labels, every) if labels else _no_labels
    with (
        _Writer(out, every, label) as writer,
        tqdm(total=packets.path.stat().st_size, desc=packets.path.name, unit="B", unit_scale=True, delay=1) as bar,
    ):
        for rows in packets:
            sampler.push(rows)
            writer.drain(sampler, ROW_GROUP)
            bar.update(packets.source.position - bar.n)
        packets.require_some()
        writer.drain_all(sampler)
        digest = packets.source.sha256
        sources = {packets.path.name: digest.hexdigest()}
        if labels:
            sources[labels.name] = hashlib.sha256(labels.content).hexdigest()
            digest.update(labels.content)
        counts = packets.counts()
        meta |= {
            "source": packets.path.name,
            "sources": sources,
            "sha256": digest.hexdigest(),
            "damage": packets.damage,
        }
        meta["frames"] = {name: counts[name] for name in OUTCOMES}
        meta |= {"out_of_order": counts["out_of_order"], "late": counts.get("late", 0), "damage": packets.damage}
        if labels:
            labels.require_some(label.report)
            meta["labels"] = {"source": labels.name, "notes": labels.notes} | label.report.as_dict()
        return writer.finish(meta | sampler.counts())


def _from_table(table: PacketTable, out: Path, every: bool, meta: dict) -> dict:
    sampler = stream.Sampler(every)
    with (
        _Writer(out, every, lambda samples: table.labels(samples["flow"])) as writer,
        tqdm(total=table.total, desc=table.path.name, unit="packet", unit_scale=True, delay=1) as bar,
    ):
        for rows, flow in table:
            sampler.push(rows, flow)
            writer.drain(sampler, ROW_GROUP)
            bar.update(table.position - bar.n)
        writer.drain_all(sampler)
        sources = table.sha256()
        digest = hashlib.sha256("".join(sources.values()).encode()).hexdigest()
        meta |= {"source": table.path.name, "sources": sources, "sha256": digest, "damage": None}
        meta |= {"frames": {"ok": sampler.counts()["packets"]}, "out_of_order": 0, "late": 0}
        return writer.finish(meta | sampler.counts())


def _summary(meta: dict, seconds: float) -> dict:
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
    } | {key: meta[key] for key in ("vectors", "flows_without_label", "out_of_order", "late", "damage")}


class _ByFirstPacket:
    """Labels of vectors (dtype stream.VECTOR) by the first packet of each vector's flow, and a report of all flows."""

    def __init__(self, labels: LabelSource, every: bool) -> None:
        self._labels, self._every, self.report = labels, every, Report()

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Label vectors, shape (n,); int8, index into CLASSES or -1."""
        _, first, flow = np.unique(samples["flow"], return_index=True, return_inverse=True)
        rows = np.zeros(len(first), ROW)
        rows["ts_ns"] = samples["first_us"][first] * np.uint64(1000)
        for name in ("saddr", "daddr", "sport", "dport", "proto"):
            rows[name] = samples[name][first]
        found, report = self._labels.label(rows, np.bincount(flow) if self._every else None)
        if self._every:  # a flow has vectors in several pieces, and counts where it begins
            _, begun = self._labels.label(rows[samples["index"][first] == 0])
            report = Report(begun.flows, report.packets)
        self.report += report
        return found[flow]


def _no_labels(samples: np.ndarray) -> np.ndarray:
    return np.full(len(samples), -1, np.int8)


class _Writer:
    """Vectors -> row groups of one size -> a file that gets its name when it is whole."""

    def __init__(self, out: Path, every: bool, label: Callable[[np.ndarray], np.ndarray]):
        self.out, self._every, self._label = out, every, label
        self._part = out.with_name(out.name + ".part")
        self._vectors = self._without_label = 0
        with self._said():
            out.parent.mkdir(parents=True, exist_ok=True)
            self._file = pq.ParquetWriter(self._part, SCHEMA, **ENCODING)

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_) -> None:
        """Remove what is not whole."""
        with contextlib.suppress(OSError):
            self._file.close()
        self._part.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"{self.out}: cannot be written, and no part of it was left ({error})") from None

    def drain(self, sampler: stream.Sampler, least: int) -> None:
        """Write row groups as long as at least so many vectors wait."""
        while sampler.counts()["waiting"] >= least:
            self._write(sampler.take(ROW_GROUP))

    def drain_all(self, sampler: stream.Sampler) -> None:
        """End the sampler and write what is left, without holding all of it at once."""
        while sampler.end(ROW_GROUP):
            self.drain(sampler, ROW_GROUP)
        self.drain(sampler, 1)

    def _write(self, samples: np.ndarray) -> None:
        if not self._every:
            words = samples.view(np.int64).reshape(len(samples), -1)  # NumPy moves rows of words faster than structs
            samples = words.take(np.argsort(samples["flow"]), axis=0).view(VECTOR).ravel()
        label = self._label(samples)
        self._vectors += len(samples)
        self._without_label += int(np.sum(label[samples["index"] == 0] < 0 if self._every else label < 0))
        columns = [np.ascontiguousarray(samples["x"][:, i]) for i in range(len(FEATURES))]
        columns += [label if name == "label" else samples[name].astype(np.int64) for name in COLUMNS]
        with self._said():
            self._file.write_table(pa.table(columns, schema=SCHEMA))

    def finish(self, meta: dict) -> dict:
        """Write the metadata and give the file its name; returns the metadata, counts included."""
        del meta["waiting"]
        meta |= {"vectors": self._vectors, "flows_without_label": self._without_label}
        with self._said():
            self._file.add_key_value_metadata({"ids_repro": json.dumps(meta, sort_keys=True)})
            self._file.close()
            self._part.replace(self.out)
        return meta
