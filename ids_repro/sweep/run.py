"""Methods x sending rates x repeats -> records of R_TX, R_RX and the server's CPU (Sec. V-B, Figs. 4 and 5)."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest

from tqdm.auto import tqdm

from .. import records
from ..config import RESULTS, Profile, UserError
from ..models.model import Model
from .link_netns import two_namespaces
from .link_ssh import TwoMachines, two_machines
from .methods import choose_methods
from .plan import asked_trial, duration_text, live_frames_flows, next_rate, plan_trials
from .receivers import Receivers
from .sender import Generator
from .trial import lost_track, run_trial

SWEEP = RESULTS / "sweep.jsonl"
ATTEMPTS = 3  # of a trial whose packets do not add up
EDGE_REPEATS = 2  # of a rate at the edge: the profile's are for its own rates, which draw the curves


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

    def run(self, asked: dict, measure: Callable[[dict], dict], **provenance: object) -> None:
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
        for _ in range(self.profile.refine * EDGE_REPEATS):
            mine = [r for r in self._done.values() if self._belongs(r, method)]
            own = {r["asked"]["rate_pps"] for r in mine} - set(self.profile.rates_pps)
            begun = self.missing(self._edge(method, rate, i) for rate in own for i in range(EDGE_REPEATS))
            rate_pps = next_rate(mine)
            if not begun and (len(own) >= self.profile.refine or rate_pps is None):
                return
            yield begun[0] if begun else self._edge(method, rate_pps, 0)

    def _edge(self, method: str, rate_pps: int, repeat: int) -> dict:
        return asked_trial(self.profile, method, "live_frames", None, rate_pps, live_frames_flows(self.flows), repeat)

    def _belongs(self, record: dict, method: str) -> bool:
        asked = record["asked"]
        like = self._edge(method, asked["rate_pps"], asked["repeat"])
        return asked == like and record["provenance"].get("identity") == self.identity


def run_sweep(
    model: Model,
    profile: Profile,
    methods: str | Sequence[str] = "all",
    flows: str = "both",
    over: TwoMachines | None = None,
) -> list[dict]:
    """Run every trial that has no good record yet, one record each, with a progress bar.

    First those of the `plan`, then, for each method, a few that narrow down its highest rate without loss.

    Parameters
    ----------
    model : Model
        Whose integer models classify; the paper sweeps the binary one.
    methods, flows
        See `plan`.
    over : TwoMachines, optional
        The link between two machines; without, two network namespaces on this one.

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
    identity |= over.identity if over else {}
    done = _Sweep(profile, flows, identity)
    todo, chosen = done.missing(plan_trials(profile, methods, flows)), choose_methods(methods)
    if not todo and not any(next(done.refinements(method), None) for method in chosen):
        return []
    most = len(todo) + profile.refine * EDGE_REPEATS * len(chosen)
    with two_machines(over) if over else two_namespaces() as on, contextlib.ExitStack() as stack:
        for note in on.notes:
            print(note)
        receivers, generator = Receivers(model, on, stack), Generator(on)
        stack.callback(generator.close)
        print(f"sweep: up to {most} trials of {profile.trial_s:g} s, about {duration_text(most, profile.trial_s)}")
        bar = stack.enter_context(tqdm(total=most, desc="sweep", unit="trial"))

        about = {"link": on.about} if on.about else {}

        def one(asked: dict) -> None:
            bar.set_postfix_str(f"{asked['method']}, {asked['rate_pps'] or asked['generator']}")
            done.run(asked, lambda asked: run_trial(on, receivers, generator, asked), mode=on.mode, **about)
            bar.update()

        for asked in todo:
            one(asked)
        edges = [done.refinements(method) for method in chosen]
        for step in zip_longest(*edges):  # methods interleave here too
            for asked in filter(None, step):
                one(asked)
        bar.total = bar.n  # an edge that was found early
    return done.made
