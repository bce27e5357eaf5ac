"""Measure what each discrepancy of the released code, switched on by itself or with others, does to accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

import numpy as np

from .. import config, published, records
from ..data import dataset
from ..data.dataset import Dataset
from ..data.features import FEATURES
from ..models import pipeline
from ..models.model import Model
from ..models.scaling import MinMax
from ..models.shape import Shape
from ..progress import show_progress
from . import accuracy, packet_by_packet, released_code
from .released_code import ORDER, Setup


@dataclass(frozen=True)
class Switch:
    """What one discrepancy of the released code changes; `published.discrepancies` says it in words.

    Parameters
    ----------
    data : callable, optional
        Takes the datasets `learn` and `seen` of `released_code.Setup`, with every packet, and returns them with the
        discrepancy.
    setup : callable, optional
        Takes a `released_code.Setup` and returns it with the discrepancy.
    """

    data: Callable[[Dataset, Dataset], tuple[Dataset, Dataset]] | None = None
    setup: Callable[[Setup], Setup] | None = None


# The names are those of data/published.json. The order is that in which the switches act: on the data, on the net and
# its normaliser, on the arithmetic.
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
# The rows of the table, and the switches that are on in each: first one alone, then some together.
ROWS = {row: tuple(one["switches"]) for row, one in published.discrepancies().items()}


def datasets(every: Dataset, on: Iterable[str]) -> tuple[Dataset, Dataset]:
    """Return the packets with some switches on, as the nets learn from them and as the integer net sees them.

    Parameters
    ----------
    every : Dataset
        The first packets of each flow.
    on : iterable of str
        Names in SWITCHES.

    Returns
    -------
    learn, seen : Dataset
        See `released_code.Setup`.
    """
    changes = [SWITCHES[name].data for name in SWITCHES if name in on and SWITCHES[name].data]
    return reduce(lambda both, change: change(*both), changes, (every, every))


def setup(model: Model, learn: Dataset, seen: Dataset, on: Iterable[str]) -> Setup:
    """Return what classifies the test part with some switches on.

    Parameters
    ----------
    model : Model
        Trained on `learn`, maybe with another unit of time: the normaliser is fitted here again.
    learn, seen : Dataset
        The sampled vectors of what `datasets` returns.
    on : iterable of str
        Names in SWITCHES.
    """
    train, _, test = dataset.split(learn, model.seed)
    start = Setup(learn, seen, train, test, model.mlp, model.scaler, model.twins["nn_q16"])
    start = released_code.normalised_by(start, MinMax.fit(learn.x[train]))
    changes = [SWITCHES[name].setup for name in SWITCHES if name in on and SWITCHES[name].setup]
    return reduce(lambda so_far, change: change(so_far), changes, start)


def evaluate_all(
    everything: Dataset,
    profile: config.Profile,
    sampling: str = "last",
    results: Path = config.RESULTS,
    folder: Path = config.MODELS,
) -> list[dict]:
    """Classify the test part with the switches of each row on, and record the accuracies.

    Parameters
    ----------
    everything : Dataset
        A vector for every packet, because some switches change how the packets of a flow become a vector.
    profile : Profile
        Its seeds name the models; also how long to train those nets that a switch requires to be trained again.
    sampling : {"last", "every"}
        The vectors that the models were trained on (`data.dataset.Dataset.sample`).
    results : Path
        Folder of the records, which are appended to discrepancy.jsonl.
    folder : Path
        Folder of the models.

    Returns
    -------
    list of dict
        The records, of kind "discrepancy".
    """
    every = packet_by_packet.first_packets(everything)
    by_packet = np.argsort(every.packet)
    at = by_packet[np.searchsorted(every.packet, every.sample(sampling).packet, sorter=by_packet)]
    models, again, made = pipeline.load_all(profile, folder, everything), [], []
    with show_progress(total=len(ROWS) * len(models), desc="as released", unit="net") as bar:
        for row, on in ROWS.items():
            learn, seen = (data.take(at) for data in datasets(every, on))
            if "features" in on and not again:
                trained = pipeline.train_apart(learn, profile, _shape(models[0]))
                again = [pipeline.quantize_model(model, learn) for model in trained]
            for base, model in zip(models, again if "features" in on else models, strict=True):
                made.append(_record(row, base, setup(model, learn, seen, on), profile, results))
                bar.update()
    return made


def _shape(model: Model) -> Shape:
    """Return the shape of a net for features in the order of the released code."""
    left_out = tuple(FEATURES[at] for at, was in enumerate(ORDER) if was not in model.kept)
    return Shape(hidden=model.hidden, leave_out=left_out)


def _record(row: str, model: Model, made: Setup, profile: config.Profile, results: Path) -> dict:
    """Record one row under the model of the row "none", with which the row is compared."""
    started = records.now()
    truth = made.learn.target(model.task)[made.test]
    floats, ints = made.verdicts()
    asked = {"task": model.task, "seed": model.seed, "switch": row, "profile": profile.name} | model.named(made.learn)
    raw = {
        "accuracy": float(np.mean(ints == truth)),
        "accuracy_float": float(np.mean(floats == truth)),
        "agreement_with_float": float(np.mean(ints == floats)),
        "confusion": accuracy.confusion(truth, ints, model.n_classes).tolist(),
        "confusion_float": accuracy.confusion(truth, floats, model.n_classes).tolist(),
        "unit": "flows",
    }
    identity = {"model_sha256": model.sha256(), "data_hash": model.data_hash}
    path = results / "discrepancy.jsonl"
    return records.append(path, "discrepancy", asked, raw, started=started, identity=identity)
