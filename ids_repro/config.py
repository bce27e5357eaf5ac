"""Paths, class names and profiles: what every other module may ask for and none may repeat."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BPF = ROOT / "bpf"
NOTEBOOKS = ROOT / "notebooks"
FIGURES = ROOT / "figures"
DATA = ROOT / "data"
SAMPLE = DATA / "sample" / "lab.pcap"
LABELS = DATA / "labels"
CIC_IDS2017 = DATA / "raw" / "cic-ids2017"
INTERIM = DATA / "interim"
MODELS = DATA / "models"
RESULTS = DATA / "results"
BUILD = ROOT / "build"

# The paper's names in the paper's order (Table III); the index is the class id.
CLASSES = ("Botnet", "Brute force", "DoS", "Infiltration", "Normal", "Portscan", "Web attack")
NORMAL = CLASSES.index("Normal")
# Sec. IV-C: m* = 0 is normal, m* = 1 is abnormal.
BINARY = ("Normal", "Attack")
TASKS = {"binary": BINARY, "multi": CLASSES}
# What CIC-IDS2017's three labellings call the classes: its CSV files, the windows behind the paper's data (CN-TU), and
# Liu et al. 2022. The class is the one that the paper's training script gives CN-TU's name.
# Differs: Liu et al. keep "... - Attempted" (traffic of the attacker that carries no attack) apart; here it is Normal.
ATTACKS = {
    "Botnet": ("Bot", "Botnet:ARES", "Botnet"),
    "Brute force": ("FTP-Patator", "SSH-Patator", "Brute Force:FTP-Patator", "Brute Force:SSH-Patator"),
    "DoS": (
        *("DoS Hulk", "DoS GoldenEye", "DoS slowloris", "DoS Slowhttptest", "Heartbleed", "DDoS", "DDoS:LOIT"),
        *(f"DoS / DDoS:{name}" for name in ("DoS Hulk", "DoS GoldenEye", "DoS slowloris", "DoS Slowhttptest")),
        "DoS / DDoS:Heartbleed",
    ),
    "Infiltration": (
        *("Infiltration", "Infiltration - Portscan", "Infiltration:Dropbox download", "Infiltration:Cool disk"),
        "Infiltration:Dropbox download - (Portscan + Nmap) from victim",
    ),
    "Normal": ("BENIGN", "Normal"),
    "Portscan": ("PortScan", "PortScan:PortScan - Firewall on", "PortScan:PortScan - Firewall off"),
    "Web attack": (
        *("Web Attack - Brute Force", "Web Attack - XSS", "Web Attack - SQL Injection"),
        *("Web Attack:Brute Force", "Web Attack:XSS", "Web Attack:Sql Injection"),
    ),
}


class UserError(Exception):
    """Something only the user can mend; its text says what was wrong and what to do next."""


@dataclass(frozen=True)
class Profile:
    """How much of everything one run does.

    Parameters
    ----------
    name : str
        The name given as ``PROFILE=`` or ``-p profile``.
    seeds : tuple of int
        Seeds of the split and of the training, one trained pair of models for each.
    epochs, min_steps, batch_size : int
        Of the MLP's training: passes over the data, but as many more as make ``min_steps`` updates on small data.
    intervals_us : tuple of int
        hping3 sending intervals I_s in microseconds; 0 is ``--flood`` (Sec. V-B1).
    trial_s : float
        Seconds of traffic in one trial of the sweep.
    repeats : int
        Trials for each method and interval or rate.
    timing_rounds : int
        Interleaved rounds of the inference-time measurement.
    rates_pps : tuple of int
        What the live-frames generator is asked for; the last is more than a link takes.
    churn_pps : tuple of int
        And with a new source port for every packet.
    refine : int
        How many more rates narrow down each method's highest rate without loss, between two of those rates.
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
    refine: int = 0


PROFILES = {
    # Small enough for a first look; same code, same files.
    "smoke": Profile(
        name="smoke",
        seeds=(0, 1),
        epochs=10,
        min_steps=15_000,
        batch_size=64,
        intervals_us=(10, 0),
        trial_s=0.3,
        repeats=3,
        timing_rounds=30,
        rates_pps=(200_000, 450_000, 800_000, 1_600_000, 3_200_000, 10_000_000),
        churn_pps=(450_000, 900_000),
        refine=3,
    ),
    # Sec. V-B1: 100 s a point, I_s from 0 to 10 us. As many updates as ten epochs are on the paper's 1,234,772 flows.
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
        refine=5,
    ),
}


def profile(name: str, **changes: Any) -> Profile:
    """Return the profile of that name.

    Parameters
    ----------
    name : str
        "smoke" or "paper".
    **changes
        Fields to set otherwise; None leaves the profile's own value.

    Raises
    ------
    UserError
        If there is no such profile.
    """
    if name not in PROFILES:
        raise UserError(f"there is no profile {name!r}: use one of {', '.join(PROFILES)}")
    return replace(PROFILES[name], **{field: value for field, value in changes.items() if value is not None})
