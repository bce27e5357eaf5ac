"""Captures of the tests of data/, and packet tables: a small one, and the one with the flows of a capture."""

import ipaddress

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from label_files import SHARED

from ids_repro import config
from ids_repro.data import packet_table, packets
from ids_repro.native import library

# Name -> capture, and the window [ms] within which frames are duplicates. The sample is always there.
CAPTURES = {
    name: (SHARED / f"{name}.pcap", 10 if name == "thu_normal_slice" else 0)
    for name in ("thu_webattack_xss", "thu_webattack_sqli", "thu_normal_slice")
    if (SHARED / f"{name}.pcap").is_file()
} | {"sample": (config.SAMPLE, 0)}


def rows_of(name):
    """Return the packets of a capture, dtype ROW."""
    path, dedup_ms = CAPTURES[name]
    return np.concatenate([rows.copy() for rows in packets.Packets(path, dedup_ms)])


def write_table(folder, flows=None, rows=None):
    """Write a packet table of three flows, the last of which takes two hours; `flows` and `rows` replace columns."""
    flows = {
        "flow_id": [3, 7, 9],
        "start_epoch_s": [1.5e9, None, 1.5e9 + 0.25],
        "src_ip": ["10.0.0.1", "10.0.0.9", "10.0.0.1"],
        "dst_ip": ["10.0.0.2", "10.0.0.2", "10.0.0.3"],
        "sport": [1000, 1001, 0],
        "dport": [80, 53, 0],
        "proto": [6, 17, 1],
        "class7": ["DoS", "Normal", None],
    } | (flows or {})
    rows = {
        "flow_id": [3, 3, 3, 7, 9, 9],
        "idx": [0, 1, 2, 0, 0, 1],
        "ip_len": [40, 1500, 40, 60, 84, 84],
        "iat_ms": [0.0, 0.5, 2.0, 0.0, 0.0, 7.2e6],
        "dir_fwd": [1, 0, 1, 1, 1, 0],
    } | (rows or {})
    for name, columns in ((packet_table.FLOWS, flows), (packet_table.PACKETS, rows)):
        pq.write_table(pa.table({k: v for k, v in columns.items() if v is not ...}), folder / name)
    return folder


def table_of(name, folder):
    """Return the folder of a packet table with a capture's flows, and their numbers; write the table for the sample."""
    if name != "sample":
        flows = pq.read_table(SHARED / packet_table.FLOWS, columns=["flow_id", "source"]).to_pandas()
        return SHARED, flows["flow_id"][flows["source"] == name].to_numpy()
    rows = rows_of(name)
    _, flow = library.extract(rows)
    order = np.argsort(flow, kind="stable")
    rows, flow = rows[order], flow[order].astype(np.int64)
    number, first, count = np.unique(flow, return_index=True, return_counts=True)
    opened = rows[first]
    flows = {"flow_id": number, "start_epoch_s": opened["ts_ns"] / 1e9, "class7": ["Normal"] * len(first)}
    flows |= {name: opened[name] for name in ("sport", "dport", "proto")}
    for name, field in (("src_ip", "saddr"), ("dst_ip", "daddr")):
        flows[name] = [str(ipaddress.IPv4Address(int(address))) for address in opened[field]]
    idx = np.arange(len(rows)) - np.repeat(first, count)
    ends = rows[["saddr", "sport"]] == np.repeat(opened, count)[["saddr", "sport"]]
    gap_ns = np.diff(rows["ts_ns"].astype(np.int64), prepend=0)
    columns = {"flow_id": flow, "idx": idx, "ip_len": rows["len"], "dir_fwd": ends.astype(np.int8)}
    return write_table(folder, flows, columns | {"iat_ms": np.where(idx == 0, 0, gap_ns / 1e6)}), number
