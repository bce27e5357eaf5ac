"""Flows and their features in NumPy: the reference that bpf/flow.h equals bit for bit."""

from __future__ import annotations

import numpy as np

from ..native.layouts import Q
from .features import FEATURES

# A flow ends after so long without a packet, or so long after its first packet. bpf/flow.h has the same numbers.
IDLE_US, ACTIVE_US = 300 * 10**6, 1800 * 10**6
FIN, RST, ACK, TCP = 0x01, 0x04, 0x10, 6
ICMP, ICMP6 = 1, 58


def _flows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each packet's flow number, and whether it goes the way of its flow's first packet."""
    flow, forward = np.zeros(len(rows), np.uint64), np.zeros(len(rows), bool)
    live: dict[tuple, dict] = {}
    n_flows = 0
    for i, r in enumerate(rows):
        source, sink = (int(r["saddr"]), int(r["sport"])), (int(r["daddr"]), int(r["dport"]))
        key = (*sorted((source, sink)), int(r["proto"]))
        if r["proto"] in (ICMP, ICMP6):  # dport may have the type and the code, which are the same in both directions
            source, sink = (source[0],), (sink[0],)
            key = (*sorted((source, sink)), int(r["dport"]), int(r["proto"]))
        now_us = int(r["ts_ns"]) // 1000
        f = live.get(key)
        if f is None or f["ended"] or now_us - f["last"] > IDLE_US or now_us - f["first"] > ACTIVE_US:
            f = {"id": n_flows, "source": source, "first": now_us, "fin": set(), "acked": set(), "ended": False}
            live[key], n_flows = f, n_flows + 1
        flow[i], forward[i], f["last"] = f["id"], source == f["source"], now_us
        if r["proto"] == TCP:
            flags, me = int(r["tcp_flags"]), source == f["source"]
            if flags & FIN:
                f["fin"].add(me)
            if flags & ACK and (not me) in f["fin"]:
                f["acked"].add(not me)
            f["ended"] = bool(flags & RST) or len(f["acked"] & f["fin"]) == 2
    return flow, forward


def reference(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute flows and features as Sec. IV-C defines them, without any attempt to be fast.

    Parameters
    ----------
    rows : ndarray of shape (n_packets,), dtype ROW
        Packets in the order of arrival.

    Returns
    -------
    x : ndarray of shape (n_packets, 12), int64
        x1..x12 after each packet, Q16. Sums are exact; means (len / num and so on) are rounded down.
    flow : ndarray of shape (n_packets,), uint64
        The number of the packet's flow. Flows are numbered from 0 in the order of their first packets.
    """
    flow, forward = _flows(rows)
    x = np.zeros((len(rows), len(FEATURES)), np.int64)
    time_us = rows["ts_ns"].astype(np.int64) // 1000
    order = np.argsort(flow, kind="stable")
    for at in np.split(order, np.flatnonzero(np.diff(flow[order])) + 1):
        num = np.arange(1, len(at) + 1)
        iat = np.maximum(np.diff(time_us[at], prepend=time_us[at[0]]), 0)
        now = np.stack([rows["len"][at].astype(np.int64), forward[at].astype(np.int64), iat], axis=1) << Q
        mean = np.cumsum(now, axis=0) // num[:, None]
        ports = np.stack([rows[name][at].astype(np.int64) for name in ("sport", "dport", "proto")], axis=1) << Q
        x[at] = np.concatenate([ports, now, mean, np.abs(now - mean)], axis=1)
    return x, flow
