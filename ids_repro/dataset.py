"""A labelled capture -> a table of feature vectors -> train, validation and test parts -> scaling."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.model_selection import train_test_split

from . import labels, native, packets
from .config import CLASSES, NORMAL, TASKS, UserError
from .features import FEATURES, Q

FIRST_PACKETS = 100  # the paper's vectors are taken within a flow's first 100 packets
COLUMNS = ("flow", "index", "packet", "time_us", "label")
TEST_SHARE, VALIDATION_SHARE = 0.33, 0.20  # Sec. V-A1: 33 % test, the rest 80/20


@dataclass(frozen=True)
class Dataset:
    """Feature vectors with labels, one a packet, in the order of arrival.

    Parameters
    ----------
    x : ndarray of shape (n, 12), int64
        x1..x12 after the packet, Q16.
    flow : ndarray of shape (n,), int64
        Flow number.
    index : ndarray of shape (n,), int64
        The packet's index within its flow, from 0.
    packet : ndarray of shape (n,), int64
        The packet's index within the capture's IPv4 packets.
    time_us : ndarray of shape (n,), int64
        Its time stamp, since 1970.
    label : ndarray of shape (n,), int8
        Index into config.CLASSES.
    meta : dict
        Where it came from: name, source, sha256, counts.
    """

    x: np.ndarray
    flow: np.ndarray
    index: np.ndarray
    packet: np.ndarray
    time_us: np.ndarray
    label: np.ndarray
    meta: dict

    def sample(self, sampling: str = "last") -> Dataset:
        """Choose the vectors to learn from.

        Parameters
        ----------
        sampling : {"last", "every"}
            "last": the state at the last of a flow's first 100 packets, one vector a flow (Tables II and III).
            "every": each of a flow's first 100 packets (what the kernel sees).

        Raises
        ------
        UserError
            If it is neither.
        """
        if sampling not in ("last", "every"):
            raise UserError(f"sampling is {sampling!r}: use 'last' or 'every'")
        at = np.flatnonzero(self.index < FIRST_PACKETS)
        if sampling == "last":
            at = at[np.lexsort((self.index[at], self.flow[at]))]
            at = at[np.append(np.diff(self.flow[at]) != 0, True)]
        return self.take(at)

    def take(self, at: np.ndarray) -> Dataset:
        """Return the vectors at these places (indices or a mask)."""
        return Dataset(self.x[at], *(getattr(self, name)[at] for name in COLUMNS), self.meta)

    def target(self, task: str) -> np.ndarray:
        """Return the class of each vector: 0 normal, 1 attack in "binary", index into CLASSES in "multi"."""
        if task not in TASKS:
            raise UserError(f"there is no task {task!r}: use {' or '.join(TASKS)}")
        return (self.label != NORMAL).astype(np.int64) if task == "binary" else self.label.astype(np.int64)

    def counts(self) -> dict[str, int]:
        """Vectors per class, the classes that have any."""
        return {name: int(n) for i, name in enumerate(CLASSES) if (n := np.sum(self.label == i))}


def prepare(pcap: Path | str, schedule: Path | str, out: Path | str, name: str = "lab capture") -> Dataset:
    """Turn a capture and its label schedule into a table of features, written to a Parquet file.

    Parameters
    ----------
    pcap, schedule : Path or str
        See `packets.read` and `labels.read_schedule`.
    out : Path or str
        The Parquet file: columns x1..x12 by name (int64, Q16) and those of COLUMNS; the metadata under "ids_repro".
    name : str
        What the data is called in tables and figures.

    Raises
    ------
    UserError
        As the two readers do.
    """
    capture = packets.read(pcap)
    x, flow = native.extract(capture.rows)
    flow = flow.astype(np.int64)
    _, first, counts = np.unique(flow, return_index=True, return_counts=True)
    label = labels.label_flows(capture.rows[first], labels.read_schedule(schedule))[flow]
    order = np.argsort(flow, kind="stable")
    index = np.empty(len(flow), np.int64)
    index[order] = np.concatenate([np.arange(n) for n in counts])
    meta = {
        "name": name,
        "source": Path(pcap).name,
        "sha256": hashlib.sha256(Path(pcap).read_bytes() + Path(schedule).read_bytes()).hexdigest(),
        "frames": capture.frames,
        "flows": len(counts),
        "flows_without_label": int(np.sum(label[first] < 0)),
    }
    packet, time_us = np.arange(len(x)), (capture.rows["ts_ns"] // 1000).astype(np.int64)
    dataset = Dataset(x, flow, index, packet, time_us, label, meta).take(label >= 0)
    _write(dataset, Path(out))
    return dataset


def _write(dataset: Dataset, out: Path) -> None:
    columns = {name: dataset.x[:, i] for i, name in enumerate(FEATURES)}
    columns |= {name: getattr(dataset, name) for name in COLUMNS}
    table = pa.table(columns).replace_schema_metadata({"ids_repro": json.dumps(dataset.meta, sort_keys=True)})
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_suffix(".part")
    pq.write_table(table, part)
    part.replace(out)


def load(path: Path | str) -> Dataset:
    """Read what `prepare` wrote.

    Raises
    ------
    UserError
        If the file is missing or was not written by `prepare`.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: there is no dataset yet; run notebook 01, or: python -m ids_repro extract")
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid:
        raise UserError(f"{path}: not a dataset of ids_repro (not even Parquet)") from None
    meta = (table.schema.metadata or {}).get(b"ids_repro")
    if meta is None:
        raise UserError(f"{path}: not a dataset of ids_repro")
    x = np.stack([table[name].to_numpy() for name in FEATURES], axis=1)
    return Dataset(x, *(table[name].to_numpy() for name in COLUMNS), json.loads(meta))


def split(dataset: Dataset, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Divide the vectors into train, validation and test parts (Sec. V-A1), whole flows, stratified by class.

    Returns
    -------
    train, validation, test : ndarray of int
        Indices into the dataset's vectors.

    Raises
    ------
    UserError
        If a class has too few flows to be in each part.
    """
    flows, first = np.unique(dataset.flow, return_index=True)
    label = dataset.label[first]
    if np.bincount(label)[np.unique(label)].min() < 5:
        raise UserError(f"a class has fewer than 5 flows, too few to split: {dataset.counts()}")
    try:
        rest, test = train_test_split(np.arange(len(flows)), test_size=TEST_SHARE, random_state=seed, stratify=label)
        train, valid = train_test_split(rest, test_size=VALIDATION_SHARE, random_state=seed, stratify=label[rest])
    except ValueError:
        raise UserError(f"{len(flows):,} flows are too few for every class in each part: {dataset.counts()}") from None
    return tuple(np.flatnonzero(np.isin(dataset.flow, flows[part])) for part in (train, valid, test))


@dataclass(frozen=True)
class MinMax:
    """Min-max normalisation fitted on the training part (Sec. IV-B).

    Parameters
    ----------
    min_, range_ : ndarray of shape (12,), int64
        Smallest value and width of each feature, Q16.
    """

    min_: np.ndarray
    range_: np.ndarray

    @classmethod
    def fit(cls, x: np.ndarray) -> MinMax:
        """Fit on features of shape (n, 12), int64, Q16.

        Raises
        ------
        UserError
            If a feature is constant.
        """
        low, high = x.min(axis=0), x.max(axis=0)
        for name, width in zip(FEATURES, high - low, strict=True):
            if width == 0:
                raise UserError(f"the feature {name!r} is constant in the training part: nothing to normalise by")
        return cls(low, high - low)

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Normalise features of shape (n, 12), int64, Q16, to float64; the training part falls into [0, 1]."""
        return (x - self.min_) / self.range_


def as_float(x: np.ndarray) -> np.ndarray:
    """Q16 features as float64 in their own units."""
    return x / (1 << Q)
