"""Find the row that describes a flow, by the flow's two-way 5-tuple and its start."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

REASONS = ("no row has these addresses and ports", "rows have these addresses and ports, at other times")
NO_FLOW, OTHER_TIME = -1, -2  # REASONS[0], REASONS[1]
ROW = np.dtype(
    [("low", "u8"), ("high", "u8"), ("start_s", "i8"), ("window_s", "i8"), ("proto", "u1"), ("attack", "u1")]
)
_IPV4_ENDS = 1 << 48  # above all ends with an IPv4 address


@dataclass
class FlowIndex:
    """Rows that describe one flow each, and a search among them.

    Parameters
    ----------
    rows : ndarray of shape (n_rows,), dtype `flow_index.ROW`
        Sorted by flow and start, and then in the order of the files. ``low`` and ``high`` are the flow's two ends
        (address * 65536 + port), whichever opened it. ``start_s`` is the time since 1970, UTC, at the beginning of the
        stamp's minute or second, below 2^32. ``window_s`` is 60 or 1. ``attack`` is an index into the reader's KINDS.
    ends, pairs, moments : ndarray
        The different ends, the different pairs of ends with a protocol, and the flow and start of each row, sorted.
    sha256 : dict of str to str
        The hash of each file, by its path.
    notes : dict of str to int
        What the reader counted; see `of`.
    """

    rows: np.ndarray
    ends: np.ndarray
    pairs: np.ndarray
    moments: np.ndarray
    sha256: dict[str, str]
    notes: dict[str, int]

    @classmethod
    def of(cls, rows: np.ndarray, sha256: dict[str, str], notes: dict[str, int]) -> FlowIndex:
        """Make an index of rows in the order of the files.

        It adds to the notes "contradictory": rows with another ``attack`` than the row before them of the same flow and
        start.
        """
        ends = np.unique(np.concatenate([rows["low"], rows["high"]]))
        pairs = _pair(ends, *(np.searchsorted(ends, rows[name]) for name in ("low", "high")), rows["proto"])
        pairs, pair = np.unique(pairs, return_inverse=True)
        moments = _moment(pair, rows["start_s"])
        order = np.argsort(moments, kind="stable")
        rows, moments = rows[order], moments[order]
        again = (np.diff(moments) == 0) & (np.diff(rows["attack"].astype(int)) != 0)
        return cls(rows, ends, pairs, moments, sha256, notes | {"contradictory": int(again.sum())})

    def save(self, path: Path) -> None:
        """Write the index to an .npz file, so that other processes need not read the label files again."""
        facts = json.dumps([self.sha256, self.notes])
        with path.open("wb") as file:
            np.savez(file, rows=self.rows, ends=self.ends, pairs=self.pairs, moments=self.moments, facts=facts)

    @classmethod
    def load(cls, path: Path) -> FlowIndex:
        """Read an index that `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            sha256, notes = json.loads(str(file["facts"]))
            return cls(file["rows"], file["ends"], file["pairs"], file["moments"], sha256, notes)

    def find(self, first: np.ndarray) -> np.ndarray:
        """Find the row of each flow: it has the same two-way 5-tuple, and the flow starts in its minute (or second).

        If several rows fit, the nearest start counts; among rows with one start, the first in the files.

        Parameters
        ----------
        first : ndarray of shape (n_flows,), dtype `layouts.ROW`
            The first packet of each flow.

        Returns
        -------
        ndarray of shape (n_flows,), int64
            The number of the row; NO_FLOW or OTHER_TIME if none fits.
        """
        source, sink = (
            np.where(first[address] >> np.uint64(32), _IPV4_ENDS, first[address] << np.uint64(16) | first[port])
            for address, port in (("saddr", "sport"), ("daddr", "dport"))
        )
        low, known_low = _lookup(self.ends, np.minimum(source, sink))
        high, known_high = _lookup(self.ends, np.maximum(source, sink))
        pair, known = _lookup(self.pairs, _pair(self.ends, low, high, first["proto"]))
        known &= known_low & known_high
        now_s = (first["ts_ns"] // 10**9).astype(np.int64)
        moment = _moment(pair, now_s)
        before = np.maximum(np.searchsorted(self.moments, moment, side="right") - 1, 0)
        row = np.searchsorted(self.moments, self.moments[before], side="left")
        age_s = moment - self.moments[before]
        fits = (age_s >= 0) & (age_s < self.rows["window_s"][row])
        return np.where(known & fits, row, np.where(known, OTHER_TIME, NO_FLOW))


def _pair(ends: np.ndarray, low: np.ndarray, high: np.ndarray, proto: np.ndarray) -> np.ndarray:
    return (low * len(ends) + high) * 256 + proto


def _lookup(among: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each value's place in a sorted array, and whether it is there."""
    at = np.minimum(np.searchsorted(among, values), max(len(among) - 1, 0))
    return at, (among[at] == values if len(among) else np.zeros(len(values), bool))


def _moment(pair: np.ndarray, time_s: np.ndarray) -> np.ndarray:
    """Return one number for each row that sorts by flow, then by time [s]."""
    return pair.astype(np.int64) << 32 | time_s
