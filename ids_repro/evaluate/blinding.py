"""Can a flood of new flows blind the detector? The share of other flows' packets that still find their flow's state.

A loaded kernel program gets every packet by a test run with a clock that the packet brings along: flows in the
background, and a flood that starts new flows at a given rate. This is made-up traffic, and nothing is sent.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from .. import records
from ..config import RESULTS, Profile
from ..data.packet_table import FRAME
from ..kernel.program import Program
from ..kernel.variants import Variant
from ..native import library
from ..native.layouts import FOUND, PROBE

TABLES = ("lru", "shared")  # flow tables, names in `kernel.variants.Variant`
SIZES = (1 << 10, 1 << 16, 1 << 18)  # flows that a table has room for
RATES_PPS = (0, 200_000, 800_000, 3_000_000)
SECOND = 10**9  # in ns
PIECE = 100_000  # packets in one piece of a run
BACKGROUND_FLOWS = 1000
GAPS_S = (0.01, 10.0)  # between two packets of a background flow: the range of their means
WARM_UP_S = 2.0  # of the background alone, so that its flows are established
ANSWER_S = 0.001  # after which the first packet of a background flow is answered
SERVER = 0xC0A80001
_WIDTH = -(-FRAME.itemsize // 8) * 8
_RUN = np.dtype([("probe", PROBE), ("frame", FRAME), ("pad", f"V{_WIDTH - FRAME.itemsize}")])


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


# One packet a flow at every rate; at the highest also two, and four of which two are forged answers.
FLOODS = (*map(Flood, RATES_PPS), Flood(RATES_PPS[-1], packets=2), Flood(RATES_PPS[-1], packets=4, answered=True))


def _frames(n: int) -> np.ndarray:
    """Return n test runs of a TCP packet of 60 bytes without addresses; dtype _RUN."""
    runs = np.zeros(n, _RUN)
    frame = runs["frame"]
    frame["ethertype"], frame["version"], frame["ttl"], frame["offset"] = 0x0800, 0x45, 64, 5 << 4
    frame["proto"], frame["len"], frame["tcp_flags"] = 6, 60, 0x10
    return runs


def _set_ends(frame: np.ndarray, client: np.ndarray, sport: np.ndarray, back: np.ndarray) -> None:
    """Set addresses and ports of packets between clients and the server; `back` is the server's way."""
    frame["saddr"], frame["daddr"] = np.where(back, SERVER, client), np.where(back, client, SERVER)
    frame["sport"], frame["dport"] = np.where(back, 80, sport), np.where(back, sport, 80)


def flood_runs(flood: Flood, start: int, stop: int) -> np.ndarray:
    """Return packets number start to stop of a flood, at times counted from its begin; dtype _RUN."""
    number = np.arange(start, stop)
    flow = number // flood.packets
    runs = _frames(len(number))
    runs["probe"]["now_ns"] = number * SECOND // flood.rate_pps
    back = (number % flood.packets % 2 == 1) & flood.answered
    _set_ends(runs["frame"], 0x0B000000 + flow // 50_000, 1024 + flow % 50_000, back)
    return runs


def background_runs(seconds: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the packets of the background flows, sorted by time, and which of them are the first of their flow.

    Each flow begins within the warm-up with a packet and its answer. Then its ends take turns. The mean of its gaps is
    drawn evenly on a logarithmic scale between GAPS_S, and the gaps are exponential.

    Parameters
    ----------
    seconds : float
        How long the background lasts, the warm-up of WARM_UP_S included.
    seed : int

    Returns
    -------
    runs : ndarray of shape (n,), dtype _RUN
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
    runs = _frames(len(at))
    runs["probe"]["now_ns"] = at[order] * SECOND
    _set_ends(runs["frame"], 0x0A000000 + flow[order], np.full(len(at), 40_000), number[order] % 2 == 1)
    return runs, number[order] == 0


def _pieces(
    background: np.ndarray, flood: Flood, seconds: float, begin_ns: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the packets in the order of time, in pieces, and where in each piece the background's are."""
    before = np.searchsorted(background["probe"]["now_ns"], begin_ns)
    for at in range(0, before, PIECE):
        piece = background[at : min(at + PIECE, before)]
        yield piece, np.arange(len(piece))
    rest, total = background[before:], int(flood.rate_pps * seconds)
    for start in range(0, max(total, 1), PIECE):
        stop = min(start + PIECE, total)
        end_ns = begin_ns + (stop * SECOND // flood.rate_pps if flood.rate_pps else int(seconds * SECOND))
        n = np.searchsorted(rest["probe"]["now_ns"], end_ns)
        some, rest = rest[:n], rest[n:]
        if stop > start:
            runs = flood_runs(flood, start, stop)
            runs["probe"]["now_ns"] += begin_ns
            at = np.searchsorted(runs["probe"]["now_ns"], some["probe"]["now_ns"])
            yield np.insert(runs, at, some), at + np.arange(len(some))
        else:
            yield some, np.arange(len(some))


def share_found(program: Program, flood: Flood, seconds: float) -> float:
    """Return the share of the background's packets that find their flow's state while a flood passes.

    Parameters
    ----------
    program : Program
        Built with ``probe=True``; its flow table is emptied first.
    flood : Flood
    seconds : float
        How long the flood lasts.
    """
    program.reset()
    background, begins = background_runs(WARM_UP_S + seconds)
    background["probe"]["now_ns"] += 10**18
    begin_ns = 10**18 + int(WARM_UP_S * SECOND)
    firsts = []
    for runs, at in _pieces(background, flood, seconds, begin_ns):
        packets = runs.view(np.uint8).reshape(len(runs), _RUN.itemsize)
        size = PROBE.itemsize + FRAME.itemsize
        library.test_runs(program.fd, packets, np.full(len(runs), size, np.uint32))
        firsts.append(runs["probe"]["first"][at])
    first = np.concatenate(firsts)
    during = (background["probe"]["now_ns"][: len(first)] >= begin_ns) & ~begins[: len(first)]
    return float(np.mean(first[during] == 0))


def measure(
    profile: Profile,
    results: Path = RESULTS,
    tables: Sequence[str] = TABLES,
    sizes: Sequence[int] = SIZES,
    floods: Sequence[Flood] = FLOODS,
) -> list[dict]:
    """Measure `share_found` for each kind and size of the flow table and each flood, and record it.

    Parameters
    ----------
    profile : Profile
        Its ``flood_s`` is how long each flood lasts.
    results : Path
        Folder of the records, which are appended to blinding.jsonl.
    tables, sizes, floods
        What to measure.

    Returns
    -------
    list of dict
        The records.
    """
    made, cases = [], list(itertools.product(sizes, tables, floods))
    with tqdm(total=len(cases), desc="floods of new flows", unit="flood") as bar:
        for size, table in itertools.product(sizes, tables):
            with Program(Variant(probe=True, flows=size, table=table)) as program:
                for flood in floods:
                    started = time.time()
                    share = share_found(program, flood, profile.flood_s)
                    found = program.counts()["found"].tolist()
                    asked = {"table": table, "flows": size, **asdict(flood), "flood_s": profile.flood_s}
                    raw = {"share_found": share, "found_packets": dict(zip(FOUND, found, strict=False))}
                    path = results / "blinding.jsonl"
                    asked |= {"profile": profile.name}
                    made.append(records.append(path, "blinding", asked, raw, started=started))
                    bar.update()
    return made
