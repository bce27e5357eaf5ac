"""Made-up traffic that packets bring a clock along with: flows in the background, and a flood of new flows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..data.packet_table import FRAME
from ..native.layouts import FLOOD

SECOND = 10**9  # in ns
BACKGROUND_FLOWS = 1000
GAPS_S = (0.01, 10.0)  # between two packets of a background flow: the range of their means
WARM_UP_S = 2.0  # of the background alone, so that its flows are established
ANSWER_S = 0.001  # after which the first packet of a background flow is answered
SERVER = 0xC0A80001


@dataclass(frozen=True)
class Flood:
    """A flood of new flows.

    Parameters
    ----------
    rate_pps : int
        Packets per second; 0 is no flood.
    packets : int
        Packets of each flow, one after another.
    answered : bool
        Every other packet of a flow goes the other way, as if its target had answered.
    """

    rate_pps: int
    packets: int = 1
    answered: bool = False


def flood_before(flood: Flood, at_ns: np.ndarray, begin_ns: int) -> np.ndarray:
    """Return the part of a flood that comes before each of n packets.

    Parameters
    ----------
    flood : Flood
    at_ns : ndarray of shape (n,), uint64
        Times of the packets, rising [ns].
    begin_ns : int
        When the flood begins. It lasts as long as the packets do.

    Returns
    -------
    ndarray of shape (n,), dtype FLOOD
    """
    out = np.zeros(len(at_ns), FLOOD)
    if flood.rate_pps:
        sent = np.maximum(at_ns.astype(np.int64) - begin_ns, 0) * (flood.rate_pps / SECOND)
        upto = np.maximum.accumulate(sent.astype(np.uint64))
        out["number"] = np.concatenate([[0], upto[:-1]])
        out["left"] = upto - out["number"]
        out["gap_ns"] = SECOND // flood.rate_pps
        out["now_ns"] = begin_ns + out["number"] * SECOND // flood.rate_pps
        out["packets"], out["answered"] = flood.packets, flood.answered
    return out


def background(seconds: float, seed: int = 0) -> tuple[np.ndarray, list[bytes], np.ndarray]:
    """Return the packets of the background flows, by rising time, and which of them are the first of their flow.

    Each flow begins within the warm-up with a packet and its answer. Then its ends take turns. The mean of its gaps is
    drawn evenly on a logarithmic scale between GAPS_S, and the gaps are exponential.

    Parameters
    ----------
    seconds : float
        How long the background lasts, the warm-up of WARM_UP_S included.
    seed : int

    Returns
    -------
    at_ns : ndarray of shape (n,), uint64
        Times from the begin [ns].
    frames : list of bytes
        TCP packets of 60 bytes.
    begins : ndarray of shape (n,), bool
    """
    rng = np.random.default_rng(seed)
    times, flows, numbers = [], [], []
    for flow, gap in enumerate(np.exp(rng.uniform(*np.log(GAPS_S), BACKGROUND_FLOWS))):
        begin = rng.uniform(0, WARM_UP_S / 2)
        later = begin + np.cumsum(rng.exponential(gap, int(seconds / gap * 1.5) + 20))
        at = np.concatenate([[begin, begin + ANSWER_S], later[later < seconds]])
        times.append(np.sort(at))
        flows.append(np.full(len(at), flow))
        numbers.append(np.arange(len(at)))
    at, flow, number = map(np.concatenate, (times, flows, numbers))
    order = np.argsort(at, kind="stable")
    flow, number, back = flow[order], number[order], number[order] % 2 == 1
    frame = np.zeros(len(at), FRAME)
    frame["ethertype"], frame["version"], frame["ttl"], frame["offset"] = 0x0800, 0x45, 64, 5 << 4
    frame["proto"], frame["len"], frame["tcp_flags"] = 6, 60, 0x10
    client = 0x0A000000 + flow
    frame["saddr"], frame["daddr"] = np.where(back, SERVER, client), np.where(back, client, SERVER)
    frame["sport"], frame["dport"] = np.where(back, 80, 40_000), np.where(back, 40_000, 80)
    return (at[order] * SECOND).astype(np.uint64), [one.tobytes() for one in frame], number == 0
