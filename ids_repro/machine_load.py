"""How busy others keep this machine while something is measured: other programs, and the hypervisor (steal).

Only what programs use in user mode counts as theirs: kernel threads have none, and what the kernel does for the traffic
that we send is ours.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import psutil

from .text import rounded, say

BEFORE_S = 1.0  # how far "before a trial" reaches back at least, where something was measured before it
SHORT_S = 0.1  # and where nothing was
OTHERS_PERCENT, STEAL_PERCENT = 25.0, 5.0  # from here on a trial counts as disturbed
# What is measured there depends on how fast the machine is, or on what else it does. All other records are of counts.
TIMED = frozenset({"inference", "kernel_cost", "flow_churn", "sweep", "end_to_end"})
DISTURBED_SHARE = 0.25  # a measurement was on a busy machine if so many of its trials were disturbed
ADVICE = "what was measured then may be too slow: stop other programs and measure again"


class Sample(NamedTuple):
    """What all CPUs have done so far [s].

    Attributes
    ----------
    clock_s : float
        When, by ``time.monotonic()``.
    user_s, steal_s, total_s : float
        In user mode, taken by the hypervisor, and all of it.
    own_s : float
        What of `user_s` is of this process and its children.
    """

    clock_s: float
    user_s: float
    steal_s: float
    total_s: float
    own_s: float


_recent: deque[Sample] = deque(maxlen=64)


def sample() -> Sample:
    """Return what all CPUs have done so far."""
    cpu, own = psutil.cpu_times(), os.times()
    own_s = own.user + own.children_user
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.Error:  # it has ended since; what it used is now in our own children_user
            continue
        own_s += times.user + times.children_user
    return Sample(time.monotonic(), cpu.user + cpu.nice, getattr(cpu, "steal", 0.0), sum(cpu), own_s)


def before() -> tuple[Sample, dict[str, float]]:
    """Return a sample for `since`, and how busy the machine was in the last second or more.

    Returns
    -------
    Sample
    dict
        "load", the average of one minute; "others_before_percent" and "steal_before_percent", see `since`.
    """
    if not _recent:
        _recent.append(sample())
        time.sleep(SHORT_S)
    now = sample()
    old = [one for one in _recent if now.clock_s - one.clock_s >= BEFORE_S]
    found = _between(old[-1] if old else _recent[0], now)
    _recent.append(now)
    return now, {"load": os.getloadavg()[0]} | {f"{name}_before_percent": value for name, value in found.items()}


def since(start: Sample) -> dict[str, float]:
    """Return how busy others kept the machine since a sample.

    Returns
    -------
    dict
        "others_percent": the user time of other programs, in % of one CPU. "steal_percent": what the hypervisor took,
        in % of all CPUs.
    """
    now = sample()
    _recent.append(now)
    return {f"{name}_percent": value for name, value in _between(start, now).items()}


def _between(start: Sample, end: Sample) -> dict[str, float]:
    lasted = max(end.clock_s - start.clock_s, 1e-3)
    others = end.user_s - start.user_s - (end.own_s - start.own_s)
    steal = (end.steal_s - start.steal_s) / max(end.total_s - start.total_s, 1e-3)
    return {"others": round(100 * max(others, 0.0) / lasted, 1), "steal": round(100 * min(max(steal, 0.0), 1.0), 1)}


def timed(used: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the records whose values another load would change."""
    return [record for record in used if record["kind"] in TIMED]


def loads(used: Iterable[Mapping[str, Any]]) -> list[Mapping[str, float]]:
    """Return the load while `timed` records were made, as far as it is known; of old ones of the sweep, the steal."""
    found = []
    for record in timed(used):
        steal = record["raw"].get("cpu_percent", {}).get("steal")
        old = {} if steal is None else {"steal_percent": steal}
        found.append(record["provenance"].get("load") or old)
    return [one for one in found if one]


def _worst(load: Mapping[str, float], what: str) -> float:
    return max(load.get(f"{what}_before_percent", 0.0), load.get(f"{what}_percent", 0.0))


def disturbed(load: Mapping[str, float]) -> bool:
    """Return whether others were busy before a trial or in it."""
    return _worst(load, "others") >= OTHERS_PERCENT or _worst(load, "steal") >= STEAL_PERCENT


def was_busy(used: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether so many records were disturbed that what they say may be the machine's fault."""
    known = loads(used)
    return bool(known) and sum(map(disturbed, known)) >= DISTURBED_SHARE * len(timed(used))


def in_words(used: Sequence[Mapping[str, Any]]) -> str:
    """Return how busy others kept the machine while records were made, as captions have it; empty if nobody knows."""
    known = loads(used)
    if not known:
        return ""
    parts = []
    for what, words, of in (("others", "other programs", "% of a CPU"), ("steal", "hypervisor", "%")):
        if any(f"{what}_percent" in load for load in known):
            values = [_worst(load, what) for load in known]
            middle, most = rounded(median(values), ".1f"), rounded(max(values), ".1f")
            parts.append(f"{words} took {middle} {of}" + f", at most {most}" * (middle != most))
    n = sum(map(disturbed, known))
    return "; ".join(parts) + (
        f" (MACHINE BUSY in {n} of {len(timed(used))} trials: {ADVICE})" if was_busy(used) else ""
    )


def say_if_busy(made: Sequence[Mapping[str, Any]]) -> None:
    """Print a warning if others kept the machine busy while records were made."""
    if was_busy(made):
        say(f"warning: {in_words(made)}")
