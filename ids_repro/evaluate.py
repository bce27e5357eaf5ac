"""What the models are worth and what they cost (Sec. V-A): accuracy and inference time -> records."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from . import dataset, native, records
from .config import RESULTS, TASKS, Profile
from .pipeline import Model, load, load_all

ACCURACY, INFERENCE = RESULTS / "accuracy.jsonl", RESULTS / "inference.jsonl"


def predictions(model: Model, x: np.ndarray) -> dict[str, np.ndarray]:
    """Classes of feature vectors by every user-space row of Tables II and III.

    Parameters
    ----------
    x : ndarray of shape (n, 12), int64
        Features, Q16.

    Returns
    -------
    dict of str to ndarray of shape (n,)
        By row: dt_sklearn, nn_pytorch, dt_c, nn_c_q16, nn_c_fused.
    """
    return {
        "dt_sklearn": model.tree.predict(dataset.as_float(x)),
        "nn_pytorch": model.mlp.predict(model.scaler.transform(x)),
        "dt_c": native.predict_tree(model.params("dt"), x),
        "nn_c_q16": native.predict_mlp(model.params("nn"), model.n_classes, x)[1],
        "nn_c_fused": native.predict_mlp(model.params("nn_fused"), model.n_classes, x, "fused")[1],
    }


def confusion(truth: np.ndarray, found: np.ndarray, n_classes: int) -> np.ndarray:
    """Confusion matrix of shape (n_classes, n_classes): rows true, columns predicted."""
    return np.bincount(truth * n_classes + found.astype(np.int64), minlength=n_classes**2).reshape(n_classes, n_classes)


def evaluate_all(data: dataset.Dataset, profile: Profile, kernel: dict | None = None) -> pd.DataFrame:
    """Classify the test part by every row of Tables II and III, and record the confusion matrices.

    Parameters
    ----------
    data : Dataset
        What the models were trained on.
    kernel : dict, optional
        More rows: (task, seed) to {row: verdicts of shape (n,) on the vectors of `data`} (`parity.verdicts`).

    Returns
    -------
    DataFrame
        task, seed, row, accuracy, and agreement with the float row of the same family.
    """
    out = []
    for model in load_all(profile):
        started = time.time()
        _, _, test = dataset.split(data, model.seed)
        truth = data.target(model.task)[test]
        rows = predictions(model, data.x[test])
        rows |= {name: found[test] for name, found in (kernel or {}).get((model.task, model.seed), {}).items()}
        for row, found in rows.items():
            floats = rows["dt_sklearn" if row.startswith("dt") else "nn_pytorch"]
            asked = {"task": model.task, "row": row, "seed": model.seed, "dataset": data.meta["name"]}
            asked |= {"profile": profile.name}
            raw = {"confusion": confusion(truth, found, model.n_classes).tolist(), "unit": "flows"}
            raw |= {"agreement_with_float": float(np.mean(found == floats))}
            identity = {"model_sha256": model.sha256(), "data_hash": model.data_sha256}
            records.append(ACCURACY, "accuracy", asked, raw, started=started, identity=identity)
            out.append(asked | {"accuracy": np.mean(found == truth), "agreement": raw["agreement_with_float"]})
    return pd.DataFrame(out)


def _timed(model: Model, x: np.ndarray) -> Iterator[tuple[str, str, int, Callable[[], object]]]:
    """Everything that is timed on one model: (row, how, inferences a call, call)."""
    floats, scaled = dataset.as_float(x), model.scaler.transform(x)
    one, one_scaled = floats[:1], torch.as_tensor(scaled[:1], dtype=torch.float32)
    nn, dt, fused, n = model.params("nn"), model.params("dt"), model.params("nn_fused"), model.n_classes

    @torch.no_grad()
    def pytorch() -> None:
        model.mlp(one_scaled).argmax(dim=1)

    yield "dt_sklearn", "python_single", 1, lambda: model.tree.predict(one)
    yield "nn_pytorch", "python_single", 1, pytorch
    yield "dt_c", "ctypes_single", 1, lambda: native.predict_tree(dt, x[:1])
    yield "nn_c_q16", "ctypes_single", 1, lambda: native.predict_mlp(nn, n, x[:1])
    yield "dt_c", "c_loop", len(x), lambda: native.predict_tree(dt, x)
    yield "nn_c_q16", "c_loop", len(x), lambda: native.predict_mlp(nn, n, x)
    yield "nn_c_fused", "ctypes_single", 1, lambda: native.predict_mlp(fused, n, x[:1], "fused")
    yield "nn_c_fused", "c_loop", len(x), lambda: native.predict_mlp(fused, n, x, "fused")


def time_all(data: dataset.Dataset, profile: Profile, calls: int = 50) -> pd.DataFrame:
    """Measure the inference time of the first seed's models, in interleaved rounds, and record every round.

    One sample at a time from Python is what the paper measured (Sec. V-A1); the C in a loop over packets, compiled
    with -O2, is what a packet costs.

    Returns
    -------
    DataFrame
        task, row, how, and the median [ns] over the rounds.
    """
    out = []
    torch.set_num_threads(1)
    for model in (load(task, profile.seeds[0]) for task in TASKS):
        started, timed = time.time(), list(_timed(model, data.x[:10000]))
        ns = {case[:2]: [] for case in timed}
        for _ in tqdm(range(profile.timing_rounds), desc=f"timing, {model.task}", unit="round"):
            for row, how, size, call in timed:
                repeat = calls if size == 1 else 1
                begin = time.perf_counter_ns()
                for _ in range(repeat):
                    call()
                ns[row, how].append((time.perf_counter_ns() - begin) / (repeat * size))
        for (row, how), values in ns.items():
            asked = {"task": model.task, "row": row, "how": how}
            asked |= {"dataset": data.meta["name"], "profile": profile.name}
            identity = {"model_sha256": model.sha256(), "data_hash": model.data_sha256}
            raw = {"ns_per_inference": values}
            records.append(INFERENCE, "inference", asked, raw, started=started, identity=identity)
            out.append({"task": model.task, "row": row, "how": how, "median_ns": float(np.median(values))})
    return pd.DataFrame(out)
