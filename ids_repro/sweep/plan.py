"""Which trials a sweep makes: the profile's rates first, then searches for each method's highest rate without loss.

A search is that of RFC 2544, Sec. 26.1, with a tolerance; see `metrics.highest_rate`. There are as many as the profile
has repeats. Each goes on from the trials of its own repeat, so that searches differ as trials do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from .. import metrics
from ..config import Profile, UserError, number
from ..text import rounded
from .methods import METHODS, choose_methods
from .replay import Replay
from .trial import WARM_UP_S

OVERHEAD_S = 0.3  # how long a trial takes to start and stop everything
LEAST_PPS = 10_000  # the rate that every method is assumed to hold
SPARE_STEPS = 2  # of a search, after those that halve its bracket often enough


def read_rates(text: str, replay: Replay | None = None) -> tuple[int, ...]:
    """Return the rates that a user gives [packets/s].

    Parameters
    ----------
    text : str
        Numbers of packets/s, and multiples of a capture's own rate, with commas between them: "50000,4x".
    replay : Replay, optional
        The capture that a multiple is of.

    Raises
    ------
    UserError
        If one of them is no such number, or a multiple without a capture; or as `Replay.own_pps` does.
    """
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        rate_pps = part
        if part.endswith("x"):
            multiple = number("multiple", part[:-1])
            if replay is None:
                raise UserError(f"{part} is a multiple of a capture's own rate: add --flows replay, or give packets/s")
            rate_pps = max(round(multiple * replay.own_pps), 1)
        found.append(number("--rates", rate_pps))
    if not found:
        raise UserError("--rates names no rate: give some, such as 50000,200000")
    return tuple(dict.fromkeys(found))


def at_rates(profile: Profile, rates_pps: Sequence[int]) -> Profile:
    """Return a profile with these rates of live frames instead of its own, and without searches."""
    return replace(profile, rates_pps=tuple(rates_pps), resolution=0.0)


def plan_trials(profile: Profile, methods: str | Sequence[str] | None = None, flows: str = "both") -> list[dict]:
    """Return the trials at the profile's own rates.

    The methods take turns at each rate, so that a drift of the machine affects all of them alike.

    Parameters
    ----------
    profile : Profile
        Its intervals, rates and repeats are used.
    methods : str or sequence of str, optional
        See `choose_methods`; the profile's by default.
    flows : {"both", "new", "one", "replay"}
        "new": every packet is a new flow (of hping3, the first 64,512 are). "one": all packets are of one flow.
        "replay": live frames send the packets of a capture, to the methods that are `Method.in_kernel`. "both": hping3
        sends new flows. Live frames send one flow, so that the sweep compares the methods and not the flow table; at
        the profile's `churn_pps` they send new flows too, and at its `replay_pps` a capture to methods that are
        `Method.replays`.

    Returns
    -------
    list of dict
        What each trial is asked to do; see `asked_trial`.

    Raises
    ------
    UserError
        If there is no such method, or none to which a capture can be replayed.
    """
    chosen, traffic = choose_methods(methods or profile.methods), []
    if flows != "replay":
        traffic = [("hping3", us, None, "one" if flows == "one" else "new") for us in profile.intervals_us]
    elif not any(METHODS[method].in_kernel for method in chosen):
        able = ", ".join(name for name, method in METHODS.items() if method.in_kernel)
        raise UserError(f"none of these methods can take a packet's time from its frame: choose some of {able}")
    traffic += [("live_frames", None, rate_pps, live_frames_flows(flows)) for rate_pps in profile.rates_pps]
    if flows == "both":
        traffic += [("live_frames", None, rate_pps, "new") for rate_pps in profile.churn_pps]
        traffic += [("live_frames", None, rate_pps, "replay") for rate_pps in profile.replay_pps]
    return [
        asked_trial(profile, method, *each, repeat)
        for repeat in range(profile.repeats)
        for each in traffic
        for method in chosen
        if each[-1] != "replay" or (METHODS[method].replays if flows == "both" else METHODS[method].in_kernel)
    ]


def live_frames_flows(flows: str) -> str:
    """Return the flows that live frames send at the profile's `rates_pps`; see `plan_trials`."""
    return "one" if flows == "both" else flows


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
    flows : {"new", "one", "replay"}
        Whether each packet is a new flow, or of a capture.
    repeat : int
        Number of the repeat, from 0.
    """
    traffic = {"generator": generator, "interval_us": interval_us, "rate_pps": rate_pps, "flows": flows}
    return {"method": method, **traffic, "repeat": repeat, "trial_s": profile.trial_s, "profile": profile.name}


def next_rate(trials: Iterable[Mapping], resolution: float) -> int | None:
    """Return the rate that a search for the highest rate without loss tries next.

    It is the geometric mean of the two R_TX around the edge of loss, divided by the share of its rate that the sender
    reached at the lower one, with three digits: asked for the mean itself, a sender that falls a little short would
    stay below it. If that has been asked for, what was sent was outside the two: another percent is asked for, or one
    less. All is taken from the records of the trials, so a search that was interrupted goes on where it was.

    Parameters
    ----------
    trials : iterable of record
        Trials of one search: of one method with live frames, and of one repeat.
    resolution : float
        See `Profile`.

    Returns
    -------
    int or None
        In packets/s. None if the search has ended: no rate lost packets, or the two rates are near enough.
    """
    trials = list(trials)
    sent, received = (
        [record["raw"][f"{what}_packets"] / record["raw"]["duration_s"] for record in trials]
        for what in ("sent", "received")
    )
    held, lost = metrics.edge_of_loss(sent, received)
    asked = {record["asked"]["rate_pps"]: rate for record, rate in zip(trials, sent, strict=True)}
    reached = max((rate / asked_pps for asked_pps, rate in asked.items() if rate == held > 0), default=1.0)
    best = max(held, LEAST_PPS)
    if not resolution or math.isinf(lost) or lost <= (1 + resolution) * best:
        return None
    rate_pps, way = math.sqrt(best * lost) / reached, None
    while (middle := int(float(rounded(rate_pps, ".3g")))) in asked:
        way = way or (1.01 if asked[middle] <= held else 1 / 1.01)
        rate_pps *= way
    return middle


def most_steps(profile: Profile) -> int:
    """Return how many trials one search makes at most: each halves the distance of two neighbours of `rates_pps`.

    The distance is that of logarithms. Below the slowest of these rates is the one that every method shall hold. A few
    more are for trials that a pause of the machine spoils.
    """
    if not profile.resolution:
        return 0
    rates = sorted({LEAST_PPS, *profile.rates_pps})
    widest = max((math.log(b / a) for a, b in zip(rates, rates[1:], strict=False)), default=1.0)
    return max(math.ceil(math.log2(widest / math.log1p(profile.resolution))), 0) + SPARE_STEPS


def most_trials(profile: Profile, methods: str | Sequence[str] | None = None, flows: str = "both") -> int:
    """Return how many trials a sweep makes at most, those of its searches included; see `plan_trials`."""
    searches = profile.repeats * len(choose_methods(methods or profile.methods))
    return len(plan_trials(profile, methods, flows)) + searches * most_steps(profile)


def duration_s(trials: int, trial_s: float) -> float:
    """Return how long this many trials of `trial_s` seconds take [s]."""
    return trials * (trial_s + WARM_UP_S + OVERHEAD_S)
