"""How long a trial of the sweep has to be, so that it can say whether 1 % of its packets were lost.

Two things blur a loss share:

- **Chance.** If n packets are lost independently with probability p, the standard error of the share that was lost is
  sqrt(p (1 - p) / n). But a ring that is full loses packets in bursts. If b packets in a row share their fate, n / b
  draws are independent, and the error is sqrt(b p (1 - p) / n).
- **Pauses.** A timer or the hypervisor takes the server's CPU away for a while, and what arrives meanwhile is lost. One
  pause costs a trial the share (pause / duration), at any rate.

A trial is long enough if neither moves the share by more than PRECISION.
"""

from __future__ import annotations

import math

TOLERANCE = 0.01  # the share of its packets that a trial may lose and still count as without loss
PRECISION = 0.002  # how exactly a trial must know a loss of TOLERANCE: within a fifth of it
Z = 1.96  # standard errors on either side that 95 % of the trials stay within
BURST = 64  # packets lost in a row: NAPI takes 64 at a time, and the generator of live frames flushes at most 64
PAUSE_S = 0.004  # how long a CPU is away: one timer tick of a kernel with CONFIG_HZ=250


def error(packets: float, share: float = TOLERANCE, burst: int = BURST) -> float:
    """Return how exactly a trial of so many packets knows its loss share: z sqrt(b p (1 - p) / n).

    Parameters
    ----------
    packets : float
        n, the number of packets sent.
    share : float
        p, the loss share.
    burst : int
        b, how many packets in a row share their fate.

    Returns
    -------
    float
        Half the width of the 95 % interval, as a share.
    """
    return Z * math.sqrt(burst * share * (1 - share) / packets)


def packets(share: float = TOLERANCE, precision: float = PRECISION, burst: int = BURST) -> int:
    """Return how many packets a trial needs for this `error`: n = b p (1 - p) (z / precision)^2.

    608,510 packets know a loss of 1 % within 0.2 points. If single packets were lost, 9,508 would do.
    """
    return math.ceil(burst * share * (1 - share) * (Z / precision) ** 2)


def seconds(rate_pps: float) -> float:
    """Return how long a trial has to be at this rate, rounded up to 0.1 s.

    It is the longer one of two: the time of `packets`, and the time of which one pause is no more than PRECISION.

    Parameters
    ----------
    rate_pps : float
        The slowest rate at which a loss of TOLERANCE has to be known within PRECISION [packets/s]. At a rate k times
        as slow the `error` is sqrt(k) times as large.
    """
    return math.ceil(10 * max(packets() / rate_pps, PAUSE_S / PRECISION)) / 10
