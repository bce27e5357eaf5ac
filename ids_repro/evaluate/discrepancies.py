"""As released: each departure of the public code from the paper's text, a switch, and what it does to accuracy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from tqdm.auto import tqdm

from .. import config, published, records
from ..data import dataset
from ..data.dataset import Dataset
from ..models import pipeline
from ..models.model import Model
from ..models.scaling import MinMax
from . import accuracy, packet_by_packet, released_code
from .released_code import Setup

DISCREPANCY = config.RESULTS / "discrepancy.jsonl"


@dataclass(frozen=True)
class Switch:
    """What one discrepancy of the released code changes; `published.discrepancies` says it in words.

    Parameters
    ----------
    data : callable, optional
        Turns (learn, seen), every packet, into what they are with the departure; see `departures.Setup`.
    setup : callable, optional
        Turns a `departures.Setup` into one with the departure.
    """

    data: Callable[[Dataset, Dataset], tuple[Dataset, Dataset]] | None = None
    setup: Callable[[Setup], Setup] | None = None


# By the names in published.json, in the order in which they act: on data, on net and normaliser, on the arithmetic.
SWITCHES = {
    "direction": Switch(data=lambda learn, seen: (learn, released_code.one_way(seen))),
    "time": Switch(data=released_code.in_ms_and_ns),
    "features": Switch(
        data=lambda learn, seen: (released_code.as_released(learn), released_code.as_released(seen)),
    ),
    "maximum": Switch(setup=released_code.maximum),
    "refit": Switch(setup=released_code.refit),
    "scale": Switch(setup=released_code.truncate),
    "dequantiser": Switch(setup=released_code.round_dequant),
    "clip": Switch(setup=lambda setup: replace(setup, clip=False)),
    "shift": Switch(setup=lambda setup: replace(setup, shift=False)),
    "argmax": Switch(setup=lambda setup: replace(setup, from_zero=True)),
}
# The rows of the table: which switches are on. Each alone, then some together.
ROWS = {row: tuple(one["switches"]) for row, one in published.discrepancies().items()}


def datasets(every: Dataset, on: Iterable[str]) -> tuple[Dataset, Dataset]:
    """Return every packet as the nets learn from it and as the integer net sees it, with these departures on."""
    changes = [SWITCHES[name].data for name in SWITCHES if name in on and SWITCHES[name].data]
    return reduce(lambda both, change: change(*both), changes, (every, every))


def setup(model: Model, learn: Dataset, seen: Dataset, on: Iterable[str]) -> Setup:
    """Return what classifies the test part with these departures on.

    Parameters
    ----------
    model : Model
        Trained on `learn`, in whatever unit of time: the normaliser is fitted here.
    learn, seen : Dataset
        As `datasets` returns them, the sampled vectors only.
    """
    train, _, test = dataset.split(learn, model.seed)
    start = Setup(learn, seen, train, test, model.mlp, model.scaler, model.twins["nn_q16"])
    start = released_code.normalised_by(start, MinMax.fit(learn.x[train]))
    changes = [SWITCHES[name].setup for name in SWITCHES if name in on and SWITCHES[name].setup]
    return reduce(lambda so_far, change: change(so_far), changes, start)


def evaluate_all(everything: Dataset, profile: config.Profile, sampling: str = "last") -> list[dict]:
    """Classify the test part with each departure alone and some together, and record it.

    Parameters
    ----------
    everything : Dataset
        All packets: the departures change how a flow's packets become a vector.
    sampling : {"last", "every"}
        What the models were trained on.

    Returns
    -------
    list of dict
        The new records, of kind "discrepancy".
    """
    every = packet_by_packet.first_packets(everything)
    by_packet = np.argsort(every.packet)
    at = by_packet[np.searchsorted(every.packet, every.sample(sampling).packet, sorter=by_packet)]
    models, anew, made = pipeline.load_all(profile), [], []
    with tqdm(total=len(ROWS) * len(models), desc="as released", unit="net") as bar:
        for row, on in ROWS.items():
            learn, seen = (data.take(at) for data in datasets(every, on))
            if "features" in on and not anew:
                pairs = tqdm(pipeline.tasks_and_seeds(profile), desc="training anew", unit="model", leave=False)
                anew = [pipeline.quantize_model(pipeline.train_model(learn, *pair, profile), learn) for pair in pairs]
            for base, model in zip(models, anew if "features" in on else models, strict=True):
                made.append(_record(row, base, setup(model, learn, seen, on), profile))
                bar.update()
    return made


def _record(row: str, model: Model, made: Setup, profile: config.Profile) -> dict:
    """Record one row under the model of the row "none" that it will be compared with."""
    started = time.time()
    truth = made.learn.target(model.task)[made.test]
    floats, ints = made.verdicts()
    asked = {"task": model.task, "seed": model.seed, "switch": row, "dataset": made.learn.meta["name"]}
    raw = {
        "accuracy": float(np.mean(ints == truth)),
        "accuracy_float": float(np.mean(floats == truth)),
        "agreement_with_float": float(np.mean(ints == floats)),
        "confusion": accuracy.confusion(truth, ints, model.n_classes).tolist(),
        "confusion_float": accuracy.confusion(truth, floats, model.n_classes).tolist(),
        "unit": "flows",
    }
    asked |= {"profile": profile.name}
    identity = {"model_sha256": model.sha256(), "data_hash": model.data_sha256}
    return records.append(DISCREPANCY, "discrepancy", asked, raw, started=started, identity=identity)
