"""Recordings with labels to train or to test a detector on, and the ways to part one: by flow and by time."""

from __future__ import annotations

import hashlib
import ipaddress
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..config import NORMAL, SAMPLE, SECOND_SAMPLE, UserError
from ..data import dataset, extract, packets
from ..data.labels.source import LabelSource, label_source, labels_beside
from ..models.detector import labels
from ..native import library

LAB = {SAMPLE: "lab capture", SECOND_SAMPLE: "second lab capture"}
LEARN_SHARE = 0.6  # of the flows, in the order of their first packets: "by time" tests on the rest


@dataclass(frozen=True)
class Recording:
    """Every packet of the labelled flows of a recording.

    Parameters
    ----------
    data : Dataset
        A vector for every packet.
    incident : ndarray of shape (n_flows,), int, optional
        For each flow, in the order of the flows' numbers, the row of the schedule that it belongs to. None if the
        labels are no schedule: then nothing says which flows were one incident.
    """

    data: dataset.Dataset
    incident: np.ndarray | None = None

    def take(self, flows: np.ndarray) -> Recording:
        """Return some flows, by their numbers."""
        known, _ = labels(self.data)
        incident = None if self.incident is None else self.incident[np.isin(known, flows)]
        return Recording(self.data.take(np.isin(self.data.flow, flows)), incident)


def read(sources: Sequence[Path] | Path, spec: Path | str | None = None, arriving_at: Sequence[str] = ()) -> Recording:
    """Read a recording, or several as one.

    Parameters
    ----------
    sources : Path or sequence of Path
        Captures or packet tables; see `extract.run`.
    spec : Path or str, optional
        The labels of all captures; see `label_source`. By default lab.csv beside lab.pcap or lab.pcap.gz.
    arriving_at : sequence of str
        Keep only packets to these IPv4 addresses: what a program on their interface sees, which is one direction of
        each flow. All packets are kept by default.

    Raises
    ------
    UserError
        If packets, labels or an address cannot be read, or there is no normal or no attack flow.
    """
    sources = [Path(sources)] if isinstance(sources, str | Path) else [Path(source) for source in sources]
    parts = [_read(source, spec, _addresses(arriving_at)) for source in sources]
    whole = parts[0] if len(parts) == 1 else _joined(parts)
    for what, some in (("normal", whole.data.label == NORMAL), ("attack", whole.data.label != NORMAL)):
        if not some.any():
            names = ", ".join(map(str, sources))
            raise UserError(f"{names}: no flow in it has the label of {what} traffic, so nothing can be told by it")
    return whole


def _addresses(texts: Sequence[str]) -> list[int]:
    try:
        return [int(ipaddress.IPv4Address(text.strip())) for text in texts]
    except ValueError as error:
        raise UserError(f"an address that packets arrive at: {error}") from None


def _read(source: Path, spec: Path | str | None, arriving_at: Sequence[int]) -> Recording:
    if not source.exists():
        raise UserError(f"{source}: there is no such file")
    name = LAB.get(source.resolve(), source.resolve().name)
    if source.is_dir() and arriving_at:
        raise UserError(f"{source}: a packet table has no addresses, so nothing says which packets arrive where")
    labeller = None if source.is_dir() else label_source(spec or labels_beside(source))
    if arriving_at:
        data = _arriving(source, labeller, arriving_at, name)
    else:
        with tempfile.TemporaryDirectory() as folder:
            extract.run(source, Path(folder) / "packets.parquet", labeller, sampling="every", name=name)
            data = dataset.load(Path(folder) / "packets.parquet")
    return Recording(data, _incidents(source, data, labeller))


def _arriving(source: Path, labeller: LabelSource, addresses: Sequence[int], name: str) -> dataset.Dataset:
    """Return the vectors of the packets to some addresses, whose flows have one direction only."""
    rows = packets.read(source).rows
    packet = np.flatnonzero(np.isin(rows["daddr"], addresses))
    if not len(packet):
        raise UserError(f"{source}: no packet arrives at {', '.join(str(ipaddress.IPv4Address(a)) for a in addresses)}")
    x, flow = library.extract(rows[packet])
    flow = flow.astype(np.int64)
    _, first, counts = np.unique(flow, return_index=True, return_counts=True)
    label, report = labeller.label(rows[packet[first]])
    labeller.require_some(report)
    index, order = np.empty(len(flow), np.int64), np.argsort(flow, kind="stable")
    index[order] = np.arange(len(flow)) - np.repeat(np.cumsum(counts) - counts, counts)
    digest = hashlib.sha256(source.read_bytes() + labeller.content + repr(sorted(addresses)).encode())
    meta = {"name": name, "sha256": digest.hexdigest(), "labels": {"source": labeller.name}}
    meta |= {"arriving_at": ", ".join(str(ipaddress.IPv4Address(address)) for address in addresses)}
    time_us = (rows["ts_ns"][packet] // 1000).astype(np.int64)
    return dataset.Dataset(x, flow, index, packet, time_us, label[flow], meta).take(label[flow] >= 0)


def _incidents(source: Path, data: dataset.Dataset, labeller: LabelSource | None) -> np.ndarray | None:
    """Return the row of the schedule of each flow; None if there is no schedule."""
    if labeller is None or not labeller.incidents:
        return None
    _, first = np.unique(data.flow, return_index=True)
    return labeller.rows_of(packets.read(source).rows[data.packet[first]])


def _joined(parts: Sequence[Recording]) -> Recording:
    """Return several recordings as one to learn from: with new numbers of flows, and without incidents."""
    datas, begin = [part.data for part in parts], 0
    flows = []
    for data in datas:
        flows.append(data.flow + begin)
        begin += int(data.flow.max()) + 1
    columns = {name: np.concatenate([getattr(data, name) for data in datas]) for name in ("x", "index", "packet")}
    columns |= {name: np.concatenate([getattr(data, name) for data in datas]) for name in ("time_us", "label")}
    meta = {
        "name": ", ".join(data.meta["name"] for data in datas),
        "sha256": hashlib.sha256("".join(data.meta["sha256"] for data in datas).encode()).hexdigest(),
        "labels": {"source": ", ".join(dict.fromkeys(str(data.meta["labels"]["source"]) for data in datas))},
    }
    if "arriving_at" in datas[0].meta:
        meta["arriving_at"] = datas[0].meta["arriving_at"]
    return Recording(dataset.Dataset(flow=np.concatenate(flows), meta=meta, **columns))


def by_flow(recording: Recording, seed: int) -> tuple[Recording, Recording]:
    """Part a recording at random as the paper does (Sec. V-A1): 67 % of the flows to learn from, 33 % to test on.

    Raises
    ------
    UserError
        As `dataset.split` does.
    """
    train, validation, test = dataset.split(recording.data, seed)
    flow = recording.data.flow
    return recording.take(flow[np.concatenate([train, validation])]), recording.take(flow[test])


def by_time(recording: Recording) -> tuple[Recording, Recording]:
    """Part a recording by time: the first 60 % of the flows to learn from, the last 40 % to test on."""
    data = recording.data
    flows, first = np.unique(data.flow, return_index=True)
    order = flows[np.argsort(data.time_us[first], kind="stable")]
    cut = int(LEARN_SHARE * len(order))
    return recording.take(order[:cut]), recording.take(order[cut:])
