"""Compare the calibration methods: the thresholds they choose, and the effect on nn_q16; tables and records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from .. import records
from ..config import RESULTS, Profile
from ..data import dataset
from ..data.features import as_float
from ..models.calibration import CALIBRATION_METHODS, Threshold, choose_threshold
from ..models.fixed import INT8_MAX
from ..models.float_mlp import MLP
from ..models.int_mlp import quantize_mlp
from ..models.model import Model
from ..progress import show_progress

# The threshold of X^(1): its known range, alpha = 1 (see `models.pipeline.quantize_model`), or what the method chooses.
INPUTS = ("range", "method")


def chosen(model: Model, method: str) -> tuple[list[Threshold], list[list[Threshold]]]:
    """Choose every threshold of a quantized model by another method, from the histograms that it was quantized with.

    Parameters
    ----------
    model : Model
        A quantized model.
    method : str
        A name in `models.calibration.CALIBRATION_METHODS`.

    Returns
    -------
    activations : list of Threshold
        One for the input of each layer.
    columns : list of list of Threshold
        For each layer, one for each column of its weights.
    """
    activations, columns = model.thresholds
    return [choose_threshold(t.counts, t.edges, method) for t in activations], [
        [choose_threshold(t.counts, t.edges, method) for t in layer] for layer in columns
    ]


def _clipped(columns: list[Threshold]) -> float:
    """Return alpha divided by the largest weight, as the mean over the columns of a layer."""
    return float(np.mean([t.alpha / t.edges[-1] for t in columns]))


def thresholds(quantized: list[Model]) -> pd.DataFrame:
    """Return the thresholds that every method chooses.

    Parameters
    ----------
    quantized : list of Model
        Quantized models.

    Returns
    -------
    DataFrame
        A line for each task, seed and layer: "max |X|", the largest input of the layer; "alpha METHOD", the threshold
        of the input; "alpha used", the model's own; "weights METHOD", alpha divided by the largest weight, as the mean
        over the columns.
    """
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


def effects(quantized: list[Model], data: dataset.Dataset, profile: Profile, results: Path = RESULTS) -> pd.DataFrame:
    """Quantize nn_q16 by every method, once with each threshold of X^(1) in INPUTS, and record the effect.

    The arithmetic fused has no thresholds, so no method changes nn_fused; `agreement` shows how it decides.

    Parameters
    ----------
    quantized : list of Model
        Quantized models.
    data : Dataset
        The vectors that they were trained on. The scores are those of the validation part.
    profile : Profile
        Its name goes into the records.
    results : Path
        Folder of the records, which are appended to calibration.jsonl.

    Returns
    -------
    DataFrame
        A line for each task, seed, method and input: "alpha LAYER"; "accuracy float", "accuracy q16" and "accuracy int8
        weights", that of the float net with the weights of nn_q16; and "agreement q16", the share of vectors on which
        nn_q16 decides as the float net.
    """
    lines = []
    for model in show_progress(quantized, desc="calibration methods", unit="model"):
        _, at, _ = dataset.split(data, model.seed)
        truth = data.target(model.task)[at]
        for method in CALIBRATION_METHODS:
            started = records.now()
            for inputs, raw in _effect(model, method, data.x[at], truth).items():
                asked = {"task": model.task, "seed": model.seed, "method": method, "input": inputs}
                asked |= model.named(data) | {"profile": profile.name}
                identity = {"model_sha256": model.sha256(), "data_hash": model.data_hash}
                path = results / "calibration.jsonl"
                records.append(path, "calibration", asked, raw, started=started, identity=identity)
                lines.append(_line(asked, raw))
    return pd.DataFrame(lines)


def _effect(model: Model, method: str, x: np.ndarray, truth: np.ndarray) -> dict[str, dict]:
    """Return the raw values of a record for each of INPUTS, from the features of the validation part, Q16."""
    activations, columns = chosen(model, method)
    alpha, alpha_w = [t.alpha for t in activations], [np.array([t.alpha for t in layer]) for layer in columns]
    inputs = model.scaler.transform(x)
    floats, out = model.mlp.predict(inputs), {}
    for name, first in zip(INPUTS, (1.0, alpha[0]), strict=True):
        net = quantize_mlp(model.weights, model.scaler, [first, *alpha[1:]], alpha_w)
        back = [np.float32(w * (a / INT8_MAX)) for w, a in zip(net.weights, alpha_w, strict=True)]  # Eq. (2)
        found = {"float": floats, "q16": net.predict(x), "int8 weights": MLP.of(back).predict(inputs)}
        out[name] = {"alpha": [first, *alpha[1:]], "alpha_w_over_max": [_clipped(layer) for layer in columns]}
        out[name] |= {"flows": len(x), "accuracy": {what: float(np.mean(y == truth)) for what, y in found.items()}}
        out[name] |= {"agreement": {"q16": float(np.mean(found["q16"] == floats))}}
    return out


def _line(asked: dict, raw: dict) -> dict:
    line = {name: asked[name] for name in ("task", "seed", "method", "input")}
    line |= {f"alpha {layer}": alpha for layer, alpha in enumerate(raw["alpha"], start=1)}
    return line | {f"{what} {name}": v for what in ("accuracy", "agreement") for name, v in raw[what].items()}


def agreement(quantized: list[Model], data: dataset.Dataset) -> pd.DataFrame:
    """Return how often the integer models decide as the float models that they were made of.

    Parameters
    ----------
    quantized : list of Model
        Quantized models.
    data : Dataset
        The vectors that they were trained on.

    Returns
    -------
    DataFrame
        A line for each model: task, seed, number of flows in the validation part, and the share of them on which the
        tree, nn_q16 and nn_fused decide as the float model.
    """
    lines = []
    for model in quantized:
        _, at, _ = dataset.split(data, model.seed)
        x = data.x[at]
        floats = model.mlp.predict(model.scaler.transform(x))
        same = {
            "DT": np.mean(model.twins["dt"].predict(x) == model.tree.predict(as_float(x))),
            "NN (q16)": np.mean(model.twins["nn_q16"].predict(x) == floats),
            "NN (fused)": np.mean(model.twins["nn_fused"].predict(x) == floats),
        }
        lines.append({"task": model.task, "seed": model.seed, "flows": len(at)} | same)
    return pd.DataFrame(lines)
