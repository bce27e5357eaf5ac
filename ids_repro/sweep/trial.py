"""One trial of the sweep: send to one method for a while, and say what became of every packet (Sec. V-B)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial

import numpy as np
import psutil

from ..config import UserError
from ..network import facts
from .link import Link
from .methods import METHODS
from .receivers import Receiver, Receivers
from .replay import Replay, compared
from .sender import Sender

WARM_UP_S = 0.05  # the same traffic runs for this long before the measurement, to fill flow table, caches, page pools
LEAST_S = 0.001  # a rate of packets that took less is none
MARGIN_S = 10.0  # a generator that nobody stops ends this long after the trial's time
TRAFFIC = ("generator", "interval_us", "rate_pps", "flows")


def run_trial(
    receivers: Receivers,
    sender: Sender,
    asked: Mapping,
    wait: Callable[[float], None] = time.sleep,
    replay: Replay | None = None,
) -> dict:
    """Send to one method for a while and count every packet. When counters are read, none is under way.

    Parameters
    ----------
    receivers, sender : Receivers, Sender
        What starts the receiver on the server, and the generator on the client.
    asked : mapping
        What to do; see `plan.asked_trial`.
    wait : callable
        Called with `trial_s` while the measured traffic flows; returns when this time is over.
    replay : Replay, optional
        What is sent if the flows are "replay".

    Returns
    -------
    dict
        duration_s, sent_packets, received_packets, dropped_packets (by place), verdicts (packets of each class),
        cpu_percent (see `CpuClock.percent`) of server_cpu, held (how), workers (threads). R_TX is sent_packets /
        duration_s, R_RX is received_packets / duration_s. Of a replay also reasons, and what `compared` adds.

    Raises
    ------
    UserError
        If a generator or a receiver does not run, the link is down, or as `Replay.command` does.
    """
    link, replay = receivers.link, replay if asked["flows"] == "replay" else None
    sender.start()
    link.wait_until_up()
    command = {name: asked[name] for name in TRAFFIC} | {"limit_s": asked["trial_s"] + MARGIN_S}
    command |= replay.command(asked["rate_pps"] * (asked["trial_s"] + MARGIN_S)) if replay else {}
    try:
        with receivers.running(METHODS[asked["method"]], replay) as receiver:
            raw = _measure(link, receiver, sender, command, partial(wait, asked["trial_s"]))
    except UserError:
        link.check()  # if the link is down, that is the reason, and it is raised instead
        raise
    link.check()
    return raw


def _measure(link: Link, receiver: Receiver, sender: Sender, command: Mapping, wait: Callable[[], None]) -> dict:
    with sender.running(**command, anew=True):
        time.sleep(WARM_UP_S)
    before = _counts(link, receiver)
    threads = facts.napi_threads(cpu=link.server_cpu)
    with sender.running(**command) as sent:
        clock = CpuClock(link.server_cpu, threads)
        wait()
        cpu = clock.percent()
    if sent["duration_s"] < LEAST_S:
        few = "so few packets were sent that they have no rate"
        raise UserError(f"{few}: give a higher rate, or longer trials (trial_s of notebook 05)")
    after = _counts(link, receiver)
    packets = _packets(before, after, command["generator"])
    if receiver.offline:
        packets |= compared(packets, receiver.offline(packets["sent_packets"]))
    return {
        "duration_s": sent["duration_s"],
        **packets,
        "cpu_percent": cpu,
        "server_cpu": link.server_cpu,
        "held": link.held,
        "workers": receiver.workers,
    }


def _counts(link: Link, receiver: Receiver) -> dict:
    """Return all counters, once the rings are empty: those of the receiver, and the link's under "link"."""
    time.sleep(link.drain_s)
    own = receiver.counts()
    return own | {"link": link.counters()}


def _packets(before: dict, after: dict, generator: str) -> dict:
    """Return the packets sent, received and dropped, and their verdicts, between two results of `_counts`."""
    n = {name: after["link"][name] - before["link"][name] for name in after["link"]}
    own = {place: after["drops"][place] - before["drops"][place] for place in after["drops"]}
    # If an XDP program sends a frame and the veth's ring is full, both ends count the frame as dropped. If a program
    # redirects a frame to a full AF_XDP socket, both the veth and the socket do. Subtract one of the two counts.
    twice = (n["dropped_link"] if generator == "live_frames" else 0) + own.get("ring", 0)
    drops = {"link": n["dropped_link"], "interface": max(n["dropped_interface"] - twice, 0)} | own
    if "received" not in after:
        return {"sent_packets": n["sent"], "received_packets": n["received_interface"], "dropped_packets": drops}
    received = after["received"] - before["received"]
    packets = {"sent_packets": n["sent"], "received_packets": received, "dropped_packets": drops}
    # Some drivers, virtio_net among them, count what an XDP program drops as dropped too: here, all that it receives.
    if -lost_track(packets) == received:
        drops["interface"] = max(drops["interface"] - received, 0)
    counted = {name: np.subtract(after[name], before[name]) for name in ("verdicts", "reasons") if name in after}
    return packets | {name: numbers.tolist() for name, numbers in counted.items()}


def lost_track(raw: dict) -> int:
    """Return how many packets of a trial are unaccounted for: sent - received - dropped.

    Parameters
    ----------
    raw : dict
        What `run_trial` returns.
    """
    return raw["sent_packets"] - raw["received_packets"] - sum(raw["dropped_packets"].values())


class CpuClock:
    """Says what one CPU did since this object was made. The kernel counts in ticks of 10 ms.

    Parameters
    ----------
    cpu : int
        Number of the CPU.
    threads : collection of int
        Ids of the kernel threads that do softirq work on this CPU (threaded NAPI), which the kernel counts as ``sys``.
    """

    def __init__(self, cpu: int, threads: Collection[int] = ()) -> None:
        self.cpu, self._threads = cpu, threads
        self._start, self._start_threads = psutil.cpu_times(percpu=True)[cpu], self._threads_s()

    def _threads_s(self) -> float:
        spent = 0.0
        for thread in self._threads:
            with contextlib.suppress(psutil.NoSuchProcess):  # its interface is gone, which the link's check says
                spent += sum(psutil.Process(thread).cpu_times()[:2])
        return spent

    def percent(self) -> dict[str, float]:
        """Return the shares of usr, sys, soft, idle and steal in the CPU's time [%], as in Fig. 5.

        ``soft`` is softirq work, in a NAPI thread or not, and hard interrupts; ``sys`` is the kernel's other work;
        ``idle`` includes waiting for disks; ``steal`` is what the hypervisor took.
        """
        now, start = psutil.cpu_times(percpu=True)[self.cpu], self._start
        spent = {name: max(getattr(now, name) - getattr(start, name), 0.0) for name in now._fields}
        napi = min(max(self._threads_s() - self._start_threads, 0.0), spent["system"])
        split = {
            "usr": spent["user"] + spent["nice"],
            "sys": spent["system"] - napi,
            "soft": spent["softirq"] + spent["irq"] + napi,
            "idle": spent["idle"] + spent["iowait"],
            "steal": spent["steal"],
        }
        total = sum(split.values()) or 1.0
        return {name: 100.0 * value / total for name, value in split.items()}
