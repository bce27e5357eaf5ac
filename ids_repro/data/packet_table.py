"""Read a packet table: flows that somebody else found, and the length, time and direction of each of their packets."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..config import CLASSES, UserError
from ..native.layouts import ROW
from .packet_columns import ColumnFile

FLOWS, PACKETS = "flows.parquet", "packets.parquet"
FLOW_COLUMNS = ("flow_id", "start_epoch_s", "src_ip", "dst_ip", "sport", "dport", "proto")
PACKET_COLUMNS = ("flow_id", "idx", "ip_len", "iat_ms", "dir_fwd")
LABEL = "class7"  # the column with a flow's class; a table may lack it
PIECE_PACKETS = 1 << 16
_CLIENTS, _SERVER = 0x0A000000, 0xF0000000  # in a `Trace`: the first flow's client address, and every flow's server
# A packet's headers in network byte order: Ethernet, IPv4 without options, TCP. UDP shares the ports with TCP.
FRAME = np.dtype(
    [
        ("macs", "V12"),
        ("ethertype", ">u2"),
        ("version", "u1"),
        ("tos", "u1"),
        ("len", ">u2"),
        ("fragment", ">u4"),
        ("ttl", "u1"),
        ("proto", "u1"),
        ("checksum", ">u2"),
        ("saddr", ">u4"),
        ("daddr", ">u4"),
        ("sport", ">u2"),
        ("dport", ">u2"),
        ("numbers", ">u8"),
        ("offset", "u1"),
        ("tcp_flags", "u1"),
        ("rest", "V6"),
    ]
)


def open_source(path: Path, dedup_ms: float = 0, reorder_ms: float = 0, rules: str | None = None) -> PacketTable | None:
    """Open a packet table by its folder or its packets.parquet; see `extract.PacketSource`. `rules` change nothing.

    Returns
    -------
    PacketTable or None
        None if the path is neither a folder nor a Parquet file.

    Raises
    ------
    UserError
        If `dedup_ms` or `reorder_ms` is not 0, or as `PacketTable` does.
    """
    if not (path.is_dir() or path.suffix == ".parquet"):
        return None
    if dedup_ms or reorder_ms:
        raise UserError(f"{path}: a packet table has its packets in order; leave out --dedup-ms and --reorder-ms")
    return PacketTable(path if path.is_dir() else path.parent)


@dataclass(frozen=True)
class Trace:
    """Packets of a table as a kernel program receives them; `packets.Capture` is the same for a capture file.

    Parameters
    ----------
    rows : ndarray of shape (n_packets,), dtype ROW
        The packets.
    """

    rows: np.ndarray

    def headers(self) -> list[bytes]:
        """Return each packet as an Ethernet frame without payload, made from the table's values."""
        frames = np.zeros(len(self.rows), FRAME)
        frames["ethertype"], frames["version"], frames["ttl"], frames["offset"] = 0x0800, 0x45, 64, 5 << 4
        for name in ("saddr", "daddr", "sport", "dport", "len", "proto", "tcp_flags"):
            frames[name] = self.rows[name]
        data, size = frames.tobytes(), FRAME.itemsize
        return [data[at : at + size] for at in range(0, len(data), size)]


def files(path: Path) -> list[Path]:
    """Return the files that are read at a path: the two of a packet table in a folder, else the path itself."""
    return [path / FLOWS, path / PACKETS] if path.is_dir() else [path]


class PacketTable:
    """Two Parquet files in one folder, to be read once; data/README.md has their columns.

    Differs from a capture: the flows are given, so no timeout and no TCP flag ends one. If a flow's start is not known,
    its times count from 0. Times are rounded to whole microseconds, like the stamps of a capture.

    Parameters
    ----------
    folder : Path or str
        Holds ``flows.parquet`` and ``packets.parquet``.
    piece_packets : int
        How many packets to read at once.

    Attributes
    ----------
    flow_id : ndarray of shape (n_flows,), int64
        The flows' numbers, sorted.
    label : ndarray of shape (n_flows,), int8
        Their labels: index into `config.CLASSES`, -1 without one.
    size, position : int
        Packets of the table, and how many of them were read.

    Raises
    ------
    UserError
        If a file or a column is missing, or a value is not possible. `pieces` raises it too.
    """

    unit = "packet"

    def __init__(self, folder: Path | str, piece_packets: int = PIECE_PACKETS):
        self.path, self.position, self._piece_packets = Path(folder), 0, piece_packets
        remedy = f"; a packet table is a folder with {FLOWS} and {PACKETS}"
        flows = ColumnFile(self.path / FLOWS, FLOW_COLUMNS, [LABEL], remedy)
        self._packets = ColumnFile(self.path / PACKETS, PACKET_COLUMNS, remedy=remedy)
        self.size = self._packets.rows
        self._flows = flows.read().to_pandas().sort_values("flow_id")
        self._check_flows()
        self.flow_id = self._flows["flow_id"].to_numpy(np.int64)
        self.label = _labels(self._flows, self.path / FLOWS)
        self._first = _first_packets(self._flows, self.path / FLOWS)

    def sha256(self) -> Any:
        """Return a hash object that has taken in the SHA-256 of each file."""
        return hashlib.sha256("".join(self._digests.values()).encode())

    @cached_property
    def _digests(self) -> dict[str, str]:
        return {name: hashlib.sha256((self.path / name).read_bytes()).hexdigest() for name in (FLOWS, PACKETS)}

    def facts(self) -> dict[str, Any]:
        """Return what `extract.PacketSource.facts` describes. Every packet of a table is used."""
        return {
            "parameters": {"dedup_ms": 0.0, "reorder_ms": 0.0},
            "sources": self._digests,
            "frames": {"ok": self.position},
            "out_of_order": 0,
            "late": 0,
            "damage": None,
        }

    def labels(self, flow: np.ndarray) -> np.ndarray:
        """Return the label of each flow number.

        Parameters
        ----------
        flow : ndarray of shape (n,), uint64
            Numbers that are in `flow_id`.

        Returns
        -------
        ndarray of shape (n,), int8
            Index into `config.CLASSES`, -1 without a label.
        """
        return self.label[np.searchsorted(self.flow_id, flow.astype(np.int64))]

    def pieces(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the packets, the packets of a flow together.

        Yields
        ------
        rows : ndarray of shape (n,), dtype ROW
            The packets.
        flow : ndarray of shape (n,), uint64
            Their flow numbers.

        Raises
        ------
        UserError
            If a value is missing or not possible, or the table is not sorted.
        """
        last, last_ns = (-1, -1), 0
        for columns in self._packets.pieces(self._piece_packets):
            flow, idx = columns["flow_id"].astype(np.int64), columns["idx"].astype(np.int64)
            self._check_order(flow, idx, last)
            # Time since the flow's first packet: the running sum, minus the sum up to the flow's beginning.
            since_ns = np.cumsum(np.rint(columns["iat_ms"] * 1e6).astype(np.int64))
            begin = np.maximum.accumulate(np.where(idx == 0, np.arange(1, len(idx) + 1), 0))
            since_ns -= np.concatenate([[-last_ns], since_ns])[begin]
            yield self._rows(flow, columns, since_ns), flow.astype(np.uint64)
            self.position += len(flow)
            last, last_ns = (flow[-1], idx[-1]), int(since_ns[-1])

    def trace(self) -> Trace:
        """Return all packets for `evaluate.replay.replay`, which sends them through a kernel program.

        Differs from the table: each flow has addresses of its own. The table says where a flow begins, but the kernel
        would join two flows with one 5-tuple. No feature depends on an address. If a flow of the table is longer than
        the timeouts of bpf/flow.h allow, the kernel makes several flows of it.
        """
        pieces = [(rows, flow.astype(np.int64)) for rows, flow in self.pieces()]
        rows, flow = (np.concatenate(part) for part in zip(*pieces, strict=True))
        at = np.searchsorted(self.flow_id, flow)
        first = self._first[at]
        back = (rows["saddr"] != first["saddr"]) | (rows["sport"] != first["sport"])
        client, server = _CLIENTS + at, np.full(len(at), _SERVER)
        rows["saddr"], rows["daddr"] = np.where(back, server, client), np.where(back, client, server)
        return Trace(rows)

    def _rows(self, flow: np.ndarray, columns: dict[str, np.ndarray], since_ns: np.ndarray) -> np.ndarray:
        """Return packets (dtype ROW) from their flows, their columns and their times since the flow's start."""
        at = np.searchsorted(self.flow_id, flow).clip(max=len(self.flow_id) - 1)
        if (strange := flow[self.flow_id[at] != flow]).size:
            raise UserError(f"{self.path / PACKETS}: flow_id {strange[0]} is not in {FLOWS}")
        rows = self._first[at]
        rows["ts_ns"] = np.maximum(rows["ts_ns"].astype(np.int64) + (since_ns + 500) // 1000 * 1000, 0)
        rows["len"] = columns["ip_len"]
        back = columns["dir_fwd"] == 0
        for one, other in (("saddr", "daddr"), ("sport", "dport")):
            rows[one], rows[other] = np.where(back, rows[other], rows[one]), np.where(back, rows[one], rows[other])
        return rows

    def _check_flows(self) -> None:
        if self._flows["flow_id"].duplicated().any() or not len(self._flows):
            raise UserError(f"{self.path / FLOWS}: needs at least one flow, and each flow_id in one row only")

    def _check_order(self, flow: np.ndarray, idx: np.ndarray, last: tuple[int, int]) -> None:
        follows = (np.diff(flow, prepend=last[0]) == 0) & (np.diff(idx, prepend=last[1]) == 1)
        starts = (np.diff(flow, prepend=last[0]) > 0) & (idx == 0)
        if not (follows | starts).all():
            at = self.position + int(np.argmin(follows | starts))
            raise UserError(f"{self.path / PACKETS}: row {at:,} is out of order: sort by flow_id, idx = 0, 1, ...")


def _labels(flows: pd.DataFrame, path: Path) -> np.ndarray:
    if LABEL not in flows:
        return np.full(len(flows), -1, np.int8)
    unknown = sorted(set(flows[LABEL].dropna()) - set(CLASSES))
    if unknown:
        raise UserError(f"{path}: {unknown[0]!r:.80} is no class; use {', '.join(CLASSES)}")
    return pd.Categorical(flows[LABEL], categories=CLASSES).codes.astype(np.int8)


def _first_packets(flows: pd.DataFrame, path: Path) -> np.ndarray:
    """Return the fields that the flow's packets share, as in its first packet; shape (n_flows,), dtype ROW."""
    rows = np.zeros(len(flows), ROW)
    rows["ts_ns"] = np.rint(flows["start_epoch_s"].fillna(0).to_numpy(float) * 1e6).astype(np.uint64) * 1000
    for field, column in (("saddr", "src_ip"), ("daddr", "dst_ip")):
        try:
            number = {text: int(ipaddress.IPv4Address(text)) for text in flows[column].unique()}
        except ipaddress.AddressValueError as error:
            raise UserError(f"{path}: the column {column!r} has no IPv4 address: {error!s:.80}") from None
        rows[field] = flows[column].map(number)
    for name in ("sport", "dport", "proto"):
        rows[name] = flows[name]
    return rows
