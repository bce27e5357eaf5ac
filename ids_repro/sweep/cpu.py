"""CPU time of one CPU between two moments, as Fig. 5 divides it."""

from __future__ import annotations

import psutil


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
