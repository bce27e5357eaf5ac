"""Methods x sending rates x repeats -> records of R_TX, R_RX and the server's CPU (Sec. V-B, Figs. 4 and 5)."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from tqdm.auto import tqdm

from . import records
from .config import RESULTS, Profile, UserError
from .cpu import CpuClock
from .generator import Generator
from .link import Link, link
from .pipeline import Model
from .receivers import METHODS, Receiver, Receivers

SWEEP = RESULTS / "sweep.jsonl"
ATTEMPTS = 3  # of a trial whose packets do not add up
WARM_UP_S = 0.1  # of the same traffic before what is measured: flow table, caches, page pools
MARGIN_S = 10.0  # after which a generator that nobody stopped stops by itself
OVERHEAD_S = 0.5  # of a trial, to start and stop everything
TOLERANCE = 0.01  # of the packets may be lost where a rate still counts as held
CLOSE = 1.05  # the edge of loss is found when the rates around it are nearer than this
TRAFFIC = ("generator", "interval_us", "rate_pps", "flows")


def trial(on: Link, receivers: Receivers, generator: Generator, asked: Mapping) -> dict:
    """Send to one method for a while and count every packet.

    Before and after what is measured nothing is under way, so that the counters are those of these packets exactly.

    Returns
    -------
    dict
        duration_s, sent_packets, received_packets, dropped_packets by place, cpu_percent of the server's CPU,
        server_cpu, how it was held, verdicts, workers. R_TX = sent/duration, R_RX = received/duration.

    Raises
    ------
    UserError
        If a generator or a receiver does not run, or the link is down.
    """
    command = {name: asked[name] for name in TRAFFIC} | {"limit_s": asked["trial_s"] + MARGIN_S}
    try:
        with receivers.running(METHODS[asked["method"]]) as receiver:
            with generator.running(**command):
                time.sleep(WARM_UP_S)
            before = _counts(on, receiver)
            with generator.running(**command) as sent:
                clock = CpuClock(on.server_cpu)
                time.sleep(asked["trial_s"])
                cpu = clock.percent()
            after = _counts(on, receiver)
    except UserError:
        on.check()  # if the link is down, then that is the reason
        raise
    on.check()
    return {
        "duration_s": sent["duration_s"],
        **_packets(before, after, asked["generator"]),
        "cpu_percent": cpu,
        "server_cpu": on.server_cpu,
        "held": on.held,
        "workers": receiver.workers,
    }


def _counts(on: Link, receiver: Receiver) -> dict:
    """Everything that counts, once what is in a ring has been taken."""
    time.sleep(on.drain_s)
    own = receiver.counts()
    return own | {"link": on.counters()}


def _packets(before: dict, after: dict, generator: str) -> dict:
    """What became of the packets between two `_counts`: sent, received, dropped by place, verdicts."""
    n = {name: after["link"][name] - before["link"][name] for name in after["link"]}
    own = {place: after["drops"][place] - before["drops"][place] for place in after["drops"]}
    # veth counts a frame from an XDP program that does not fit its ring at both ends, and one that a program redirects
    # to a full AF_XDP socket at its own end too.
    twice = (n["dropped_link"] if generator == "live_frames" else 0) + own.get("ring", 0)
    drops = {"link": n["dropped_link"], "interface": max(n["dropped_interface"] - twice, 0)} | own
    if "received" not in after:
        return {"sent_packets": n["sent"], "received_packets": n["received_interface"], "dropped_packets": drops}
    return {
        "sent_packets": n["sent"],
        "received_packets": after["received"] - before["received"],
        "dropped_packets": drops,
        "verdicts": np.subtract(after["verdicts"], before["verdicts"]).tolist(),
    }


def lost_track(raw: dict) -> int:
    """How many packets are unaccounted for: sent - received - dropped."""
    return raw["sent_packets"] - raw["received_packets"] - sum(raw["dropped_packets"].values())


def choose(methods: str | Sequence[str]) -> list[str]:
    """Names in METHODS: a sequence, or one string with commas between them; "all" for all.

    Raises
    ------
    UserError
        If there is no such method.
    """
    if isinstance(methods, str):
        methods = list(METHODS) if methods == "all" else [name.strip() for name in methods.split(",")]
    unknown = [name for name in methods if name not in METHODS]
    if unknown:
        raise UserError(f"there is no method {unknown[0]!r}: use {', '.join(METHODS)}")
    return list(methods)


def plan(profile: Profile, methods: str | Sequence[str] = "all", flows: str = "new") -> list[dict]:
    """List the trials at the profile's own rates: methods interleave at each rate, so that drift hits all alike.

    Parameters
    ----------
    methods : str or sequence of str
        See `choose`.
    flows : {"new", "one"}
        A new source port for every packet, as hping3 does, or one flow.
    """
    traffic = [("hping3", interval_us, None) for interval_us in profile.intervals_us]
    traffic += [("live_frames", None, rate_pps) for rate_pps in profile.rates_pps]
    return [
        _asked(profile, method, generator, interval_us, rate_pps, flows, repeat)
        for repeat in range(profile.repeats)
        for generator, interval_us, rate_pps in traffic
        for method in choose(methods)
    ]


def _asked(profile, method, generator, interval_us, rate_pps, flows, repeat) -> dict:
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
        In pps; None if no rate held, none lost, or the two are near.
    """
    lost: dict[int, list[float]] = {}
    for record in trials:
        raw = record["raw"]
        lost.setdefault(record["asked"]["rate_pps"], []).append(1 - raw["received_packets"] / raw["sent_packets"])
    held = 0
    for rate in sorted(lost):
        if np.median(lost[rate]) > TOLERANCE:
            middle = round((held * rate) ** 0.5, -4)
            return int(middle) if held and rate > CLOSE * held and held < middle < rate else None
        held = rate
    return None


class _Sweep:
    """The trials of one call of `run`.

    Parameters
    ----------
    profile, flows
        See `run`.
    identity : dict
        What else must be equal for a record to count.
    """

    def __init__(self, profile: Profile, flows: str, identity: dict) -> None:
        self.profile, self.flows, self.identity = profile, flows, identity
        self.made: list[dict] = []
        ok = (r for r in records.read(SWEEP) if r["kind"] == "sweep" and r["status"] == "ok")
        self._done = {records.key(r["asked"], r["provenance"].get("identity")): r for r in ok}

    def missing(self, trials: Iterable[dict]) -> list[dict]:
        """The trials that have no good record yet."""
        return [asked for asked in trials if records.key(asked, self.identity) not in self._done]

    def run(self, asked: dict, measure: Callable[[dict], dict], **provenance: str) -> None:
        """Run one trial until its packets add up, recording every attempt."""
        for _ in range(ATTEMPTS):
            started = time.time()
            try:
                raw, status, reason = measure(asked), "ok", ""
                if missing := lost_track(raw):
                    status, reason = "bad", f"{missing} packets unaccounted for"
            except UserError as error:
                raw, status, reason = {}, "failed", str(error)
            identity = {"started": started, "identity": self.identity}
            record = records.append(SWEEP, "sweep", asked, raw, status, reason, **identity, **provenance)
            if status != "bad":
                break
        if status == "ok":
            self._done[records.key(asked, self.identity)] = record
        self.made.append(record)

    def refinements(self, method: str) -> Iterator[dict]:
        """The missing trials around a method's edge of loss, each decided by those before it."""
        for _ in range(self.profile.refine):
            mine = [r for r in self._done.values() if self._belongs(r, method)]
            own = {r["asked"]["rate_pps"] for r in mine} - set(self.profile.rates_pps)
            rate_pps = next_rate(mine)
            if len(own) >= self.profile.refine or rate_pps is None:
                return
            yield _asked(self.profile, method, "live_frames", None, rate_pps, self.flows, 0)

    def _belongs(self, record: dict, method: str) -> bool:
        asked = record["asked"]
        like = _asked(self.profile, method, "live_frames", None, asked["rate_pps"], self.flows, asked["repeat"])
        return asked == like and record["provenance"].get("identity") == self.identity


def duration(trials: int, trial_s: float) -> str:
    """How long so many trials take, in words."""
    minutes = trials * (trial_s + WARM_UP_S + OVERHEAD_S) / 60
    return f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"


def run(
    model: Model,
    profile: Profile,
    methods: str | Sequence[str] = "all",
    flows: str = "new",
    connect: Callable[[], contextlib.AbstractContextManager[Link]] = link,
) -> list[dict]:
    """Run every trial that has no good record yet, one record each, with a progress bar.

    First those of the `plan`, then, for each method, a few that narrow down its highest rate without loss.

    Parameters
    ----------
    model : Model
        Whose integer models classify; the paper sweeps the binary one.
    methods, flows
        See `plan`.
    connect : callable
        Makes the link.

    Returns
    -------
    list of dict
        The records of this call.

    Raises
    ------
    UserError
        If there is no link to measure. What is wrong in a trial is recorded with it, and the others go on.
    """
    identity = {"model_sha256": model.sha256(), "data_hash": model.data_sha256, "cpus": os.cpu_count()}
    done = _Sweep(profile, flows, identity)
    todo, chosen = done.missing(plan(profile, methods, flows)), choose(methods)
    if not todo and not any(next(done.refinements(method), None) for method in chosen):
        return []
    most = len(todo) + profile.refine * len(chosen)
    with connect() as on, contextlib.ExitStack() as stack:
        receivers, generator = Receivers(model, on, stack), Generator(on)
        stack.callback(generator.close)
        print(f"sweep: up to {most} trials of {profile.trial_s:g} s, {duration(most, profile.trial_s)}")
        bar = stack.enter_context(tqdm(total=most, desc="sweep", unit="trial"))

        def one(asked: dict) -> None:
            bar.set_postfix_str(f"{asked['method']}, {asked['rate_pps'] or asked['generator']}")
            done.run(asked, lambda asked: trial(on, receivers, generator, asked), mode=on.mode)
            bar.update()

        for asked in todo:
            one(asked)
        edges = [done.refinements(method) for method in chosen]
        for _ in range(profile.refine):
            for asked in filter(None, [next(edge, None) for edge in edges]):
                one(asked)
        bar.total = bar.n  # an edge that was found early
    return done.made
