"""Per packet, not per flow: accuracy by packet index, and how many packets until an attack is first flagged."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from .. import config, records
from ..data import dataset
from ..models import pipeline
from ..native.layouts import FIRST_PACKETS
from .rows import predictions

PER_PACKET = config.RESULTS / "per_packet.jsonl"
# The kernel's verdicts equal those of user-space C bit for bit (`parity.compare`), so these rows stand for both.
ROWS = ("nn_pytorch", "nn_q16_c", "nn_fused_c", "dt_c")


def first_packets(everything: dataset.Dataset) -> dataset.Dataset:
    """Return each flow's first 100 packets.

    Raises
    ------
    UserError
        If packets are missing: the dataset was made with one vector a flow.
    """
    every = everything.sample("every")
    _, counts = np.unique(every.flow, return_counts=True)
    last = every.sample("last")
    if not np.array_equal(last.index[np.argsort(last.flow)] + 1, counts):
        raise config.UserError("this dataset does not hold every packet of its flows: make it with notebook 01")
    return every


def tally(every: dataset.Dataset, truth: np.ndarray, found: np.ndarray, normal: int) -> dict[str, Any]:
    """Count right verdicts by packet index, and flows by the packet that first made an alarm.

    Parameters
    ----------
    every : Dataset
        First packets of flows (`first_packets`).
    truth, found : ndarray of shape (n,), int
        Their classes.
    normal : int
        The class that is no alarm.

    Returns
    -------
    dict
        "packets", "right": lists of 100 counts. For "attack" and "normal" flows: "..._flows", and "..._first_alarm",
        100 counts of flows whose first packet judged not normal has that index.
    """
    out = {"packets": every.index, "right": every.index[found == truth]}
    out = {name: np.bincount(values, minlength=FIRST_PACKETS).tolist() for name, values in out.items()}
    alarm_at = np.where(found != normal, every.index, FIRST_PACKETS)
    for kind, chosen in (("attack", truth != normal), ("normal", truth == normal)):
        flows, at = np.unique(every.flow[chosen], return_inverse=True)
        first = np.full(len(flows), FIRST_PACKETS)
        np.minimum.at(first, at, alarm_at[chosen])
        counts = np.bincount(first, minlength=FIRST_PACKETS + 1)[:FIRST_PACKETS]
        out |= {f"{kind}_flows": len(flows), f"{kind}_first_alarm": counts.tolist()}
    return out


def evaluate_all(everything: dataset.Dataset, profile: config.Profile) -> list[dict]:
    """Classify each of the first 100 packets of the test flows, record the counts and return the records.

    No flow here was trained on: the split by whole flows is that of the training.
    """
    every, made = first_packets(everything), []
    for model in tqdm(pipeline.load_all(profile), desc="packet by packet", unit="model"):
        started = time.time()
        some = every.take(dataset.split(every, model.seed)[2])
        truth, found = some.target(model.task), predictions(model, some.x)
        for row in ROWS:
            raw = tally(some, truth, found[row], config.NORMAL if model.task == "multi" else 0)
            asked = {"task": model.task, "row": row, "seed": model.seed, "dataset": every.meta["name"]}
            asked |= {"profile": profile.name}
            identity = {"model_sha256": model.sha256(), "data_hash": model.data_sha256}
            made.append(records.append(PER_PACKET, "per_packet", asked, raw, started=started, identity=identity))
    return made
