"""Can a flood of new flows blind the detector? The share of other flows' packets that still find their flow's state.

A loaded kernel program gets every packet by a test run with a clock that the packet brings along: flows in the
background, and a flood that starts new flows at a given rate. This is made-up traffic, and nothing is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from .. import parallel, records
from ..config import CLASSES, NORMAL, RESULTS, Profile
from ..data.dataset import Dataset
from ..data.packet_table import Trace
from ..data.packets import Capture
from ..kernel.program import Program
from ..kernel.variants import Variant
from ..models.model import Model
from ..native.layouts import FOUND, PROBE
from ..progress import show_progress
from .floods import SECOND, WARM_UP_S, Flood, background, flood_before

TABLES = ("lru", "shared")  # flow tables, names in `kernel.variants.Variant`
SIZES = (1 << 10, 1 << 16, 1 << 18)  # flows that a table has room for
RATES_PPS = (0, 200_000, 800_000, 3_000_000)
START_NS = 10**18  # of every run
HOOK = "tc"  # a test run of XDP that repeats first changes the kernel's dispatcher, which takes 2 ms
# One packet per flow at every rate; at the highest also two, and four of which two are forged answers.
FLOODS = (*map(Flood, RATES_PPS), Flood(RATES_PPS[-1], packets=2), Flood(RATES_PPS[-1], packets=4, answered=True))


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


def _recorded(
    kind: str,
    path: Path,
    loads: Sequence[tuple[Variant, bytes | None]],
    floods: Sequence[Flood],
    about: Mapping[str, object],
    measure: Callable[[Program, Flood], dict],
    identity: Mapping[str, str] | None = None,
) -> list[dict]:
    """Load programs, measure each with each flood, and record what `measure` returns.

    Programs run on all CPUs at once: packets bring their clock along, so nothing depends on how fast a program is.
    """
    with show_progress(total=len(loads) * len(floods), desc="floods of new flows", unit="flood") as bar:

        def of_program(load: tuple[Variant, bytes | None]) -> list[dict]:
            variant, made = load[0], []
            with Program(*load) as program:
                for flood in floods:
                    started = records.now()
                    raw = measure(program, flood)
                    asked = {"table": variant.table, "flows": variant.flows, **asdict(flood), **about}
                    made.append(records.append(path, kind, asked, raw, started=started, identity=identity))
                    bar.update()
            return made

        return [record for made in parallel.in_threads(of_program, loads) for record in made]


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

    def found(program: Program, flood: Flood) -> dict:
        share = share_found(program, flood, profile.flood_s)
        counts = program.counts()["found"].tolist()
        return {"share_found": share, "found_packets": dict(zip(FOUND, counts, strict=False))}

    loads = [(Variant(HOOK, probe=True, flows=size, table=table), None) for size in sizes for table in tables]
    about = {"flood_s": profile.flood_s, "profile": profile.name}
    return _recorded("blinding", results / "blinding.jsonl", loads, floods, about, found)


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
    about = {"flood_s": profile.flooded_s, "profile": profile.name} | model.named(everything)
    identity = {"model_sha256": model.sha256(), "data_hash": model.data_hash}
    net = Variant(HOOK, "nn", probe=True, flows=flows, hidden=model.hidden)
    loads = [(replace(net, table=table), model.params(net.params)) for table in TABLES]

    def verdicts(program: Program, flood: Flood) -> dict:
        return flagged(program, capture, everything, flood, profile.flooded_s)

    return _recorded("blinded_verdicts", results / "blinding.jsonl", loads, floods, about, verdicts, identity)
