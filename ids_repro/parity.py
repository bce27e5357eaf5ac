"""The differential oracle: NumPy integers, user-space C, XDP and TC on the same vectors and packets, no bit apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from tqdm.auto import tqdm

from . import native
from .config import TASKS, UserError
from .kernel import Program
from .packets import Capture
from .pipeline import Model
from .variants import HOOKS, PROBE, TAKES

CLASSIFIERS = ("nn", "nn_fused", "dt")
NETS = {"nn": "q16", "nn_fused": "fused"}
MAX_FEATURE = 1 << 47  # no feature of a flow reaches it: 1,800 s in us, Q16


def boundary_vectors(model: Model) -> np.ndarray:
    """Vectors at which an off-by-one shows: around each feature's range, zero, and each threshold of the tree.

    Returns
    -------
    ndarray of shape (n, 12), int64
        Q16.
    """
    low, width = model.scaler.min_, model.scaler.range_
    base = low + width // 2
    values = [[0, 1, low[i], low[i] + width[i], MAX_FEATURE - 1, np.iinfo(np.int64).max] for i in range(len(low))]
    for threshold, feature in zip(model.int_tree.threshold, model.int_tree.feature, strict=True):
        if threshold < np.iinfo(np.int64).max:
            values[feature].append(threshold)
    out = [np.zeros_like(base), low, low + width]
    for i, centres in enumerate(values):
        for value in {int(c) + step for c in centres for step in (-1, 0, 1)}:
            if 0 <= value <= np.iinfo(np.int64).max:
                out.append(np.where(np.arange(len(base)) == i, value, base))
    return np.array(out, np.int64)


def random_vectors(n: int, seed: int = 0) -> np.ndarray:
    """Vectors whose features are spread evenly over the orders of magnitude up to MAX_FEATURE; shape (n, 12), Q16."""
    rng = np.random.default_rng(seed)
    return (2.0 ** rng.uniform(0, np.log2(MAX_FEATURE), (n, native.N_FEATURES))).astype(np.int64)


def vectors(model: Model, n: int) -> np.ndarray:
    """Boundary vectors, filled up to n with random ones; shape (n, 12), int64, Q16."""
    boundary = boundary_vectors(model)[:n]
    return np.concatenate([boundary, random_vectors(n - len(boundary))])


def in_numpy(model: Model, classifier: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits (n, n_classes; none for "dt") and classes (n,) by the NumPy reference."""
    if classifier == "dt":
        return np.zeros((len(x), 0), np.int64), model.int_tree.predict(x)
    logits = (model.int_mlp if classifier == "nn" else model.int_fused).logits(x)
    return logits, logits.argmax(axis=1)


def by_struct(classifier: str, params: bytes, n_classes: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same by bpf/user.c, from the bytes of the model's C struct."""
    if classifier == "dt":
        return np.zeros((len(x), 0), np.int64), native.predict_tree(params, x)
    return native.predict_mlp(params, n_classes, x, NETS[classifier])


def in_c(model: Model, classifier: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same by bpf/user.c."""
    return by_struct(classifier, model.params(classifier), model.n_classes, x)


def in_kernel(program: Program, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same by a loaded program, one test run a vector."""
    probes = np.zeros(len(x), PROBE)
    probes["use_x"], probes["x"] = 1, x
    out = program.probe(probes)
    n = program.variant.n_classes if program.variant.classifier == "nn" else 0
    return out["logits"][:, :n], out["verdict"]


def replay(program: Program, capture: Capture) -> np.ndarray:
    """Send a capture's packets through a loaded program with the capture's own clock.

    Returns
    -------
    ndarray of shape (n_packets,), dtype kernel.PROBE
        The kernel's own features, logits and verdict of each packet.
    """
    program.reset()
    probes = np.zeros(len(capture.rows), PROBE)
    probes["now_ns"] = capture.rows["ts_ns"]
    return program.probe(probes, capture.headers())


def verdicts(models: Sequence[Model], capture: Capture, packet: np.ndarray) -> dict[tuple[str, int], dict]:
    """Replay a capture through XDP for every model: what the kernel itself says, for Tables II and III.

    Parameters
    ----------
    packet : ndarray of shape (n,), int
        Indices of the packets whose verdicts are wanted.

    Returns
    -------
    dict
        (task, seed) to {"nn_kernel": ndarray of shape (n,), "nn_fused_kernel": ..., "dt_kernel": ...}.
    """
    out: dict[tuple[str, int], dict] = {(m.task, m.seed): {} for m in models}
    with tqdm(total=len(CLASSIFIERS) * len(models), desc="replaying in the kernel", unit="replay") as bar:
        for task, classes in ((t, c) for t, c in TASKS.items() if any(m.task == t for m in models)):
            for classifier in CLASSIFIERS:
                with Program(replace(TAKES[classifier], n_classes=len(classes), probe=True)) as program:
                    for model in (m for m in models if m.task == task):
                        program.set_params(model.params(classifier))
                        found = replay(program, capture)["verdict"][packet]
                        out[model.task, model.seed][f"{classifier}_kernel"] = found
                        bar.update()
    return out


def _differences(left: tuple[np.ndarray, np.ndarray], right: tuple[np.ndarray, np.ndarray]) -> int:
    """How many vectors differ in a logit or in the class."""
    return int(np.sum(np.any(left[0] != right[0], axis=1) | (left[1] != right[1])))


def compare(models: Sequence[Model], capture: Capture, n: int, user_space: bool = False) -> dict[str, dict[str, int]]:
    """Count the vectors on which two implementations of a classifier differ in a logit or in the class.

    Each model sees n boundary and random vectors, and every packet of the capture: as features in user space, as
    frames in the kernel, where a difference in a feature counts too.

    Parameters
    ----------
    models : sequence of Model
    capture : Capture
    n : int
        Vectors for each model.
    user_space : bool
        Leave out the kernel, which needs root.

    Returns
    -------
    dict
        {"nn": {"numpy_c": 0, "c_xdp": 0, "c_tc": 0}, "nn_fused": {...}, "dt": {...}}
    """
    if n < 1:
        raise UserError(f"parity needs at least 1 vector, not {n}")
    hooks = () if user_space else HOOKS
    out = {c: dict.fromkeys(["numpy_c", *(f"c_{hook}" for hook in hooks)], 0) for c in CLASSIFIERS}
    packets, _ = native.extract(capture.rows)
    with tqdm(total=len(models) * len(CLASSIFIERS) * (1 + len(hooks)), desc="parity", unit="comparison") as bar:
        for model in models:
            x = vectors(model, n)
            for classifier in CLASSIFIERS:
                inputs = np.concatenate([x, packets])
                expected = in_c(model, classifier, inputs)
                out[classifier]["numpy_c"] += _differences(in_numpy(model, classifier, inputs), expected)
                bar.update()
                for hook in hooks:
                    found = _kernel_differences(model, classifier, hook, x, packets, capture, expected)
                    out[classifier][f"c_{hook}"] += found
                    bar.update()
    return out


def _kernel_differences(model, classifier, hook, x, packets, capture, expected) -> int:
    """Differences between C and one kernel program, on vectors and then on packets."""
    variant = replace(TAKES[classifier], hook=hook, n_classes=model.n_classes, probe=True)
    with Program(variant, model.params(classifier)) as program:
        logits, classes = in_kernel(program, x)
        seen = replay(program, capture)
    n = logits.shape[1]
    found = np.concatenate([logits, seen["logits"][:, :n]]), np.concatenate([classes, seen["verdict"]])
    return _differences(found, expected) + int(np.sum(np.any(seen["x"] != packets, axis=1)))
