"""A program that stays on an interface, opened by its pins."""

from __future__ import annotations

import contextlib
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ..config import NORMAL, TASKS, UserError
from ..kernel.info import prog_info
from ..kernel.maps import NOW, RETIRED, Maps
from ..kernel.variants import Variant
from ..native.layouts import BUCKET, COUNTS, ENTRY, FOUND, GENERATIONS, KERNEL_REASONS, SUSPECT, VERDICTS
from . import pins

# A process that opens pinned maps must agree on all of this with the process that pinned them.
VERSION = {
    "variant": sorted(asdict(Variant())),
    "reasons": list(KERNEL_REASONS),
    "found": list(FOUND),
    "maps": sorted(Maps.names(Variant(action="redirect"))),
    "generation": [NOW, RETIRED],
    "bytes": [dtype.itemsize for dtype in (COUNTS, VERDICTS, BUCKET, ENTRY, SUSPECT)],
}


class Live(Maps):
    """The program that `attach` put on an interface, opened by its pins; a context manager that closes them.

    Attributes
    ----------
    iface : str
        Name of the interface.
    folder : Path
        Folder of its pins (`pins.folder_of`).
    fd : int
        File descriptor of the program.
    mode : {"xdp_drv", "xdp_skb", "tc", "tc_both"}
        The hook that it is attached to.
    about : dict
        What `attach` wrote beside the pins.
    models : dict of str to dict
        "file" and "sha256" of the model of each of the last 16 generations; the keys are their numbers.
    since : float
        When it was attached [s since 1970].

    Raises
    ------
    UserError
        If another version of ids_repro attached the program.
    """

    def __init__(self, iface: str, folder: Path) -> None:
        about = pins.about(folder)
        if not about:
            raise UserError(f"{iface} has a program whose description cannot be read: detach it and attach it again")
        if about.get("version") != VERSION:
            raise UserError(f"{iface} has a program of another version of ids_repro: detach it and attach it again")
        self.iface, self.folder, self.about = iface, folder, about
        self.mode, self.models, self.since = (about[key] for key in ("mode", "models", "since"))
        variant = Variant(**about["variant"])
        with contextlib.ExitStack() as stack:
            self.fd, *fds = (self._open(stack, name) for name in (pins.PROGRAM, *self.names(variant)))
            super().__init__(variant, dict(zip(self.names(variant), fds, strict=True)))
            self._stack = stack.pop_all()

    @property
    def number(self) -> int:
        """The kernel's id of the program."""
        return int(prog_info(self.fd)["id"])

    def _open(self, stack: contextlib.ExitStack, name: str) -> int:
        fd = pins.get(self.folder, name)
        stack.callback(os.close, fd)
        return fd

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def flagged_by_class(self, flagged: np.ndarray) -> dict[str, int]:
        """Return the flows that a detector flagged, an array of shape (8,), by class; a net tells no classes apart."""
        if self.variant.classifier == "nn":
            return {TASKS["binary"][1]: int(flagged.sum())}
        counts = zip(TASKS["multi"], flagged.tolist(), strict=False)
        return {name: count for name, count in counts if name != TASKS["multi"][NORMAL]}

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that its model tells apart, in the order of their numbers."""
        return next(names for names in TASKS.values() if len(names) == self.variant.n_classes)

    @property
    def suspect_classes(self) -> tuple[str, ...]:
        """Names of the classes of suspects: a detector's tree tells Table III's apart, its net knows attacks alone."""
        if not self.variant.evidence:
            return self.classes
        return TASKS["multi"] if self.variant.classifier == "dt" else (TASKS["binary"][1],) * 2

    def by_class(self, verdicts: np.ndarray) -> dict[str, int]:
        """Return verdicts, an array of shape (8,), by the names of their classes."""
        return dict(zip(self.classes, verdicts.tolist(), strict=False))

    def name_model(self, generation: int, name: dict) -> None:
        """Write beside the pins which model a generation has, and forget all but the last 16 generations.

        Parameters
        ----------
        generation : int
        name : dict
            "file" and "sha256" of the model.
        """
        self.models[str(generation)] = name
        for old in sorted(map(int, self.models))[:-GENERATIONS]:
            del self.models[str(old)]
        pins.rewrite(self.folder, self.about)
