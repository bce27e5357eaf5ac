"""Can a flood of new flows blind the detector? The share of other flows' packets that still find their flow's state.

A loaded kernel program gets every packet by a test run with a clock that the packet brings along: flows in the
background, and a flood that starts new flows at a given rate. This is made-up traffic, and nothing is sent.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from .. import records
from ..config import CLASSES, NORMAL, RESULTS, Profile
from ..data.dataset import Dataset
from ..data.packet_table import FRAME, Trace
from ..data.packets import Capture
from ..kernel.program import Program
from ..kernel.variants import Variant
from ..models.model import Model
from ..native.layouts import FLOOD, FOUND, PROBE
from ..progress import show_progress

TABLES = ("lru", "shared")  # flow tables, names in `kernel.variants.Variant`
SIZES = (1 << 10, 1 << 16, 1 << 18)  # flows that a table has room for
RATES_PPS = (0, 200_000, 800_000, 3_000_000)
SECOND = 10**9  # in ns
START_NS = 10**18  # of every run
HOOK = "tc"  # a test run of XDP that repeats first changes the kernel's dispatcher, which takes 2 ms
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


# One packet per flow at every rate; at the highest also two, and four of which two are forged answers.
FLOODS = (*map(Flood, RATES_PPS), Flood(RATES_PPS[-1], packets=2), Flood(RATES_PPS[-1], packets=4, answered=True))


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


def pass_flooded(
    program: Program, at_ns: np.ndarray, frames: Sequence[bytes], flood: Flood, begin_ns: int
) -> np.ndarray:
    """Return what a program says of packets while a flood of new flows passes it too.

    Parameters
    ----------
    program : Program
        Built with ``probe=True``; its flow table and counts are emptied first.
    at_ns : ndarray of shape (n,), uint64
        Times of the packets, rising [ns].
    frames : sequence of bytes
        The packets.
    flood : Flood
    begin_ns : int
        When the flood begins.

    Returns
    -------
    ndarray of shape (n,), dtype PROBE
    """
    program.reset()
    probes = np.zeros(len(at_ns), PROBE)
    probes["now_ns"], probes["flood"] = at_ns, flood_before(flood, at_ns, begin_ns)
    return program.probe(probes, frames)


def share_found(program: Program, flood: Flood, seconds: float) -> float:
    """Return the share of the background's packets that find their flow's state while a flood passes.

    Parameters
    ----------
    program : Program
        Built with ``probe=True``; its flow table and counts are emptied first.
    flood : Flood
    seconds : float
        How long the flood lasts.
    """
    at_ns, frames, begins = background(WARM_UP_S + seconds)
    begin_ns = START_NS + int(WARM_UP_S * SECOND)
    out = pass_flooded(program, START_NS + at_ns, frames, flood, begin_ns)
    during = (out["now_ns"] >= begin_ns) & ~begins
    return float(np.mean(out["first"][during] == 0))


def _case(table: str, flows: int, flood: Flood, profile: Profile) -> dict:
    """Return what one measurement is asked for."""
    return {"table": table, "flows": flows, **asdict(flood), "flood_s": profile.flood_s, "profile": profile.name}


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
        The records, of kind "blinding".
    """
    made, pairs = [], list(itertools.product(sizes, tables))
    with show_progress(total=len(pairs) * len(floods), desc="floods of new flows", unit="flood") as bar:
        for size, table in pairs:
            with Program(Variant(HOOK, probe=True, flows=size, table=table)) as program:
                for flood in floods:
                    started = records.now()
                    share = share_found(program, flood, profile.flood_s)
                    found = program.counts()["found"].tolist()
                    raw = {"share_found": share, "found_packets": dict(zip(FOUND, found, strict=False))}
                    asked = _case(table, size, flood, profile)
                    made.append(records.append(results / "blinding.jsonl", "blinding", asked, raw, started=started))
                    bar.update()
    return made


def flagged(program: Program, capture: Capture | Trace, everything: Dataset, flood: Flood, seconds: float) -> dict:
    """Count the packets of attacks that a program flags while a flood of new flows passes.

    Parameters
    ----------
    program : Program
        Built with ``probe=True`` for two classes, with a model.
    capture : Capture or Trace
        The packets, each of which passes at its time.
    everything : Dataset
        A vector for every packet of the capture, with its label.
    flood : Flood
        It lasts for so many seconds in the middle of the capture. What comes before passes without it.
    seconds : float

    Returns
    -------
    dict
        "packets" and "flagged": for each class of attack, how many of its packets passed during the flood, and how many
        of these were flagged.
    """
    at_ns = capture.rows["ts_ns"].astype(np.uint64)
    middle, half = (int(at_ns[0]) + int(at_ns[-1])) // 2, int(seconds * SECOND) // 2
    n = np.searchsorted(at_ns, np.uint64(middle + half))
    out = pass_flooded(program, at_ns[:n], capture.headers()[:n], flood, middle - half)
    chosen = everything.take((everything.packet < n) & (everything.label != NORMAL))
    chosen = chosen.take(at_ns[chosen.packet] >= middle - half)
    verdict = out["verdict"][chosen.packet].astype(np.int64)
    counts = (np.bincount(chosen.label[mask], minlength=len(CLASSES)) for mask in (verdict >= 0, verdict == 1))
    packets, alarms = ({name: int(k) for name, k in zip(CLASSES, count, strict=True)} for count in counts)
    attacks = [name for name in CLASSES if name != CLASSES[NORMAL]]
    return {"packets": {a: packets[a] for a in attacks}, "flagged": {a: alarms[a] for a in attacks}}


def measure_verdicts(
    model: Model,
    capture: Capture | Trace,
    everything: Dataset,
    profile: Profile,
    results: Path = RESULTS,
    flows: int = Variant.flows,
) -> list[dict]:
    """Measure what floods do to verdicts: `flagged` for each kind of table, without a flood and with the fastest ones.

    Parameters
    ----------
    model : Model
        A quantized model of two classes; its net runs in our arithmetic.
    capture, everything
        See `flagged`.
    profile : Profile
        Its ``flooded_s`` is how long the flood lasts.
    results : Path
        Folder of the records, which are appended to blinding.jsonl.
    flows : int
        Size of the flow tables.

    Returns
    -------
    list of dict
        The records, of kind "blinded_verdicts".
    """
    floods = [flood for flood in FLOODS if flood.rate_pps in (0, RATES_PPS[-1])]
    made, path = [], results / "blinding.jsonl"
    profile = replace(profile, flood_s=profile.flooded_s)
    identity = {"model_sha256": model.sha256(), "data_hash": model.data_hash}
    with show_progress(total=len(TABLES) * len(floods), desc="verdicts in a flood", unit="flood") as bar:
        for table in TABLES:
            variant = Variant(HOOK, "nn", probe=True, flows=flows, table=table, hidden=model.hidden)
            with Program(variant, model.params(variant.params)) as program:
                for flood in floods:
                    started = records.now()
                    raw = flagged(program, capture, everything, flood, profile.flood_s)
                    asked = _case(table, flows, flood, profile) | model.named(everything)
                    made.append(
                        records.append(path, "blinded_verdicts", asked, raw, started=started, identity=identity)
                    )
                    bar.update()
    return made
