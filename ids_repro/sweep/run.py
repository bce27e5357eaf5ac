"""The sweep: methods x sending rates x repeats -> records of R_TX, R_RX and the server's CPU (Sec. V-B, Figs. 4, 5)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path

from .. import machine_load, records
from ..config import PROFILES, RESULTS, Profile, UserError
from ..models.detector import any_detector
from ..models.model import Model
from ..progress import show_progress
from ..provenance import checkout_sha256, provenance
from ..text import duration, say
from .link import Link
from .link_netns import two_namespaces
from .link_ssh import TwoMachines, two_machines
from .methods import METHODS, choose_methods
from .plan import asked_trial, duration_s, live_frames_flows, most_steps, next_rate, plan_trials
from .receivers import Receivers
from .replay import LAB, Replay
from .sender import Sender
from .trial import lost_track, run_trial

SWEEP = RESULTS / "sweep.jsonl"
# The code that decides what a trial measures. Trials of other code stand in no table together.
CODE = ("ids_repro/sweep", "ids_repro/kernel", "ids_repro/network", "ids_repro/native", "bpf")
ATTEMPTS = 3  # how often a trial runs at most if its packets do not add up


class _Sweep:
    """The trials of one call of `run_sweep`, and which of them have a good record already.

    Parameters
    ----------
    path : Path
        The file of records.
    profile, flows
        See `run_sweep`.
    identity : dict
        What else must be equal before a record counts as one of the same trial.
    own : callable
        Takes what a trial is asked to do, and adds which capture or detector it is of.
    again : bool
        See `run_sweep`.
    """

    def __init__(
        self, path: Path, profile: Profile, flows: str, identity: dict, own: Callable[[dict], dict], again: bool
    ) -> None:
        self.path, self.profile, self.flows, self.identity, self.own = path, profile, flows, identity, own
        self.made: list[dict] = []
        there = [] if again else records.read(path)
        ok = (r for r in there if r["kind"] == "sweep" and r["status"] == "ok")
        self._done = {records.key(r["asked"], r["provenance"].get("identity")): r for r in ok}

    def missing(self, trials: Iterable[dict]) -> list[dict]:
        """Return the trials that have no good record yet, each with what is its own."""
        return [asked for asked in map(self.own, trials) if records.key(asked, self.identity) not in self._done]

    def run(self, asked: dict, measure: Callable[[dict], dict], **provenance: object) -> None:
        """Run one trial until its packets add up, and record every attempt."""
        for _ in range(ATTEMPTS):
            started = records.now()
            try:
                raw, status, reason = measure(asked), "ok", ""
                if missing := lost_track(raw):
                    status, reason = "bad", f"{missing} packets unaccounted for"
            except UserError as error:
                raw, status, reason = {}, "failed", str(error)
            identity = {"started": started, "identity": self.identity}
            record = records.append(self.path, "sweep", asked, raw, status, reason, **identity, **provenance)
            if status != "bad":
                break
        if status == "ok":
            self._done[records.key(asked, self.identity)] = record
        self.made.append(record)

    def trials(self, planned: Iterable[dict], methods: Sequence[str]) -> Iterator[dict]:
        """Yield the planned trials, then those of the searches. The methods take turns there too, and the searches.

        The caller runs each trial before it asks for the next one, because `search` depends on the records.
        """
        yield from planned
        searches = (self.search(method, repeat) for repeat in range(self.profile.repeats) for method in methods)
        for step in zip_longest(*searches):
            yield from filter(None, step)

    def search(self, method: str, repeat: int) -> Iterator[dict]:
        """Yield the missing trials of a method's search with this number. Each is chosen by the records so far."""
        last, most = None, most_steps(self.profile)
        while True:
            mine = [r for r in self._done.values() if self._belongs(r, method, repeat)]
            own = {r["asked"]["rate_pps"] for r in mine} - set(self.profile.rates_pps)
            rate_pps = next_rate(mine, self.profile.resolution) if len(own) < most else None
            if rate_pps in (None, last):  # the last one again: it has no good record
                return
            last = rate_pps
            yield self._ask(method, rate_pps, repeat)

    def _ask(self, method: str, rate_pps: int, repeat: int) -> dict:
        flows = live_frames_flows(self.flows)
        return self.own(asked_trial(self.profile, method, "live_frames", None, rate_pps, flows, repeat))

    def _belongs(self, record: dict, method: str, repeat: int) -> bool:
        like = self._ask(method, record["asked"].get("rate_pps"), repeat)  # records of earlier versions have none
        return record["asked"] == like and record["provenance"].get("identity") == self.identity


def run_sweep(
    model: Model,
    profile: Profile,
    methods: str | Sequence[str] | None = None,
    flows: str = "both",
    over: TwoMachines | None = None,
    results: Path = RESULTS,
    open_link: Callable[[], contextlib.AbstractContextManager[Link]] = two_namespaces,
    wait: Callable[[float], None] = time.sleep,
    again: bool = False,
    replay: Replay = LAB,
    detector: Model | None = None,
) -> list[dict]:
    """Run every trial that has no good record of this code and this machine, append a record of each, show a bar.

    Parameters
    ----------
    model, detector : Model
        Their integer models classify: in the methods that are `Method.detector` the detector's, or `any_detector`'s.
    profile, methods, flows, wait, replay
        See `plan_trials` and `run_trial`. By default the shipped lab capture is replayed.
    over, open_link : TwoMachines or callable
        The two ends of a link between two machines, or what returns a context manager of the link to measure.
    results, again : Path, bool
        The folder of sweep.jsonl, and whether trials that have a good record run again.

    Returns
    -------
    list of dict
        The records of this call, the last attempt at each trial.

    Raises
    ------
    UserError
        If there is no link. An error within a trial is recorded, and the other trials go on.
    """
    planned, chosen = plan_trials(profile, methods, flows), choose_methods(methods or profile.methods)
    detector = detector or (any_detector() if any(METHODS[method].detector for method in chosen) else None)
    about = profile, flows, _identity(model, over), partial(_of_its_own, replay, detector, profile)
    begin = partial(_Sweep, results / SWEEP.name, *about, again)
    if next((sweep := begin()).trials(sweep.missing(planned), chosen), None):
        with two_machines(over) if over else open_link() as link, contextlib.ExitStack() as stack:
            sweep = begin()  # another sweep may have ended meanwhile
            _run_trials(sweep, Receivers(model, link, stack, detector), planned, chosen, wait, replay)
    return sweep.made


def _of_its_own(replay: Replay, detector: Model | None, profile: Profile, asked: dict) -> dict:
    """Add to what a trial is asked to do which capture it replays, which detector it runs, whether its rate is chosen.

    A chosen rate is one that the user gave: `profile` has it, and the profile of that name in PROFILES does not.
    """
    runs = {"detector_sha256": detector.sha256()} if METHODS[asked["method"]].detector else {}
    rate_pps, usual = asked["rate_pps"], PROFILES.get(profile.name, profile)
    runs |= {"chosen": True} if rate_pps in profile.rates_pps and rate_pps not in usual.live_pps else {}
    return asked | runs | (replay.named() if asked["flows"] == "replay" else {})


def _identity(model: Model, over: TwoMachines | None) -> dict:
    about, code = provenance(), checkout_sha256(folders=CODE)
    made = {"model_sha256": model.sha256(), "data_hash": model.data_hash, "code_sha256": code}
    made |= {name: about[name] for name in ("kernel", "cpu", "cpus")}
    return made | (over.identity if over else {})


def _run_trials(
    sweep: _Sweep,
    receivers: Receivers,
    planned: list[dict],
    methods: list[str],
    wait: Callable[[float], None],
    replay: Replay,
) -> None:
    planned, profile, link = sweep.missing(planned), sweep.profile, receivers.link
    most = len(planned) + most_steps(profile) * profile.repeats * len(methods)
    about = {"link": link.about} if link.about else {}
    for note in (*link.notes, *receivers.notes(methods)):
        say(note)
    about_s = duration_s(most, profile.trial_s)
    say(f"sweep: up to {most} trials of {profile.trial_s:g} s, about {duration(about_s)}")
    with contextlib.closing(Sender(link)) as sender, show_progress(total=most, desc="sweep", unit="trial") as bar:
        measure = partial(run_trial, receivers, sender, wait=wait, replay=replay)
        for asked in sweep.trials(planned, methods):
            bar.set_postfix_str(f"{asked['method']}, {asked['rate_pps'] or asked['generator']}")
            sweep.run(asked, measure, mode=link.mode, **about)
            bar.update()
        bar.total = bar.n  # an edge may be found with fewer trials
    machine_load.say_if_busy(sweep.made)
