"""The header of a model's file: a JSON text that says which model it is, and so which arrays follow and their sizes."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..config import TASKS, UserError
from ..native.layouts import N_FEATURES, PAPER_NET, STRUCTS, TREE_NODES, Hidden, layer_shapes
from .calibration import BINS, LEVELS
from .float_tree import NODE
from .model import Seen
from .shape import read_hidden
from .twins import DETECTOR_TWINS, TWINS, Twin

FORMAT = 3  # of a model file; raise it when a member or the meaning of a number changes
CANDIDATES = BINS - LEVELS + 1  # thresholds that a method of calibration compares, if it compares any
MOST_EPOCHS = 300_000
# The least and the most that each number of the header can be.
LIMITS = {
    "seed": (0, 2**32 - 1),
    "nodes": (1, TREE_NODES),
    "tree_classes": (1, max(map(len, TASKS.values()))),
    "epochs": (1, MOST_EPOCHS),
    "candidates": (0, CANDIDATES),
}
SHARES = tuple(Seen.__dataclass_fields__)  # each from 0 to 1
MOST_ABOUT, MOST_CHARACTERS = 32, 2_000  # entries of `about`, and characters of a text in it
NUMBER_END = 1e300  # a number in `about` is below this


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
    detector : dict or None
        Of a detector: the fields of `Seen` for each of its integer models.
    about : dict
        As in `Model`.
    hidden : tuple of int
        Widths of the net's hidden layers. The file says nothing of them if they are the paper's.
    """

    task: str
    seed: int
    data_sha256: str
    sha256: str | None
    nodes: int
    tree_classes: int
    epochs: int
    candidates: int
    detector: dict[str, dict[str, float]] | None = None
    about: dict[str, str | float] = field(default_factory=dict)
    hidden: Hidden = PAPER_NET

    @property
    def n_classes(self) -> int:
        """Number of classes, 2 or 7."""
        return len(TASKS[self.task])

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """The shapes of the net's weights."""
        return layer_shapes(self.n_classes, self.hidden)

    @property
    def weights(self) -> dict[str, tuple[int, int]]:
        """The names of the net's weights in a file, and the shape of each."""
        return {f"weights_{i}": shape for i, shape in enumerate(self.shapes, start=1)}

    @property
    def twins(self) -> dict[str, Twin]:
        """The integer models of such a file, by the names of their structs."""
        return TWINS if self.detector is None else DETECTOR_TWINS

    def text(self) -> bytes:
        """Return the header as JSON, with the format, the sizes of the C structs and the names of the classes."""
        rest = _layouts(self.hidden) | {"classes": TASKS[self.task]} | asdict(self)
        if self.hidden == PAPER_NET:
            del rest["hidden"]
        return json.dumps(rest, indent=1, allow_nan=False).encode()

    @classmethod
    def parse(cls, text: bytes) -> Header:
        """Read a header and check every value in it.

        Raises
        ------
        RefusedError
            If it is no JSON, of another version, or a value is missing, unknown or out of range.
        """
        try:
            found = json.loads(text, object_pairs_hook=_once)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise RefusedError("its header is no JSON object")
        found["hidden"] = _hidden(found.get("hidden", list(PAPER_NET)))
        for name, ours in _layouts(found["hidden"]).items():
            theirs = found.pop(name, "not given")
            if name == "structs" and isinstance(theirs, dict):
                for struct in sorted({*theirs, *ours}):
                    _same(struct, theirs.get(struct, "not given"), ours.get(struct, "not given"))
            _same(name, theirs, ours)
        names = set(cls.__dataclass_fields__) | {"classes"}
        for name in sorted(names - set(found)):
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
        nets = {name: (f4, shape) for name, shape in self.weights.items()}
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
        structs = {name: (STRUCTS[name].layout(self.hidden), ()) for name in self.twins}
        if self.detector is not None:
            return floats | structs
        layers = len(self.shapes)
        n = layers + sum(columns for _, columns in self.shapes)
        return floats | {
            "alpha": (f8, (layers,)),
            "threshold_alpha": (f8, (n,)),
            "threshold_counts": (i8, (n, BINS)),
            "threshold_edges": (f8, (n, BINS + 1)),
            "threshold_criterion": (f8, (n, self.candidates)),
            **structs,
        }


def _layouts(hidden: Hidden) -> dict[str, Any]:
    """Return what a file and the code that reads it must agree on: the format, and the bytes of each C struct."""
    return {"format": FORMAT, "structs": {name: one.layout(hidden).itemsize for name, one in STRUCTS.items()}}


def _hidden(found: object) -> Hidden:
    """Return the widths of the hidden layers that a header gives."""
    try:
        return read_hidden(found if isinstance(found, list) else None)
    except UserError as error:
        raise RefusedError(f"its {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of the JSON text; raise RefusedError if a name is in it twice: readers would differ."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise RefusedError("its header has a name twice in one object")
    return found


def _same(name: str, theirs: object, ours: object) -> None:
    if theirs != ours:
        made = f"its {ascii(name)[1:-1]:.40} is {theirs!a:.40}, this one's {ours}"
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
        value = found[name]
        if not (type(value) is int and least <= value <= most):
            raise RefusedError(f"its {name} is {value!a:.40}, and it must be a whole number from {least} to {most}")
    _check_detector(found["detector"], found["task"])
    _check_about(found["about"])
    if found["candidates"] not in (0, CANDIDATES):
        raise RefusedError(f"its candidates are {found['candidates']}, and there are 0 or {CANDIDATES}")


def _check_detector(found: object, task: str) -> None:
    """Check what a header says of a detector; None if the model is none."""
    if found is None:
        return
    if task != "binary" or not isinstance(found, dict) or sorted(found) != sorted(DETECTOR_TWINS):
        raise RefusedError(f"its detector must be a binary model that has {' and '.join(DETECTOR_TWINS)}")
    for struct, seen in found.items():
        if not isinstance(seen, dict) or sorted(seen) != sorted(SHARES):
            raise RefusedError(f"its detector {struct!r} must have {', '.join(SHARES)}")
        for name, share in seen.items():
            if not (type(share) in (int, float) and 0 <= share <= 1):
                raise RefusedError(
                    f"the {name} of its detector {struct!r} is {share!a:.40}, and it must be from 0 to 1"
                )


def _check_about(found: object) -> None:
    """Check what a header says of the training."""
    if not isinstance(found, dict) or len(found) > MOST_ABOUT:
        raise RefusedError(f"its 'about' must be an object of at most {MOST_ABOUT} entries")
    for name, value in found.items():
        short = isinstance(value, str) and len(value) <= MOST_CHARACTERS
        if len(name) > MOST_CHARACTERS or not (short or type(value) in (int, float) and abs(value) < NUMBER_END):
            raise RefusedError(f"its 'about' has {name!a:.40}, which is neither a number nor a short text")
