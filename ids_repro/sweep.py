"""Methods x sending intervals x repeats -> records of R_TX, R_RX and the server's CPU (Sec. V-B, Figs. 4 and 5)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from . import native, records, traffic
from .config import RESULTS, Profile, UserError
from .cpu import CpuClock
from .kernel import Program, Variant
from .link import Link, link
from .pipeline import Model
from .two_machines import TwoMachines, two_machines

SWEEP = RESULTS / "sweep.jsonl"
ATTEMPTS = 3  # of a trial whose packets do not add up


@dataclass(frozen=True)
class Method:
    """One line of Fig. 4.

    Parameters
    ----------
    mode : {"none", "xdp_drv", "xdp_skb", "tc", "rawsock"}
        Where packets are taken.
    classifier : {"none", "nn", "dt"}
    all_cpus : bool
        Of a raw socket: one classifying thread for each CPU of the machine, instead of one CPU for everything.
    """

    mode: str
    classifier: str = "none"
    all_cpus: bool = False

    @property
    def hook(self) -> str:
        """Kind of kernel program."""
        return "tc" if self.mode == "tc" else "xdp"


METHODS = {
    "no_filter": Method("none"),
    "xdp_drv_flow": Method("xdp_drv"),
    "xdp_drv_nn": Method("xdp_drv", "nn"),
    "xdp_drv_dt": Method("xdp_drv", "dt"),
    "tc_nn": Method("tc", "nn"),
    "xdp_skb_nn": Method("xdp_skb", "nn"),
    "rawsock1_nn": Method("rawsock", "nn"),
    "rawsockN_nn": Method("rawsock", "nn", all_cpus=True),
}


class _Receivers:
    """Starts each method's receiver; kernel programs are built once and kept."""

    def __init__(self, model: Model, stack: contextlib.ExitStack) -> None:
        self.model, self.stack = model, stack
        self.programs: dict[tuple[str, str], Program] = {}

    def program(self, method: Method) -> Program:
        """The loaded program of a method, whose action is to count and then drop every packet."""
        kind = (method.hook, method.classifier)
        if kind not in self.programs:
            params = None if method.classifier == "none" else self.model.params(method.classifier)
            variant = Variant(method.hook, method.classifier, self.model.n_classes, action="sink")
            self.programs[kind] = self.stack.enter_context(Program(variant, params))
        return self.programs[kind]

    @contextlib.contextmanager
    def running(self, method: Method, on: Link) -> Iterator[dict]:
        """Run a method's receiver; the yielded dict holds its counts after the block."""
        out: dict = {"drops": {}, "workers": 1}
        if method.mode == "none":
            yield out
        elif method.mode == "rawsock":
            with self._rawsock(method, on, out):
                yield out
        else:
            program = self.program(method)
            program.reset()
            with program.attached(on.server, method.mode):
                on.hold_server()
                yield out
                counts = program.counts()
            out |= {"received": int(counts["packets"]), "verdicts": counts["verdict"][: self.model.n_classes].tolist()}

    @contextlib.contextmanager
    def _rawsock(self, method: Method, on: Link, out: dict) -> Iterator[None]:
        cpus = sorted(os.sched_getaffinity(0)) if method.all_cpus else [on.server_cpu]
        workers = len(cpus)
        with tempfile.NamedTemporaryFile() as params:
            Path(params.name).write_bytes(self.model.params("nn"))
            argv = [native.build("rawsock.c", "rawsock", ("-pthread",)), on.server.iface, workers, self.model.n_classes]
            process = on.server.popen(
                [*argv, params.name],
                cpu=",".join(map(str, cpus)),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            try:
                if process.stdout.readline() != "ready\n":
                    raise UserError(f"the raw socket receiver did not start: {process.stderr.read().strip()}")
                yield
            finally:
                process.send_signal(signal.SIGTERM)
                text, errors = process.communicate(timeout=30)
        if process.returncode:
            raise UserError(f"rawsock ended with code {process.returncode}: {errors.strip() or 'no message'}")
        found = json.loads(text)
        drops = {"socket": found["socket_drops"], "queue": found["queue_drops"], "unparsed": found["unparsed"]}
        out |= {"received": found["classified"], "verdicts": found["verdicts"], "drops": drops, "workers": workers}


def trial(on: Link, receivers: _Receivers, method: Method, interval_us: int, trial_s: float) -> dict:
    """Send to one method for a while and count every packet.

    Returns
    -------
    dict
        duration_s, sent_packets, received_packets, dropped_packets by place, cpu_percent of the server's CPU,
        verdicts, workers. R_TX = sent/duration, R_RX = received/duration.

    Raises
    ------
    UserError
        If hping3 or a receiver does not run.
    """
    before = on.counters()
    with receivers.running(method, on) as receiver:
        with traffic.hping3(on, interval_us, limit_s=trial_s + 10) as sender:
            _wait_for_first(on, before["sent"], sender)
            clock, started = CpuClock(on.server_cpu), time.monotonic()
            time.sleep(trial_s)
            cpu, duration_s = clock.percent(), time.monotonic() - started
            if sender.poll() is not None:
                raise UserError(f"hping3 ended before its trial did: {sender.stderr.read().strip() or 'no message'}")
        time.sleep(on.drain_s)  # what is in the ring still belongs to the trial
        after = on.counters()
    n = {name: after[name] - before[name] for name in after}
    drops = {"link": n["dropped_link"], "interface": n["dropped_interface"], **receiver.pop("drops")}
    return {
        "duration_s": duration_s,
        "sent_packets": n["sent"],
        "received_packets": receiver.pop("received", n["received_interface"]),
        "dropped_packets": drops,
        "cpu_percent": cpu,
        "server_cpu": on.server_cpu,
        "held": on.held,
        **receiver,
    }


def _wait_for_first(on: Link, sent: int, sender: subprocess.Popen, patience_s: float = 5.0) -> None:
    end = time.monotonic() + patience_s
    while on.counters()["sent"] == sent:
        if sender.poll() is not None:
            raise UserError(f"hping3 ended at once: {sender.stderr.read().strip() or 'no message'}")
        if time.monotonic() > end:
            raise UserError(f"hping3 sent nothing for {patience_s:.0f} s")
        time.sleep(0.002)


def lost_track(raw: dict) -> int:
    """How many packets are unaccounted for: sent - received - dropped."""
    return raw["sent_packets"] - raw["received_packets"] - sum(raw["dropped_packets"].values())


def _recorded(on: Link, receivers: _Receivers, asked: dict, identity: dict) -> dict:
    """Run one trial until its packets add up, recording every attempt."""
    where = {"identity": identity, "mode": on.mode, **({"link": on.about} if on.about else {})}
    for _ in range(ATTEMPTS):
        started = time.time()
        try:
            on.wait_until_up()
            raw = trial(on, receivers, METHODS[asked["method"]], asked["interval_us"], asked["trial_s"])
            on.check()
        except UserError as error:
            reason = on.why(error)
            return records.append(SWEEP, "sweep", asked, {}, "failed", reason, started=started, **where)
        missing = lost_track(raw)
        status, reason = ("bad", f"{missing} packets unaccounted for") if missing else ("ok", "")
        record = records.append(SWEEP, "sweep", asked, raw, status, reason, started=started, **where)
        if not missing:
            break
    return record


def plan(profile: Profile, methods: str | Sequence[str] = "all") -> list[dict]:
    """List the trials of a sweep: methods interleave within each interval, so that drift hits all alike.

    Parameters
    ----------
    methods : str or sequence of str
        Names in METHODS; as one string, with commas between them; "all" for all.

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
    common = {"generator": "hping3", "trial_s": profile.trial_s, "profile": profile.name}
    return [
        {"method": method, "interval_us": interval_us, "repeat": repeat, **common}
        for repeat in range(profile.repeats)
        for interval_us in profile.intervals_us
        for method in methods
    ]


def run(
    model: Model, profile: Profile, methods: str | Sequence[str] = "all", over: TwoMachines | None = None
) -> list[dict]:
    """Run every trial of the plan that has no good record yet, one record each, with a progress bar.

    Parameters
    ----------
    model : Model
        Whose integer pair is put into the kernel; the paper sweeps the binary one.
    methods : str or sequence of str
        See `plan`.
    over : TwoMachines, optional
        The link between two machines; without, two network namespaces on this one.

    Returns
    -------
    list of dict
        The records of this call.
    """
    identity = {"model_sha256": model.sha256(), "data_hash": model.data_sha256, "cpus": os.cpu_count()}
    identity |= over.identity if over else {}
    finished = records.done(SWEEP, "sweep")
    todo = [asked for asked in plan(profile, methods) if records.key(asked, identity) not in finished]
    if not todo:
        return []
    with two_machines(over) if over else link() as on, contextlib.ExitStack() as stack:
        for note in on.notes:
            tqdm.write(note)
        receivers, out = _Receivers(model, stack), []
        for asked in (bar := tqdm(todo, desc="sweep", unit="trial")):
            bar.set_postfix(method=asked["method"], interval_us=asked["interval_us"])
            out.append(_recorded(on, receivers, asked, identity))
    return out
