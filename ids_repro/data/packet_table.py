"""A packet table, the second way in: flows that someone else has found, and the length, time and way of each packet."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..config import CLASSES, UserError
from ..native.layouts import ROW

FLOWS, PACKETS = "flows.parquet", "packets.parquet"
FLOW_COLUMNS = ("flow_id", "start_epoch_s", "src_ip", "dst_ip", "sport", "dport", "proto")
PACKET_COLUMNS = ("flow_id", "idx", "ip_len", "iat_ms", "dir_fwd")
LABEL = "class7"  # may be absent
_PIECE = 1 << 16
_CLIENTS, _SERVER = 0x0A000000, 0xF0000000  # addresses of a `Trace`
# The headers of a packet, in network byte order: Ethernet, IPv4 without options, TCP (of UDP, the ports).
_FRAME = np.dtype(
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


@dataclass(frozen=True)
class Trace:
    """Packets of a table as a kernel program is given them: what `packets.Capture` is of a file.

    Parameters
    ----------
    rows : ndarray of shape (n_packets,), dtype native.ROW
    """

    rows: np.ndarray

    def headers(self) -> list[bytes]:
        """Return each packet as an Ethernet frame made of what the table says of it, without payload."""
        frames = np.zeros(len(self.rows), _FRAME)
        frames["ethertype"], frames["version"], frames["ttl"], frames["offset"] = 0x0800, 0x45, 64, 5 << 4
        for name in ("saddr", "daddr", "sport", "dport", "len", "proto", "tcp_flags"):
            frames[name] = self.rows[name]
        data, size = frames.tobytes(), _FRAME.itemsize
        return [data[at : at + size] for at in range(0, len(data), size)]


class PacketTable:
    """Two Parquet files in one folder; data/README.md has their schema.

    Differs from a capture: the flows are given, so neither a timeout nor a TCP flag ends one, and where a flow's
    start is not known its times count from 0. Times are whole microseconds, rounded, as a capture's stamps are.

    Parameters
    ----------
    folder : Path or str
        Holds ``flows.parquet`` and ``packets.parquet``.

    Attributes
    ----------
    flow_id : ndarray of shape (n_flows,), int64
        Sorted.
    label : ndarray of shape (n_flows,), int8
        Of these flows: index into config.CLASSES, -1 without one.
    position : int
        Packets read so far, of `total`.

    Raises
    ------
    UserError
        If a file or a column is missing, or a value cannot be.
    """

    def __init__(self, folder: Path | str):
        self.path, self.position = Path(folder), 0
        flows = _open(self.path / FLOWS, FLOW_COLUMNS)
        self._packets = _open(self.path / PACKETS, PACKET_COLUMNS)
        self.total = self._packets.metadata.num_rows
        columns = [*FLOW_COLUMNS, *([LABEL] if LABEL in flows.schema_arrow.names else [])]
        self._flows = flows.read(columns).to_pandas().sort_values("flow_id")
        self._check_flows()
        self.flow_id = self._flows["flow_id"].to_numpy(np.int64)
        self.label = _labels(self._flows, self.path / FLOWS)
        self._first = _first_packets(self._flows, self.path / FLOWS)

    def sha256(self) -> dict[str, str]:
        """Hash of each file."""
        return {name: hashlib.sha256((self.path / name).read_bytes()).hexdigest() for name in (FLOWS, PACKETS)}

    def labels(self, flow: np.ndarray) -> np.ndarray:
        """Label of each flow number, int8."""
        return self.label[np.searchsorted(self.flow_id, flow.astype(np.int64))]

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the packets (dtype native.ROW) and their flows (uint64) in pieces, each flow's packets together."""
        last, last_ns = (-1, -1), 0
        for batch in self._packets.iter_batches(_PIECE, columns=list(PACKET_COLUMNS)):
            if not batch.num_rows:
                continue
            columns = {name: self._column(batch, name) for name in PACKET_COLUMNS}
            flow, idx = columns["flow_id"].astype(np.int64), columns["idx"].astype(np.int64)
            self._check_order(flow, idx, last)
            # Time since the flow's first packet: the running sum, less what it was where the flow began.
            since_ns = np.cumsum(np.rint(columns["iat_ms"] * 1e6).astype(np.int64))
            begin = np.maximum.accumulate(np.where(idx == 0, np.arange(1, len(idx) + 1), 0))
            since_ns -= np.concatenate([[-last_ns], since_ns])[begin]
            yield self._rows(flow, columns, since_ns), flow.astype(np.uint64)
            self.position += len(flow)
            last, last_ns = (flow[-1], idx[-1]), int(since_ns[-1])

    def trace(self) -> Trace:
        """Return all packets, to be replayed through a kernel program (`parity.replay`).

        Differs from the table: each flow has addresses of its own. The table says where a flow begins, while the kernel
        would join two of one 5-tuple; no feature depends on an address. A flow that the table holds together for longer
        than the timeouts of bpf/flow.h is more than one in the kernel.
        """
        pieces = [(rows, flow.astype(np.int64)) for rows, flow in self]
        rows, flow = (np.concatenate(part) for part in zip(*pieces, strict=True))
        at = np.searchsorted(self.flow_id, flow)
        first = self._first[at]
        back = (rows["saddr"] != first["saddr"]) | (rows["sport"] != first["sport"])
        client, server = _CLIENTS + at, np.full(len(at), _SERVER)
        rows["saddr"], rows["daddr"] = np.where(back, server, client), np.where(back, client, server)
        return Trace(rows)

    def _rows(self, flow: np.ndarray, columns: dict[str, np.ndarray], since_ns: np.ndarray) -> np.ndarray:
        at = np.searchsorted(self.flow_id, flow).clip(max=len(self.flow_id) - 1)
        if (strange := flow[self.flow_id[at] != flow]).size:
            raise UserError(f"{self.path / PACKETS}: flow_id {strange[0]} is not in {FLOWS}")
        if ((columns["ip_len"] < 0) | (columns["ip_len"] > 0xFFFF)).any():
            raise UserError(f"{self.path / PACKETS}: an ip_len is not between 0 and 65535 bytes")
        rows = self._first[at]
        rows["ts_ns"] = np.maximum(rows["ts_ns"].astype(np.int64) + (since_ns + 500) // 1000 * 1000, 0)
        rows["len"] = columns["ip_len"]
        back = columns["dir_fwd"] == 0
        for one, other in (("saddr", "daddr"), ("sport", "dport")):
            rows[one], rows[other] = np.where(back, rows[other], rows[one]), np.where(back, rows[one], rows[other])
        return rows

    def _column(self, batch: pa.RecordBatch, name: str) -> np.ndarray:
        column = batch.column(name)
        if column.null_count or (pa.types.is_floating(column.type) and not np.isfinite(column.to_numpy()).all()):
            raise UserError(f"{self.path / PACKETS}: the column {name!r} has empty values")
        return column.to_numpy(zero_copy_only=False)

    def _check_flows(self) -> None:
        wanted = self._flows.drop(columns=["start_epoch_s", LABEL], errors="ignore")
        for name in wanted.columns[wanted.isna().any()]:
            raise UserError(f"{self.path / FLOWS}: the column {name!r} has empty values")
        if self._flows["flow_id"].duplicated().any() or not len(self._flows):
            raise UserError(f"{self.path / FLOWS}: each flow_id must stand in one row, and there must be one")

    def _check_order(self, flow: np.ndarray, idx: np.ndarray, last: tuple[int, int]) -> None:
        follows = (np.diff(flow, prepend=last[0]) == 0) & (np.diff(idx, prepend=last[1]) == 1)
        starts = (np.diff(flow, prepend=last[0]) > 0) & (idx == 0)
        if not (follows | starts).all():
            at = self.position + int(np.argmin(follows | starts))
            raise UserError(f"{self.path / PACKETS}: row {at:,} is out of order: sort by flow_id, idx = 0, 1, ...")


def _open(path: Path, columns: tuple[str, ...]) -> pq.ParquetFile:
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; a packet table is a folder with {FLOWS} and {PACKETS}")
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowException as error:
        raise UserError(f"{path}: not a Parquet file ({error})") from None
    missing = [name for name in columns if name not in file.schema_arrow.names]
    if missing:
        raise UserError(f"{path}: the column {missing[0]!r} is missing; it needs {', '.join(columns)}")
    return file


def _labels(flows: pd.DataFrame, path: Path) -> np.ndarray:
    if LABEL not in flows:
        return np.full(len(flows), -1, np.int8)
    unknown = sorted(set(flows[LABEL].dropna()) - set(CLASSES))
    if unknown:
        raise UserError(f"{path}: {unknown[0]!r} is no class; use {', '.join(CLASSES)}")
    return pd.Categorical(flows[LABEL], categories=CLASSES).codes.astype(np.int8)


def _first_packets(flows: pd.DataFrame, path: Path) -> np.ndarray:
    """What all packets of a flow share, as the first one has it; shape (n_flows,), dtype native.ROW."""
    rows = np.zeros(len(flows), ROW)
    rows["ts_ns"] = np.rint(flows["start_epoch_s"].fillna(0).to_numpy(float) * 1e6).astype(np.uint64) * 1000
    for field, column in (("saddr", "src_ip"), ("daddr", "dst_ip")):
        try:
            number = {text: int(ipaddress.IPv4Address(text)) for text in flows[column].unique()}
        except ipaddress.AddressValueError as error:
            raise UserError(f"{path}: the column {column!r} has no IPv4 address: {error}") from None
        rows[field] = flows[column].map(number)
    for name, most in (("sport", 0xFFFF), ("dport", 0xFFFF), ("proto", 0xFF)):
        if not flows[name].between(0, most).all():
            raise UserError(f"{path}: a {name} is not between 0 and {most}")
        rows[name] = flows[name]
    return rows
