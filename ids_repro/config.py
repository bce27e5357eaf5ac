"""Paths, names of classes, limits of numbers, profiles. Other modules read them here: each stands in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any

from . import trial_length

ROOT = Path(__file__).resolve().parents[1]
BPF = ROOT / "bpf"
NOTEBOOKS = ROOT / "notebooks"
FIGURES = ROOT / "figures"
DATA = ROOT / "data"
# Two recordings of the lab with other seeds, and the labels of the first.
SAMPLE, SECOND_SAMPLE = DATA / "sample" / "lab.pcap.gz", DATA / "sample" / "lab2.pcap.gz"
SAMPLE_LABELS = DATA / "sample" / "lab.csv"
LABELS = DATA / "labels"
CIC_IDS2017 = DATA / "raw" / "cic-ids2017"
INTERIM = DATA / "interim"
MODELS = DATA / "models"
RESULTS = DATA / "results"
BUILD = ROOT / "build"

# How long the lab is recorded [s], and how many bytes of each packet: the longest headers are 94 bytes (Ethernet 14,
# IPv4 without options 20, TCP with options at most 60).
LAB_SECONDS, LAB_SNAPLEN = 370.0, 96

# The paper's names in the paper's order (Table III); a class's number is its index.
CLASSES = ("Botnet", "Brute force", "DoS", "Infiltration", "Normal", "Portscan", "Web attack")
NORMAL = CLASSES.index("Normal")
FALSE_ALARMS = 0.01  # the budget of a detector: largest share of normal flows that may be flagged
# Sec. IV-C: m* = 0 is normal, m* = 1 is abnormal.
BINARY = ("Normal", "Attack")
TASKS = {"binary": BINARY, "multi": CLASSES}


class UserError(Exception):
    """An error that only the user can correct; its text says what is wrong and what to do next."""

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows of this error, in a notebook too: the text instead of a traceback."""
        return [str(self)]


class DamagedWarning(UserWarning):
    """A capture is cut off or damaged; its text says where. What stands before that place was read."""


@dataclass(frozen=True)
class Limits:
    """The numbers that an option of the command line or a parameter of a notebook may have.

    Parameters
    ----------
    least, most : float
        The smallest and the largest of them.
    kind : str
        In words: "a number", "a whole number", "a power of two". Only "a number" need not be whole.
    unit : str
        In which they are counted.
    open : bool
        Whether `least` itself is too small.
    """

    least: float
    most: float
    kind: str = "a number"
    unit: str = ""
    open: bool = False

    def __str__(self) -> str:
        ends = f"above {self.least:,} and up to" if self.open else f"from {self.least:,} to"
        return f"{self.kind} {ends} {self.most:,} {self.unit}".rstrip()

    def read(self, value: Any) -> int | float:
        """Return a text or a number as a number; raise ValueError if it is none or out of range."""
        if not isinstance(value, str | Real) or isinstance(value, bool):
            raise ValueError
        number = float(value) if self.kind == "a number" or not isinstance(value, str) else int(value)
        if not math.isfinite(number) or not self.least <= number <= self.most or (self.open and number == self.least):
            raise ValueError
        if self.kind == "a number":
            return number
        if number != int(number) or (self.kind == "a power of two" and int(number) & (int(number) - 1)):
            raise ValueError
        return int(number)


# By the name of the parameter, or of the option without dashes.
LIMITS = {
    "trial_s": Limits(0.1, 86_400, unit="s"),
    "seconds": Limits(1, 86_400, unit="s"),
    "confirm": Limits(0, 3600, unit="s"),
    "rates": Limits(1, 100_000_000, "a whole number", "packets/s, or a multiple such as 4x"),
    "multiple": Limits(0, 1_000_000, unit="times a capture's own rate", open=True),
    "dedup_ms": Limits(0, 60_000, unit="ms"),
    "reorder_ms": Limits(0, 60_000, unit="ms"),
    "width_in": Limits(2, 20, unit="inches"),
    "false_alarms": Limits(0, 0.5, unit="(a share of normal flows)", open=True),
    "input_alpha": Limits(0, 1000, open=True),
    "snaplen": Limits(94, 262_144, "a whole number", "bytes"),
    "flows": Limits(1 << 10, 1 << 22, "a power of two", "flows"),
    "hidden": Limits(8, 64, "a whole number", "neurons a layer"),
    "tree_depth": Limits(1, 16, "a whole number"),
    "count": Limits(1, 10**12, "a whole number"),
    "n": Limits(1, 10_000_000, "a whole number"),
    "parity_vectors": Limits(1, 10_000_000, "a whole number"),
    "rounds": Limits(1, 100_000, "a whole number"),
    "seeds": Limits(1, 1000, "a whole number"),
    "seed": Limits(0, 2**32 - 1, "a whole number"),
}


def number(name: str, value: Any) -> int | float:
    """Return a value that the user gave as a number.

    Parameters
    ----------
    name : str
        As the user knows it, such as "--width-in" of a command or "width_in" of a notebook.
    value : str or number
        What the user gave.

    Raises
    ------
    UserError
        If it is no number, or not within its LIMITS.
    """
    limits = LIMITS[name.lstrip("-").replace("-", "_")]
    try:
        return limits.read(value)
    except (ValueError, OverflowError):
        text = str(value) if str(value).strip() and str(value).isprintable() else repr(value)
        raise UserError(f"{name} is {text:.40}: use {limits}") from None


@dataclass(frozen=True)
class Profile:
    """Settings that say how much one run does.

    Parameters
    ----------
    name : str
        The name that a user gives as ``PROFILE=`` or ``-p profile``.
    seeds : tuple of int
        Seeds of the split and of the training. A float net and a tree are trained for each. From five on, means have
        confidence intervals.
    epochs, min_steps, batch_size : int
        Settings of the net's training. On small data the number of epochs rises until there are ``min_steps`` updates.
    intervals_us : tuple of int
        Sending intervals I_s of hping3 [us]; 0 is ``--flood`` (Sec. V-B1).
    trial_s : float
        Duration of the traffic in one trial of the sweep [s].
    repeats : int
        Trials for each method and each interval or rate.
    timing_rounds : int
        Interleaved rounds of the inference-time measurement.
    rates_pps : tuple of int
        Rates that the live-frames generator is asked for [pps]; the last is more than a link carries.
    churn_pps : tuple of int
        Rates at which live frames are also sent with a new flow per packet [pps].
    replay_pps : tuple of int
        Rates at which live frames also replay a capture [pps].
    resolution : float
        How near the two rates around the edge of loss are at the end of a search for the highest rate without loss: as
        a share of the lower one. 0: no search. There are as many searches as `repeats`; see `sweep.plan.next_rate`.
    methods : str
        What the sweep compares: "all", "every" or names with commas between them; see `sweep.methods.choose_methods`.
    flood_s : float
        Duration of the flood of new flows under which the flow table is measured [s].
    flooded_s : float
        Duration of the flood in the middle of a capture, under which verdicts are measured [s].
    detector_epochs : int
        Epochs of the training of a detector's net.
    detector_seeds : tuple of int
        Seeds of the tests of detectors. They learn every packet, which takes half a minute a seed.
    live_s : float
        How long the lab's traffic runs against a detector, once counting and once filtering [s].
    """

    name: str
    seeds: tuple[int, ...]
    epochs: int
    min_steps: int
    batch_size: int
    intervals_us: tuple[int, ...]
    trial_s: float
    repeats: int
    timing_rounds: int
    rates_pps: tuple[int, ...] = ()
    churn_pps: tuple[int, ...] = ()
    replay_pps: tuple[int, ...] = ()
    resolution: float = 0.0
    methods: str = "all"
    flood_s: float = 0.05
    flooded_s: float = 0.05
    detector_epochs: int = 1
    detector_seeds: tuple[int, ...] = (0,)
    live_s: float = 8.0

    @property
    def live_pps(self) -> tuple[int, ...]:
        """All rates that the live-frames generator is asked for, searches left out [pps]."""
        return (*self.rates_pps, *self.churn_pps, *self.replay_pps)


PROFILES = {
    # Small enough for a first look. It runs the same code and writes the same files.
    "smoke": Profile(
        name="smoke",
        seeds=tuple(range(5)),
        epochs=10,
        min_steps=15_000,
        batch_size=64,
        intervals_us=(10, 0),
        trial_s=0.2,
        repeats=2,
        timing_rounds=7,
        rates_pps=(200_000, 450_000, 800_000, 1_600_000, 10_000_000),
        churn_pps=(450_000,),
        replay_pps=(50_000, 450_000),
        resolution=0.5,
        flood_s=1.0,
        flooded_s=2.0,
        detector_epochs=40,
        live_s=8.0,
    ),
    # All that goes into the figures of a paper, in an evening: at most 100 minutes on two CPUs. A trial knows a loss of
    # 1 % within 0.2 points at the paper's rate of the net, 300,000 packets/s.
    "evening": Profile(
        name="evening",
        seeds=tuple(range(5)),
        epochs=10,
        min_steps=100_000,
        batch_size=64,
        intervals_us=(10, 4, 1, 0),
        trial_s=trial_length.seconds(300_000),
        repeats=5,
        timing_rounds=24,
        rates_pps=(50_000, 100_000, 200_000, 300_000, 450_000, 800_000, 1_600_000, 3_200_000, 10_000_000),
        churn_pps=(450_000, 900_000),
        replay_pps=(50_000, 450_000, 900_000),
        resolution=0.05,
        methods="every",
        flood_s=10.0,
        flooded_s=30.0,
        detector_epochs=40,
        detector_seeds=tuple(range(5)),
        live_s=60.0,
    ),
    # Sec. V-B1: 100 s a point, I_s from 0 to 10 us. Ten epochs on the paper's 1,234,772 flows are 193,000 updates.
    "paper": Profile(
        name="paper",
        seeds=tuple(range(10)),
        epochs=10,
        min_steps=193_000,
        batch_size=64,
        intervals_us=(10, 8, 6, 5, 4, 3, 2, 1, 0),
        trial_s=100.0,
        repeats=3,
        timing_rounds=100,
        rates_pps=(10_000, 100_000, 200_000, 300_000, 450_000, 800_000, 1_600_000, 3_200_000, 10_000_000),
        churn_pps=(200_000, 450_000, 900_000),
        replay_pps=(10_000, 200_000, 450_000, 900_000, 3_200_000),
        resolution=0.05,
        flood_s=10.0,
        flooded_s=360.0,
        detector_epochs=40,
        detector_seeds=tuple(range(10)),
        live_s=60.0,
    ),
}


def profile(name: str, **changes: Any) -> Profile:
    """Return the profile of that name.

    Parameters
    ----------
    name : str
        A name in `PROFILES`: "smoke", "evening" or "paper".
    **changes
        New values of fields; None keeps the profile's own value.

    Raises
    ------
    UserError
        If there is no such profile, or `trial_s` is no number within its LIMITS.
    """
    if name not in PROFILES:
        raise UserError(f"there is no profile {name!r}: use one of {', '.join(PROFILES)}")
    given = {field: value for field, value in changes.items() if value is not None}
    if "trial_s" in given:
        given["trial_s"] = number("trial_s", given["trial_s"])
    return replace(PROFILES[name], **given)
