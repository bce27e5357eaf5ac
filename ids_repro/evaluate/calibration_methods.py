"""What the calibration methods choose and what that does to the integer nets -> tables and records."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from .. import records
from ..config import RESULTS, Profile
from ..data import dataset
from ..data.features import as_float
from ..models.calibration import CALIBRATION_METHODS, Threshold, choose_threshold
from ..models.int_mlp import quantize_mlp
from ..models.model import Model

CALIBRATION = RESULTS / "calibration.jsonl"
# What X^(1) gets: its known range, alpha = 1 (see `pipeline.quantize_model`), or what the method chooses.
INPUTS = ("range", "method")


def chosen(model: Model, method: str) -> tuple[list[Threshold], list[list[Threshold]]]:
    """Choose every threshold of a quantized model by another method, from the histograms it was made with."""
    activations, columns = model.thresholds
    return [choose_threshold(t.counts, t.edges, method) for t in activations], [
        [choose_threshold(t.counts, t.edges, method) for t in layer] for layer in columns
    ]


def _clipped(columns: list[Threshold]) -> float:
    """Mean over a layer's columns of alpha over the largest weight."""
    return float(np.mean([t.alpha / t.edges[-1] for t in columns]))


def thresholds(quantized: list[Model]) -> pd.DataFrame:
    """Every threshold by every method beside the largest magnitude; weights as the mean of alpha / max over columns."""
    lines = []
    for model in quantized:
        found = {method: chosen(model, method) for method in CALIBRATION_METHODS}
        for layer, (t, used) in enumerate(zip(model.thresholds[0], model.alpha, strict=True)):
            line = {"task": model.task, "seed": model.seed, "layer": layer + 1, "max |X|": t.edges[-1]}
            line |= {f"alpha {method}": found[method][0][layer].alpha for method in CALIBRATION_METHODS}
            line |= {"alpha used": used}
            line |= {f"weights {method}": _clipped(found[method][1][layer]) for method in CALIBRATION_METHODS}
            lines.append(line)
    return pd.DataFrame(lines)


def effects(quantized: list[Model], data: dataset.Dataset, profile: Profile) -> pd.DataFrame:
    """Quantize by every method, with X^(1) at its range and at the method's own threshold, and record what it does.

    Arithmetic fused has no thresholds, so no method changes it; its agreement is in `agreement`.

    Parameters
    ----------
    quantized : list of Model
    data : Dataset
        What the models were trained on; scores are those of the validation part.

    Returns
    -------
    DataFrame
        task, seed, method, input; alpha of each layer; accuracy of the float net and of the integer net (q16), and
        how often this decides as the float net.
    """
    lines = []
    for model in tqdm(quantized, desc="calibration methods", unit="model"):
        train, at, _ = dataset.split(data, model.seed)
        truth, floats = data.target(model.task)[at], model.mlp.predict(model.scaler.transform(data.x[at]))
        for method in CALIBRATION_METHODS:
            started = time.time()
            for inputs, raw in _effect(model, method, data.x[train], data.x[at], truth, floats).items():
                asked = {"task": model.task, "seed": model.seed, "method": method, "input": inputs}
                asked |= {"dataset": data.meta["name"], "profile": profile.name}
                identity = {"model_sha256": model.sha256(), "data_hash": model.data_sha256}
                records.append(CALIBRATION, "calibration", asked, raw, started=started, identity=identity)
                lines.append(_line(asked, raw))
    return pd.DataFrame(lines)


def _effect(
    model: Model, method: str, train: np.ndarray, x: np.ndarray, truth: np.ndarray, floats: np.ndarray
) -> dict[str, dict]:
    """Raw values of a record for each of `INPUTS`, from the features of both parts, Q16."""
    activations, columns = chosen(model, method)
    alpha, alpha_w = [t.alpha for t in activations], [np.array([t.alpha for t in layer]) for layer in columns]
    weights = model.mlp.weights()
    out = {}
    for inputs, first in zip(INPUTS, (1.0, alpha[0]), strict=True):
        net = quantize_mlp(weights, model.scaler, [first, *alpha[1:]], alpha_w)
        found = {"float": floats, "q16": net.predict(x)}
        out[inputs] = {"alpha": [first, *alpha[1:]], "alpha_w_over_max": [_clipped(layer) for layer in columns]}
        out[inputs] |= {"flows": len(x), "accuracy": {name: float(np.mean(y == truth)) for name, y in found.items()}}
        out[inputs] |= {"agreement": {"q16": float(np.mean(found["q16"] == floats))}}
    return out


def _line(asked: dict, raw: dict) -> dict:
    line = {name: asked[name] for name in ("task", "seed", "method", "input")}
    line |= {f"alpha {layer}": alpha for layer, alpha in enumerate(raw["alpha"], start=1)}
    return line | {f"{what} {name}": v for what in ("accuracy", "agreement") for name, v in raw[what].items()}


def agreement(quantized: list[Model], data: dataset.Dataset) -> pd.DataFrame:
    """Share of the validation part on which the integer models decide as their float originals, one line a model."""
    lines = []
    for model in quantized:
        _, at, _ = dataset.split(data, model.seed)
        x = data.x[at]
        floats = model.mlp.predict(model.scaler.transform(x))
        same = {
            "DT": np.mean(model.twins["dt"].predict(x) == model.tree.predict(as_float(x))),
            "NN": np.mean(model.twins["nn_q16"].predict(x) == floats),
            "NN (fused)": np.mean(model.twins["nn_fused"].predict(x) == floats),
        }
        lines.append({"task": model.task, "seed": model.seed, "flows": len(at)} | same)
    return pd.DataFrame(lines)
