"""The header of a model's file: a JSON text that says which model it is, and so which arrays follow and their sizes."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..config import TASKS
from ..native.layouts import LAYERS, N_FEATURES, STRUCTS, TREE_DEPTH
from .calibration import BINS, LEVELS
from .fixed import layer_shapes
from .float_tree import NODE

FORMAT = 2  # of a model file; raise it when a member or the meaning of a number changes
INTEGER_MODELS = tuple(name for name in STRUCTS if name != "nn_float")  # their structs, each a member
CANDIDATES = BINS - LEVELS + 1  # thresholds that a method of calibration compares, if it compares any
MOST_EPOCHS = 300_000
# The least and the most that each number of the header can be.
LIMITS = {
    "seed": (0, 2**32 - 1),
    "nodes": (1, (2 << TREE_DEPTH) - 1),
    "tree_classes": (1, max(map(len, TASKS.values()))),
    "epochs": (1, MOST_EPOCHS),
    "candidates": (0, CANDIDATES),
    "detector_threshold": (-(2**63), 2**63 - 1),
}
OPTIONAL = ("detector_threshold", "false_alarm_share")


class RefusedError(Exception):
    """A model file is not what this version writes; the text says what is wrong with it."""


@dataclass(frozen=True)
class Header:
    """What a model's file says of itself, beside the format and the layouts.

    Parameters
    ----------
    task : {"binary", "multi"}
        A key of `config.TASKS`.
    seed : int
        Seed of the split, the weights and the shuffling.
    data_sha256 : str
        SHA-256 of the data that the model was trained on.
    sha256 : str or None
        SHA-256 of the structs of the integer models (`Model.sha256`); None before the model is quantized.
    nodes, tree_classes : int
        Nodes of the float tree, and classes that it knows.
    epochs : int
        Epochs of the net's training.
    candidates : int
        Thresholds that the method of calibration compared: 1921, or 0 if it compares none.
    detector_threshold, false_alarm_share : optional
        As in `Model`.
    """

    task: str
    seed: int
    data_sha256: str
    sha256: str | None
    nodes: int
    tree_classes: int
    epochs: int
    candidates: int
    detector_threshold: int | None = None
    false_alarm_share: float | None = None

    @property
    def n_classes(self) -> int:
        """Number of classes, 2 or 7."""
        return len(TASKS[self.task])

    def text(self) -> bytes:
        """Return the header as JSON, with the format, the sizes of the C structs and the names of the classes."""
        rest = {name: value for name, value in asdict(self).items() if name not in OPTIONAL or value is not None}
        return json.dumps(_layouts() | {"classes": TASKS[self.task]} | rest, indent=1, allow_nan=False).encode()

    @classmethod
    def parse(cls, text: bytes) -> Header:
        """Read a header and check every value in it.

        Raises
        ------
        RefusedError
            If it is no JSON, of another version, or a value is missing, unknown or out of range.
        """
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise RefusedError("its header is no JSON object")
        for name, ours in _layouts().items():
            theirs = found.pop(name, "not given")
            if name == "structs" and isinstance(theirs, dict):
                for struct in sorted({*theirs, *ours}):
                    _same(struct, theirs.get(struct, "not given"), ours.get(struct, "not given"))
            _same(name, theirs, ours)
        names, must = set(cls.__dataclass_fields__) | {"classes"}, set(cls.__dataclass_fields__) - set(OPTIONAL)
        for name in sorted(must - set(found)):
            raise RefusedError(f"its header has no {name!r}")
        for name in sorted(set(found) - names):
            raise RefusedError(f"its header has {name!a:.40}, which no model has")
        _check(found)
        if found.pop("classes", None) != list(TASKS[found["task"]]):
            raise RefusedError(f"its classes are not those of the {found['task']} task")
        return cls(**found)

    def members(self) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
        """Return the dtype and the shape of every array in the file, by its name."""
        f4, f8, i8 = np.dtype("f4"), np.dtype("f8"), np.dtype("i8")
        nets = {f"weights_{i}": (f4, shape) for i, shape in enumerate(layer_shapes(self.n_classes), start=1)}
        nodes = {f"tree_{name}": (dtype, (self.nodes,)) for name, dtype in NODE.items()}
        floats = {
            **nets,
            "scaler_min": (i8, (N_FEATURES,)),
            "scaler_range": (i8, (N_FEATURES,)),
            "history": (f8, (self.epochs, 2)),
            **nodes,
            "tree_values": (f8, (self.nodes, self.tree_classes)),
            "tree_classes": (i8, (self.tree_classes,)),
        }
        if self.sha256 is None:
            return floats
        n = LAYERS + sum(columns for _, columns in layer_shapes(self.n_classes))
        return floats | {
            "alpha": (f8, (LAYERS,)),
            "threshold_alpha": (f8, (n,)),
            "threshold_counts": (i8, (n, BINS)),
            "threshold_edges": (f8, (n, BINS + 1)),
            "threshold_criterion": (f8, (n, self.candidates)),
            **{name: (STRUCTS[name].dtype, ()) for name in INTEGER_MODELS},
        }


def _layouts() -> dict[str, Any]:
    """Return what a file and the code that reads it must agree on: the format, and the bytes of each C struct."""
    return {"format": FORMAT, "structs": {name: struct.dtype.itemsize for name, struct in STRUCTS.items()}}


def _same(name: str, theirs: object, ours: object) -> None:
    if theirs != ours:
        made = f"its {name!s:.40} is {theirs!a:.40}, this one's {ours}"
        raise RefusedError(f"a model of another version of ids_repro ({made})")


def _check(found: dict[str, Any]) -> None:
    """Check the type and the range of each value of a header."""
    if not isinstance(found["task"], str) or found["task"] not in TASKS:
        raise RefusedError(f"its task is {found['task']!a:.40}, not one of {', '.join(TASKS)}")
    for name in ("data_sha256", "sha256"):
        value = found[name]
        if not (isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) or name == "sha256" and value is None):
            raise RefusedError(f"its {name} is no SHA-256")
    for name, (least, most) in LIMITS.items():
        value = found.get(name)
        if not (type(value) is int and least <= value <= most or name in OPTIONAL and value is None):
            raise RefusedError(f"its {name} is {value!a:.40}, and it must be a whole number from {least} to {most}")
    share = found.get("false_alarm_share")
    if share is not None and not (type(share) in (int, float) and math.isfinite(share) and 0 <= share <= 1):
        raise RefusedError(f"its false_alarm_share is {share!a:.40}, and it must be from 0 to 1")
    if found["candidates"] not in (0, CANDIDATES):
        raise RefusedError(f"its candidates are {found['candidates']}, and there are 0 or {CANDIDATES}")
