"""Which trials a sweep makes: the profile's rates, then rates that narrow down a method's edge of loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from .. import metrics
from ..config import Profile
from .methods import choose_methods
from .trial import WARM_UP_S

OVERHEAD_S = 0.3  # of a trial, to start and stop everything
LEAST_PPS = 10_000  # every method is taken to hold this
CLOSE = 1.05  # the edge of loss is found when the rates around it are nearer than this


def plan_trials(profile: Profile, methods: str | Sequence[str] = "all", flows: str = "both") -> list[dict]:
    """List the trials at the profile's own rates: methods interleave at each rate, so that drift hits all alike.

    Parameters
    ----------
    methods : str or sequence of str
        See `choose`.
    flows : {"both", "new", "one"}
        A new source port for every packet, as hping3 does, or one flow. "both": hping3's are new, live frames are of
        one flow, so that what is compared is the methods and not the flow table, and new at `churn_pps`.
    """
    traffic = [
        ("hping3", interval_us, None, "one" if flows == "one" else "new") for interval_us in profile.intervals_us
    ]
    traffic += [("live_frames", None, rate_pps, live_frames_flows(flows)) for rate_pps in profile.rates_pps]
    traffic += [("live_frames", None, rate_pps, "new") for rate_pps in profile.churn_pps if flows == "both"]
    return [
        asked_trial(profile, method, *each, repeat)
        for repeat in range(profile.repeats)
        for each in traffic
        for method in choose_methods(methods)
    ]


def live_frames_flows(flows: str) -> str:
    return "new" if flows == "new" else "one"


def asked_trial(profile, method, generator, interval_us, rate_pps, flows, repeat) -> dict:
    traffic = {"generator": generator, "interval_us": interval_us, "rate_pps": rate_pps, "flows": flows}
    return {"method": method, **traffic, "repeat": repeat, "trial_s": profile.trial_s, "profile": profile.name}


def next_rate(trials: Iterable[Mapping]) -> int | None:
    """Where to look next for a method's highest rate without loss: between the last that held and the next, which lost.

    Parameters
    ----------
    trials : iterable of record
        Of one method, by live frames.

    Returns
    -------
    int or None
        In pps; None if none lost, or the two are near.
    """
    kept: dict[int, list[float]] = {}
    for record in trials:
        raw = record["raw"]
        kept.setdefault(record["asked"]["rate_pps"], []).append(raw["received_packets"] / raw["sent_packets"])
    held = LEAST_PPS
    for rate in sorted(kept):
        if np.median(kept[rate]) < 1 - metrics.TOLERANCE:
            middle = int(round((held * rate) ** 0.5, -4))
            return middle if rate > CLOSE * held and held < middle < rate else None
        held = rate
    return None


def duration_text(trials: int, trial_s: float) -> str:
    """How long so many trials take, in words."""
    minutes = trials * (trial_s + WARM_UP_S + OVERHEAD_S) / 60
    return f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"
