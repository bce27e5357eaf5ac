"""Which trials a sweep makes: the profile's rates first, then rates that narrow down each method's edge of loss.

The edge of loss lies between the highest rate that a method held and the next rate, at which it lost packets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from .. import metrics
from ..config import Profile
from ..text import rounded
from .methods import choose_methods
from .trial import WARM_UP_S

OVERHEAD_S = 0.3  # how long a trial takes to start and stop everything
LEAST_PPS = 10_000  # the rate that every method is assumed to hold
CLOSE = 1.05  # the edge is found when the two rates around it are nearer than this factor


def plan_trials(profile: Profile, methods: str | Sequence[str] = "all", flows: str = "both") -> list[dict]:
    """Return the trials at the profile's own rates.

    The methods take turns at each rate, so that a drift of the machine affects all of them alike.

    Parameters
    ----------
    profile : Profile
        Its intervals, rates and repeats are used.
    methods : str or sequence of str
        See `choose_methods`.
    flows : {"both", "new", "one"}
        "new": every packet is a new flow (of hping3, the first 64,512 are). "one": all packets are of one flow. "both":
        hping3 sends new flows. Live frames send one flow, so that the sweep compares the methods and not the flow
        table; at the profile's `churn_pps` they send new flows too.

    Returns
    -------
    list of dict
        What each trial is asked to do; see `asked_trial`.

    Raises
    ------
    UserError
        If there is no such method.
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
    """Return the flows that live frames send at the profile's `rates_pps`, "new" or "one"; see `plan_trials`."""
    return "new" if flows == "new" else "one"


def asked_trial(
    profile: Profile,
    method: str,
    generator: str,
    interval_us: int | None,
    rate_pps: int | None,
    flows: str,
    repeat: int,
) -> dict:
    """Return what one trial is asked to do, the `asked` of its record.

    Parameters
    ----------
    profile : Profile
        Says how long a trial is.
    method : str
        A name in METHODS.
    generator : {"hping3", "live_frames"}
        What sends.
    interval_us, rate_pps : int or None
        hping3's sending interval [us], or the rate of live frames [packets/s]; the other is None.
    flows : {"new", "one"}
        Whether each packet is a new flow.
    repeat : int
        Number of the repeat, from 0.
    """
    traffic = {"generator": generator, "interval_us": interval_us, "rate_pps": rate_pps, "flows": flows}
    return {"method": method, **traffic, "repeat": repeat, "trial_s": profile.trial_s, "profile": profile.name}


def next_rate(trials: Iterable[Mapping]) -> int | None:
    """Return the rate to try next in the search for a method's highest rate without loss.

    It is the geometric mean of the two rates around the edge of loss, to the nearest 10,000 packets/s. A rate held if
    the median of its repeats lost no more than `metrics.TOLERANCE`.

    Parameters
    ----------
    trials : iterable of record
        Trials of one method with live frames.

    Returns
    -------
    int or None
        In packets/s. None if no rate lost packets, or the two rates are near enough.
    """
    kept: dict[int, list[float]] = {}
    for record in trials:
        raw = record["raw"]
        kept.setdefault(record["asked"]["rate_pps"], []).append(raw["received_packets"] / max(raw["sent_packets"], 1))
    held = LEAST_PPS
    for rate in sorted(kept):
        if np.median(kept[rate]) < 1 - metrics.TOLERANCE:
            middle = int(round((held * rate) ** 0.5, -4))
            return middle if rate > CLOSE * held and held < middle < rate else None
        held = rate
    return None


def duration_text(trials: int, trial_s: float) -> str:
    """Return how long this many trials of `trial_s` seconds take, in words: "2 minutes", "15.9 hours"."""
    minutes = trials * (trial_s + WARM_UP_S + OVERHEAD_S) / 60
    return f"{rounded(minutes, '.0f')} minutes" if minutes < 90 else f"{rounded(minutes / 60, '.1f')} hours"
