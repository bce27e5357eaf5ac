"""One trial of the sweep: traffic to one method for a while, and what became of every packet (Sec. V-B)."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import psutil

from ..config import UserError
from .link import Link
from .methods import METHODS
from .receivers import Receiver, Receivers
from .sender import Generator

WARM_UP_S = 0.05  # of the same traffic before what is measured: flow table, caches, page pools
MARGIN_S = 10.0  # after which a generator that nobody stopped stops by itself
TRAFFIC = ("generator", "interval_us", "rate_pps", "flows")


def run_trial(on: Link, receivers: Receivers, generator: Generator, asked: Mapping) -> dict:
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
    on.wait_until_up()
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


class CpuClock:
    """Split one CPU's time since this object was made.

    Parameters
    ----------
    cpu : int
        Number of the CPU. The kernel counts in ticks of 10 ms.
    """

    def __init__(self, cpu: int) -> None:
        self.cpu = cpu
        self._start = psutil.cpu_times(percpu=True)[cpu]

    def percent(self) -> dict[str, float]:
        """Return the shares of usr, sys, soft, idle and steal [%].

        ``soft`` holds hard interrupts too, ``idle`` waiting for disks; threaded NAPI runs as a kernel thread and so
        counts as ``sys``; ``steal`` is what the hypervisor took.
        """
        now, start = psutil.cpu_times(percpu=True)[self.cpu], self._start
        spent = {name: max(getattr(now, name) - getattr(start, name), 0.0) for name in now._fields}
        split = {
            "usr": spent["user"] + spent["nice"],
            "sys": spent["system"],
            "soft": spent["softirq"] + spent["irq"],
            "idle": spent["idle"] + spent["iowait"],
            "steal": spent["steal"],
        }
        total = sum(split.values()) or 1.0
        return {name: 100.0 * value / total for name, value in split.items()}
