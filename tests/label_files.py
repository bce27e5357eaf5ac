"""For the tests of labels: first packets of flows, made up or read from captures, and lines of label files."""

import ipaddress
import struct

import numpy as np

from ids_repro import config
from ids_repro.data.flow import reference
from ids_repro.native.layouts import ROW

SHARED = config.ROOT.parent / "shared" / "cic-ids2017"
ATTACKER, SERVER = "172.16.0.1", "192.168.10.50"

# The publisher's 85 columns: some begin with a space, and one name occurs twice.
HEADER = (
    "Flow ID, Source IP, Source Port, Destination IP, Destination Port, Protocol, Timestamp, Flow Duration,"
    "Flow Bytes/s, Fwd Header Length, Bwd Header Length, Fwd Header Length,"
    + ",".join(f" c{i}" for i in range(72))
    + ", Label"
)


def first(*flows):
    """Return packets, dtype ROW, of (time [us], source, destination, sport, dport, proto)."""
    out = np.zeros(len(flows), ROW)
    for row, (time_us, source, sink, sport, dport, proto) in zip(out, flows, strict=True):
        row["ts_ns"], row["sport"], row["dport"], row["proto"] = time_us * 1000, sport, dport, proto
        row["saddr"], row["daddr"] = int(ipaddress.IPv4Address(source)), int(ipaddress.IPv4Address(sink))
    return out


def csv_line(source, sport, sink, dport, proto, stamp, label):
    """Return one line of GeneratedLabelledFlows. Its Flow ID has source and destination in reverse order."""
    flow_id = f"{sink}-{source}-{dport}-{sport}-{proto}"
    return ",".join(
        [flow_id, source, str(sport), sink, str(dport), str(proto), stamp, "1", "Infinity", *"0" * 75, label]
    )


def flows_of(capture):
    """Return the first packet and the number of packets of a capture's flows, without the package's own reader."""
    rows = np.array([row for frame in _frames(capture.read_bytes()) if (row := _row(*frame))], ROW)
    rows = rows[np.argsort(rows["ts_ns"], kind="stable")]
    _, first_at, packets = np.unique(reference(rows)[1], return_index=True, return_counts=True)
    return rows[first_at], packets


def _frames(data):
    if data[:4] == b"\x0a\x0d\x0d\x0a":  # pcapng, little-endian, microseconds
        at = 0
        while at + 12 <= len(data):
            kind, size = struct.unpack_from("<II", data, at)
            if kind == 6 and at + size <= len(data):
                high, low, caplen = struct.unpack_from("<III", data, at + 12)
                yield (high << 32 | low) * 1000, data[at + 28 : at + 28 + caplen]
            at += size
    else:
        at = 24
        while at + 16 <= len(data):
            seconds, us, caplen = struct.unpack_from("<III", data, at)
            yield seconds * 10**9 + us * 1000, data[at + 16 : at + 16 + caplen]
            at += 16 + caplen


def _row(ts_ns, frame):
    if frame[12:14] != b"\x08\x00":
        return None
    ip = frame[14:]
    length, proto, saddr, daddr = struct.unpack_from("!2xH5xB2xII", ip)
    transport = ip[(ip[0] & 15) * 4 :]
    sport, dport = struct.unpack_from("!HH", transport) if proto in (6, 17) else (0, 0)
    flags = transport[13] if proto == 6 else 0
    return ts_ns, 0, 0, 0, saddr, daddr, length, sport, dport, proto, flags
