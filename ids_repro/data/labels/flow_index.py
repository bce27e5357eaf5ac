"""Find the row that describes a flow, by the flow's two-way 5-tuple and its start."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

REASONS = ("no row has these addresses and ports", "rows have these addresses and ports, at other times")
NO_FLOW, OTHER_TIME = -1, -2  # REASONS[0], REASONS[1]
ROW = np.dtype(
    [("low", "u8"), ("high", "u8"), ("start_s", "i8"), ("window_s", "i8"), ("proto", "u1"), ("attack", "u1")]
)


@dataclass
class FlowIndex:
    """Rows that describe one flow each, and a search among them.

    Parameters
    ----------
    rows : ndarray of shape (n_rows,), dtype `flow_index.ROW`
        In the order of the files. ``low`` and ``high`` are the flow's two ends (address * 65536 + port), whichever
        opened it. ``start_s`` is the time since 1970, UTC, at the beginning of the stamp's minute or second, and
        ``window_s`` is 60 or 1. ``attack`` is an index into the reader's KINDS.
    sha256 : dict of str to str
        The hash of each file, by its path.
    notes : dict of str to int
        What the reader counted. This class adds "contradictory": rows with another ``attack`` than the row before them
        of the same flow and start.
    """

    rows: np.ndarray
    sha256: dict[str, str]
    notes: dict[str, int]

    def __post_init__(self) -> None:
        rows = self.rows
        self._ends = np.unique(np.concatenate([rows["low"], rows["high"]]))
        pairs = self._pair(*(self._end(rows[name])[0] for name in ("low", "high")), rows["proto"])
        self._pairs, pair = np.unique(pairs, return_inverse=True)
        moments = _moment(pair, rows["start_s"])
        self._order = np.argsort(moments, kind="stable")
        self._moments = moments[self._order]
        attack = rows["attack"][self._order]
        again = (np.diff(self._moments) == 0) & (np.diff(attack.astype(int)) != 0)
        self.notes["contradictory"] = int(again.sum())

    def _end(self, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _lookup(self._ends, ends)

    def _pair(self, low: np.ndarray, high: np.ndarray, proto: np.ndarray) -> np.ndarray:
        return (low * len(self._ends) + high) * 256 + proto

    def find(self, first: np.ndarray) -> np.ndarray:
        """Find the row of each flow: it has the same two-way 5-tuple, and the flow starts in its minute (or second).

        If several rows fit, the nearest start counts; among rows with one start, the first in the files.

        Parameters
        ----------
        first : ndarray of shape (n_flows,), dtype ROW
            The first packet of each flow.

        Returns
        -------
        ndarray of shape (n_flows,), int64
            The number of the row; NO_FLOW or OTHER_TIME if none fits.
        """
        source = first["saddr"].astype(np.uint64) << np.uint64(16) | first["sport"]
        sink = first["daddr"].astype(np.uint64) << np.uint64(16) | first["dport"]
        low, known_low = self._end(np.minimum(source, sink))
        high, known_high = self._end(np.maximum(source, sink))
        pair, known = _lookup(self._pairs, self._pair(low, high, first["proto"]))
        known &= known_low & known_high
        now_s = (first["ts_ns"] // 10**9).astype(np.int64)
        moment = _moment(pair, now_s)
        before = np.maximum(np.searchsorted(self._moments, moment, side="right") - 1, 0)
        before = np.searchsorted(self._moments, self._moments[before], side="left")
        row = self._order[before]
        age_s = moment - self._moments[before]
        fits = (age_s >= 0) & (age_s < self.rows["window_s"][row])
        return np.where(known & fits, row, np.where(known, OTHER_TIME, NO_FLOW))


def _lookup(among: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each value's place in a sorted array, and whether it is there."""
    at = np.minimum(np.searchsorted(among, values), max(len(among) - 1, 0))
    return at, (among[at] == values if len(among) else np.zeros(len(values), bool))


def _moment(pair: np.ndarray, time_s: np.ndarray) -> np.ndarray:
    """Return one number for each row that sorts by flow, then by time [s]."""
    return pair.astype(np.int64) << 32 | time_s
