"""What the running kernel makes of every variant of the kernel program: verified instructions and parity; records.

`make test-kernels` runs this in virtual machines, each with another kernel (tests/kernels).
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import records
from ..config import RESULTS, UserError
from ..data.packets import Capture
from ..kernel.program import Program
from ..kernel.variants import Variant, every_variant
from ..models.model import Model
from . import parity, parity_vectors

KERNELS = RESULTS / "kernels.jsonl"
DETECTOR = "detector"  # the key of a detector among models, whose other keys are numbers of classes


def measure(
    models: Mapping[Any, Model],
    capture: Capture,
    n: int,
    identity: Mapping[str, Any],
    path: Path = KERNELS,
    only: Mapping[str, Variant] | None = None,
) -> Iterator[dict]:
    """Load each variant that has no record of this kernel yet, compare it with user space, and record what came out.

    Parameters
    ----------
    models : mapping of int or DETECTOR to Model
        One for each number of classes, and a detector.
    capture : Capture
        Its packets are compared.
    n : int
        How many vectors are compared.
    identity : mapping
        What else must be equal before a record counts; see `records.append`.
    path : Path
        The file of records.
    only : mapping of str to Variant, optional
        Some variants by name, instead of all.

    Yields
    ------
    dict
        A record of kind "kernel". Its raw says why the kernel refused the program, or how large the program is and
        on how many vectors and packets it differs from user space.
    """
    done, vectors = records.done(path, "kernel"), {}
    for name, variant in only.items() if only is not None else every_variant():
        asked = {"kernel": platform.release(), "variant": name, "hook": variant.hook, "classes": variant.n_classes}
        if records.key(asked, identity) not in done:
            started, which = records.now(), DETECTOR if variant.evidence else variant.n_classes
            if which not in vectors:
                vectors[which] = np.concatenate([*parity_vectors.pieces(models[which], n)])
            raw = judge(variant, models[which], capture, vectors[which])
            yield records.append(path, "kernel", asked, raw, started=started, identity=identity)


def judge(variant: Variant, model: Model, capture: Capture, x: np.ndarray) -> dict[str, Any]:
    """Load a variant, and compare it with user space; see `measure`.

    Returns
    -------
    dict
        "refused": why the kernel refused the program, else an empty text; "not_compared": the same of its build for
        test runs, with which it is compared; "vectors" and "packets": how many were
        compared; "differ": on how many of them kernel and user space differ, None if nothing was compared; of a
        program that was loaded `Program.size`.
    """
    raw: dict[str, Any] = {"refused": "", "not_compared": "", "vectors": 0, "packets": 0, "differ": None}
    failed = "refused"
    try:
        with Program(variant) as program:
            raw |= program.size()
        if variant.classifier == "empty":
            return raw  # it looks at no packet
        failed = "not_compared"
        with Program(replace(variant, probe=True)) as program:
            raw |= parity.of_program(program, model, capture, x)
    except UserError as error:
        raw[failed] = str(error)
    return raw
