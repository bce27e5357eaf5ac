"""Measure per packet, not per flow: accuracy by packet index, and how many packets pass until a flow is flagged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .. import config, records
from ..data import dataset
from ..models import detector, pipeline
from ..models.verdicts import raised
from ..native.layouts import FIRST_PACKETS
from ..progress import show_progress
from .rows import predictions

# The kernel's verdicts equal those of user-space C bit for bit (`parity.compare`), so these rows stand for both.
ROWS = ("nn_pytorch", "nn_q16_c", "nn_fused_c", "dt_c")
DETECTOR = "dt_deep"  # and in the binary task the tree of a detector, which says whether the flow is flagged


def first_packets(everything: dataset.Dataset) -> dataset.Dataset:
    """Return the first 100 packets of each flow.

    Parameters
    ----------
    everything : Dataset
        A vector for every packet.

    Returns
    -------
    Dataset

    Raises
    ------
    UserError
        If packets are missing because the dataset was made with one vector for each flow.
    """
    every = everything.sample("every")
    _, counts = np.unique(every.flow, return_counts=True)
    last = every.sample("last")
    if not np.array_equal(last.index[np.argsort(last.flow)] + 1, counts):
        raise config.UserError("this dataset does not hold every packet of its flows: make it with notebook 01")
    return every


def tally(every: dataset.Dataset, truth: np.ndarray, found: np.ndarray, normal: int) -> dict[str, Any]:
    """Count correct verdicts by packet index, and flows by the packet that raised the first alarm.

    Parameters
    ----------
    every : Dataset
        The first packets of flows (`first_packets`), n in all.
    truth, found : ndarray of shape (n,), int
        Their true classes and the verdicts.
    normal : int
        The class that is no alarm.

    Returns
    -------
    dict
        "packets" and "right": the number of packets with each index, and of those with the right verdict; 100 counts.
        "attack_flows" and "normal_flows": numbers of flows. "attack_first_alarm" and "normal_first_alarm": the number
        of such flows of which the packet with each index is the first with a verdict that is not normal; 100 counts.
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


def _flagged(everything: dataset.Dataset, every: dataset.Dataset, seed: int) -> np.ndarray:
    """Return for each packet of the test part whether a detector that learnt the other flows has flagged its flow."""
    test = dataset.split(every, seed)[2]
    some, others = every.take(test), everything.take(~np.isin(everything.flow, every.flow[test]))
    fitted, _ = detector.train_part("dt", others, seed=seed)
    return raised(fitted.score(some.x) >= fitted.twin.flag_at, some.flow).astype(np.int64)


def evaluate_all(
    everything: dataset.Dataset,
    profile: config.Profile,
    results: Path = config.RESULTS,
    folder: Path = config.MODELS,
) -> list[dict]:
    """Classify each of the first 100 packets of the test flows, and record the counts.

    No model was trained on these flows: the training split whole flows in the same way.

    Parameters
    ----------
    everything : Dataset
        A vector for every packet.
    profile : Profile
        Its seeds name the models.
    results : Path
        Folder of the records, which are appended to per_packet.jsonl.
    folder : Path
        Folder of the models.

    Returns
    -------
    list of dict
        The records, of kind "per_packet".

    Raises
    ------
    UserError
        If packets or a model are missing.
    """
    every, made, path = first_packets(everything), [], results / "per_packet.jsonl"
    for model in show_progress(pipeline.load_all(profile, folder, everything), desc="packet by packet", unit="model"):
        started = records.now()
        some = every.take(dataset.split(every, model.seed)[2])
        truth, found = some.target(model.task), predictions(model, some.x)
        if model.task == "binary":
            found[DETECTOR] = _flagged(everything, every, model.seed)
        for row in (row for row in (*ROWS, DETECTOR) if row in found):
            raw = tally(some, truth, found[row], config.NORMAL if model.task == "multi" else 0)
            asked = {"task": model.task, "row": row, "seed": model.seed, "profile": profile.name} | model.named(every)
            identity = {"model_sha256": model.sha256(), "data_hash": model.data_hash}
            made.append(records.append(path, "per_packet", asked, raw, started=started, identity=identity))
    return made
