"""Recordings with labels to train or to test a detector on, and the ways to part one: by flow and by time."""

from __future__ import annotations

import hashlib
import ipaddress
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..config import NORMAL, UserError
from ..data import dataset, packet_table, packets
from ..data.labels.source import LabelSource, label_files, label_source, labels_beside
from ..files import require_distinct
from ..models.detector import labels
from ..native import library

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
        labels are no schedule, or of several recordings.
    normal_per_hour : float, optional
        Normal flows per hour of the whole recording; parts keep it. None where there are no times.
    """

    data: dataset.Dataset
    incident: np.ndarray | None = None
    normal_per_hour: float | None = None

    def take(self, flows: np.ndarray) -> Recording:
        """Return some flows, by their numbers."""
        known, _ = labels(self.data)
        incident = None if self.incident is None else self.incident[np.isin(known, flows)]
        return Recording(self.data.take(np.isin(self.data.flow, flows)), incident, self.normal_per_hour)

    def require_both(self, what: str) -> Recording:
        """Return the recording if it has normal and attack flows.

        Parameters
        ----------
        what : str
            What the recording is, for the error.

        Raises
        ------
        UserError
            If it has no normal or no attack flow.
        """
        for kind, some in (("normal", self.data.label == NORMAL), ("attack", self.data.label != NORMAL)):
            if not some.any():
                raise UserError(f"{what}: no flow in it has the label of {kind} traffic, so no detector can be tested")
        return self


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
        If packets, labels or an address cannot be read, a recording is named twice, or it has no normal or no attack
        flow.
    """
    sources = [Path(sources)] if isinstance(sources, str | Path) else [Path(source) for source in sources]
    require_distinct(sources)
    parts = [_read(source, spec, _addresses(arriving_at)) for source in sources]
    whole = parts[0] if len(parts) == 1 else _joined(parts)
    return whole.require_both(", ".join(map(str, sources)))


def files(sources: Sequence[Path], spec: Path | str | None = None) -> list[Path]:
    """Return the files and folders that `read` reads."""
    read = [file for source in sources for file in packet_table.files(source)]
    return [*read, *(label_files(spec) if spec else map(labels_beside, sources))]


def _addresses(texts: Sequence[str]) -> list[int]:
    try:
        return [int(ipaddress.IPv4Address(text.strip())) for text in texts]
    except ValueError as error:
        raise UserError(f"packets arrive at IPv4 addresses with commas between them: {error}") from None


def _read(source: Path, spec: Path | str | None, arriving_at: Sequence[int]) -> Recording:
    if not source.exists():
        raise UserError(f"{source}: there is no such file")
    name = dataset.name_of(source)
    is_table = source.is_dir() or source.suffix == ".parquet"
    if is_table and (arriving_at or spec):
        raise UserError(f"{source}: a packet table has its own labels, and nothing says which packets arrive where")
    labeller = None if is_table else label_source(spec or labels_beside(source))
    if arriving_at:
        return _arriving(source, labeller, arriving_at, name)
    with tempfile.TemporaryDirectory() as folder:
        data = dataset.extracted(source, Path(folder) / "packets.parquet", labeller, "every", name)
    if is_table:
        return Recording(data)
    incident = None
    if labeller.incidents:
        _, first = np.unique(data.flow, return_index=True)
        incident = labeller.rows_of(packets.read(source).rows[data.packet[first]])
    return Recording(data, incident, _normal_per_hour(data))


def _normal_per_hour(data: dataset.Dataset) -> float | None:
    hours = np.ptp(data.time_us) / 3.6e9
    return float(np.sum(labels(data)[1] == NORMAL) / hours) if hours else None


def _arriving(source: Path, labeller: LabelSource, addresses: Sequence[int], name: str) -> Recording:
    """Return the packets to some addresses: their flows have one direction, and the labels of the two-way flows.

    A flow that one of these addresses opened begins here with its answer, so the label is that of the whole flow.
    """
    capture = packets.read(source)
    rows = capture.rows
    _, whole = library.extract(rows)
    _, begin = np.unique(whole, return_index=True)
    of_whole, report = labeller.label(rows[begin])
    labeller.require_some(report)
    of_whole = of_whole[whole.astype(np.int64)]
    packet = np.flatnonzero(np.isin(rows["daddr"], addresses))
    if not len(packet):
        raise UserError(f"{source}: no packet arrives at {', '.join(str(ipaddress.IPv4Address(a)) for a in addresses)}")
    x, flow = library.extract(rows[packet])
    flow = flow.astype(np.int64)
    _, first, counts = np.unique(flow, return_index=True, return_counts=True)
    label = of_whole[packet[first]]
    index, order = np.empty(len(flow), np.int64), np.argsort(flow, kind="stable")
    index[order] = np.arange(len(flow)) - np.repeat(np.cumsum(counts) - counts, counts)
    digest = hashlib.sha256(source.read_bytes() + labeller.content + repr(sorted(addresses)).encode())
    meta = {"name": name, "sha256": digest.hexdigest(), "labels": {"source": labeller.name}, "damage": capture.damage}
    meta |= {"arriving_at": ", ".join(str(ipaddress.IPv4Address(address)) for address in addresses)}
    time_us = (rows["ts_ns"][packet] // 1000).astype(np.int64)
    data = dataset.Dataset(x, flow, index, packet, time_us, label[flow], meta).take(label[flow] >= 0)
    incident = None
    if labeller.incidents:
        row = labeller.rows_of(rows[begin])[whole.astype(np.int64)]
        incident = row[packet[first]][label >= 0]
    return Recording(data, incident, _normal_per_hour(data))


def _joined(parts: Sequence[Recording]) -> Recording:
    """Return several recordings as one to learn from: with new numbers of flows, and without incidents."""
    datas, begin = [part.data for part in parts], 0
    flows = []
    for data in datas:
        flows.append(data.flow + begin)
        begin += int(data.flow.max()) + 1
    names = ("x", "index", "packet", "time_us", "label")
    columns = {name: np.concatenate([getattr(data, name) for data in datas]) for name in names}
    meta = {
        "name": ", ".join(data.meta["name"] for data in datas),
        "sha256": hashlib.sha256("".join(data.meta["sha256"] for data in datas).encode()).hexdigest(),
        "labels": {"source": ", ".join(dict.fromkeys(data.named()["labels"] for data in datas))},
    }
    damage = [f"{data.meta['name']}: {data.meta['damage']}" for data in datas if data.meta.get("damage")]
    meta["damage"] = "; ".join(damage) or None
    if "arriving_at" in datas[0].meta:
        meta["arriving_at"] = datas[0].meta["arriving_at"]
    known = [part.normal_per_hour for part in parts]
    rate = None if None in known else float(np.mean(known))
    return Recording(dataset.Dataset(flow=np.concatenate(flows), meta=meta, **columns), None, rate)


def by_flow(recording: Recording, seed: int) -> tuple[Recording, Recording]:
    """Part a recording at random: 67 % of the flows to learn from, 33 % to test on (Sec. V-A1)."""
    flows, label = labels(recording.data)
    rng = np.random.default_rng(seed)
    test = np.zeros(len(flows), bool)
    for some in (np.flatnonzero(label == NORMAL), np.flatnonzero(label != NORMAL)):
        test[rng.permutation(some)[: int(dataset.TEST_SHARE * len(some))]] = True
    return recording.take(flows[~test]), recording.take(flows[test])


def by_time(recording: Recording) -> tuple[Recording, Recording]:
    """Part a recording by time: the first 60 % of the flows to learn from, the last 40 % to test on."""
    data = recording.data
    flows, first = np.unique(data.flow, return_index=True)
    order = flows[np.argsort(data.time_us[first], kind="stable")]
    cut = int(LEARN_SHARE * len(order))
    return recording.take(order[:cut]), recording.take(order[cut:])
