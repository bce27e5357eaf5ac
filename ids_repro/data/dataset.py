"""Make and load a table of labelled feature vectors, choose vectors from it, and split them into three parts."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.model_selection import train_test_split

from ..config import CLASSES, NORMAL, SAMPLE, SECOND_SAMPLE, TASKS, DamagedWarning, UserError
from ..files import require_output
from ..native.layouts import FIRST_PACKETS
from . import extract
from .extract import SAMPLINGS
from .feature_file import COLUMNS
from .features import FEATURES
from .labels.source import LabelSource, label_files, label_source, labels_beside
from .packet_columns import reading

LAB = {SAMPLE: "lab capture", SECOND_SAMPLE: "second lab capture"}
TEST_SHARE, VALIDATION_SHARE = 0.33, 0.20  # Sec. V-A1: 33 % test; 80 % of the rest train, 20 % validate


@dataclass(frozen=True)
class Dataset:
    """Labelled feature vectors, each of one packet, in the order of arrival.

    Parameters
    ----------
    x : ndarray of shape (n, 12), int64
        x1..x12 after the packet, Q16.
    flow : ndarray of shape (n,), int64
        The number of the packet's flow.
    index : ndarray of shape (n,), int64
        The packet's index within its flow, from 0.
    packet : ndarray of shape (n,), int64
        The packet's number among the packets that were kept, from 0.
    time_us : ndarray of shape (n,), int64
        The packet's time stamp, since 1970 [us].
    label : ndarray of shape (n,), int8
        Index into `config.CLASSES`.
    meta : dict
        The metadata of the file: name, source, path, sha256, counts and so on.
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
            "last": one vector per flow, after the last of its first 100 packets (Tables II and III).
            "every": one for each of a flow's first 100 packets, as the kernel sees them.

        Returns
        -------
        Dataset
            The chosen vectors: "last" sorted by flow, "every" in the order of arrival.

        Raises
        ------
        UserError
            If `sampling` has another value.
        """
        if sampling not in SAMPLINGS:
            raise UserError(f"sampling is {sampling!r}: use 'last' or 'every'")
        at = np.flatnonzero(self.index < FIRST_PACKETS)
        if sampling == "last":
            at = at[np.lexsort((self.index[at], self.flow[at]))]
            at = at[np.append(np.diff(self.flow[at]) != 0, True)]
        return self.take(at)

    def take(self, at: np.ndarray) -> Dataset:
        """Return some of the vectors.

        Parameters
        ----------
        at : ndarray of shape (m,), int, or of shape (n,), bool
            Their indices, or a mask.
        """
        return Dataset(self.x[at], *(getattr(self, name)[at] for name in COLUMNS), self.meta)

    def named(self) -> dict[str, str]:
        """Return what a record says of the data: "dataset" (its name), "labels" (their source), "damage" (if any)."""
        source = self.meta.get("labels", {}).get("source") or self.meta.get("parameters", {}).get("labels")
        damage = {"damage": self.meta["damage"]} if self.meta.get("damage") else {}
        return {"dataset": self.meta["name"], "labels": source or "its own"} | damage

    def has_every_packet(self) -> bool:
        """Return whether there is a vector for every packet, and not one for each flow only."""
        return self.meta.get("parameters", {}).get("sampling") == "every"

    def target(self, task: str) -> np.ndarray:
        """Return the class of each vector in a task.

        Parameters
        ----------
        task : {"binary", "multi"}
            The task.

        Returns
        -------
        ndarray of shape (n,), int64
            "binary": 0 normal, 1 attack. "multi": index into `config.CLASSES`.

        Raises
        ------
        UserError
            If there is no such task.
        """
        if task not in TASKS:
            raise UserError(f"there is no task {task!r}: use {' or '.join(TASKS)}")
        return (self.label != NORMAL).astype(np.int64) if task == "binary" else self.label.astype(np.int64)

    def counts(self) -> dict[str, int]:
        """Return the number of vectors of each class that has any."""
        return {name: int(n) for i, name in enumerate(CLASSES) if (n := np.sum(self.label == i))}


def name_of(source: Path | str) -> str:
    """Return what tables and figures call the data of a capture or a packet table unless the user says otherwise."""
    path = Path(source).resolve()
    return LAB.get(path, path.name)


def prepare(
    pcap: Path | str, schedule: Path | str | Sequence[Path | str] | None, out: Path | str, name: str | None = None
) -> Dataset:
    """Write the features of every packet of a capture to a Parquet file, with labels, and load it.

    Parameters
    ----------
    pcap : Path or str
        See `packets.Packets`.
    schedule : Path, str, or sequence of them, optional
        What the labels come from; see `label_source`. By default lab.csv beside lab.pcap or lab.pcap.gz.
    out : Path or str
        The Parquet file; see `feature_file`.
    name : str, optional
        What tables and figures call the data; see `name_of` for the default.

    Returns
    -------
    Dataset
        The packets of the flows that have a label. If the capture broke off, a warning says where.

    Raises
    ------
    UserError
        As `extract.run` does.
    """
    schedule = schedule or labels_beside(Path(pcap))
    require_output(Path(out), label_files(schedule))
    return extracted(pcap, out, label_source(schedule), "every", name or name_of(pcap))


def extracted(source: Path | str, out: Path | str, labels: LabelSource | None, sampling: str, name: str) -> Dataset:
    """Write the features of a capture or a packet table to a Parquet file, and load it.

    Parameters
    ----------
    source, out, labels, sampling, name
        See `extract.run`. Of a capture, the packets are those that `packets.read` finds.

    Raises
    ------
    UserError
        As `extract.run` and `load` do.
    """
    extract.run(source, out, labels, sampling=sampling, flow_rules="text" if labels else None, name=name)
    return load(out)


def load(path: Path | str) -> Dataset:
    """Load a file that `prepare` or `extract.run` wrote: the vectors that have a label, in the order of arrival.

    Warn if the capture broke off that it was made from.

    Parameters
    ----------
    path : Path or str
        The Parquet file.

    Raises
    ------
    UserError
        If the file is missing, is no dataset, lacks a value, or holds no label.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: there is no dataset yet; run notebook 01, or: python -m ids_repro extract")
    with reading(path, "not a dataset of ids_repro"):
        file = pq.ParquetFile(path)
    meta = (file.metadata.metadata or {}).get(b"ids_repro")
    if meta is None:
        raise UserError(f"{path}: not a dataset of ids_repro")
    meta = _metadata(meta, path)
    with reading(path, "cannot be read to its end; extract it again"):
        table = file.read()
        names = table.column_names
    for name in (*FEATURES, *COLUMNS):
        column = table[name] if names.count(name) == 1 else None
        if column is None or column.null_count or not pa.types.is_integer(column.type):
            raise UserError(f"{path}: the column {name!r} is missing or not all integers; extract the file again")
    if meta.get("damage"):
        warnings.warn(f"{meta.get('source', path)}: {meta['damage']}", DamagedWarning, stacklevel=2)
    return _labelled(table, meta, path)


def _metadata(text: bytes, path: Path) -> dict:
    """Return the metadata of a file that `extract.run` wrote; refuse others."""
    try:
        meta = json.loads(text)
        named = [meta["name"], meta["sha256"], *(meta.get(name) or "" for name in ("source", "path", "damage"))]
        named += meta.get("sources", {}).values()
        named += [meta.get(part, {}).get(name) or "" for part, name in (("labels", "source"), ("parameters", "labels"))]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        named = [None]
    if not all(isinstance(one, str) for one in named):
        raise UserError(f"{path}: its metadata are damaged; extract it again")
    return meta


def _labelled(table: pa.Table, meta: dict, path: Path) -> Dataset:
    """Return the vectors of a table that have a label; refuse a label that is no class, and a table without labels."""
    x = np.stack([table[name].to_numpy() for name in FEATURES], axis=1)
    dataset = Dataset(x, *(table[name].to_numpy() for name in COLUMNS), meta)
    if (dataset.label >= len(CLASSES)).any():
        raise UserError(f"{path}: label {dataset.label.max()} is no class, 0 to {len(CLASSES) - 1}; extract it again")
    if not (dataset.label >= 0).any():
        raise UserError(f"{path}: no vector in it has a label; extract it with --labels")
    at = np.argsort(dataset.packet, kind="stable")
    return dataset.take(at[dataset.label[at] >= 0])


def split(dataset: Dataset, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split the vectors into a training, a validation and a test part (Sec. V-A1), stratified by class.

    All vectors of a flow are in the same part.

    Parameters
    ----------
    dataset : Dataset
        The vectors to learn from.
    seed : int
        The seed of the draw.

    Returns
    -------
    train, validation, test : ndarray of int
        Indices into the dataset's vectors.

    Raises
    ------
    UserError
        If a class has too few flows for each part to get one.
    """
    flows, first = np.unique(dataset.flow, return_index=True)
    label = dataset.label[first]
    if np.bincount(label)[np.unique(label)].min() < 5:
        raise UserError(f"a class has fewer than 5 flows, too few to split: {dataset.counts()}")
    try:
        parts = _drawn(label.astype(np.uint8).tobytes(), seed)
    except ValueError:
        raise UserError(f"{len(flows):,} flows are too few for every class in each part: {dataset.counts()}") from None
    return tuple(np.flatnonzero(np.isin(dataset.flow, flows[part])) for part in parts)


@lru_cache(maxsize=16)  # the same seeds' parts are asked for again and again
def _drawn(label: bytes, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the numbers of the flows in each part of `split`, from the label of each flow, uint8."""
    label = np.frombuffer(label, np.uint8)
    rest, test = train_test_split(np.arange(len(label)), test_size=TEST_SHARE, random_state=seed, stratify=label)
    train, valid = train_test_split(rest, test_size=VALIDATION_SHARE, random_state=seed, stratify=label[rest])
    return train, valid, test
