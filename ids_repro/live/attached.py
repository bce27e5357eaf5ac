"""Attach a program that stays on an interface after this process ends; find it, swap its model, detach it.

Every function works on interfaces of the current network namespace. It first removes the pins of programs that no
longer run: `ip link` took them off, their interface is gone, or somebody killed the process that attached them.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from pyroute2 import IPRoute

from ..config import TASKS, UserError
from ..kernel import attach as hooks
from ..kernel.info import prog_info
from ..kernel.maps import Maps
from ..kernel.program import Program
from ..kernel.variants import Variant, require_table
from ..models.model import Model
from ..models.model_file import read_model
from ..native.layouts import BUCKET, COUNTS, ENTRY, FOUND, GENERATIONS, KERNEL_REASONS, SUSPECT, VERDICTS
from ..network import facts
from ..require import require_programs, require_root
from . import pins

# A process that opens pinned maps must agree on all of this with the process that pinned them.
VERSION = {
    "variant": sorted(asdict(Variant())),
    "reasons": list(KERNEL_REASONS),
    "found": list(FOUND),
    "maps": sorted(Maps.names(Variant(action="redirect"))),
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
    mode : {"xdp_drv", "xdp_skb", "tc"}
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
        if about.get("version") != VERSION:
            raise UserError(f"{iface} has a program of another version of ids_repro: detach it and attach it again")
        self.iface, self.folder, self.about = iface, folder, about
        self.mode, self.models, self.since = (about[key] for key in ("mode", "models", "since"))
        variant = Variant(**about["variant"])
        with contextlib.ExitStack() as stack:
            self.fd, *fds = (self._open(stack, name) for name in (pins.PROGRAM, *self.names(variant)))
            super().__init__(variant, dict(zip(self.names(variant), fds, strict=True)))
            self._stack = stack.pop_all()

    def _open(self, stack: contextlib.ExitStack, name: str) -> int:
        fd = pins.get(self.folder, name)
        stack.callback(os.close, fd)
        return fd

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that its model tells apart, in the order of their numbers."""
        return next(names for names in TASKS.values() if len(names) == self.variant.n_classes)

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


def _iface_of(folder: Path) -> str | None:
    """Return the interface's present name; None if it is gone or belongs to another network namespace."""
    inode, index = pins.place_of(folder)
    try:
        return socket.if_indextoname(index) if inode == pins.namespace() else None
    except OSError:
        return None


def _is_on(iface: str, folder: Path) -> bool:
    """Return whether the interface still runs the pinned program."""
    if not (folder / pins.PROGRAM).exists():
        return False
    fd = pins.get(folder, pins.PROGRAM)
    try:
        return (pins.about(folder)["mode"], int(prog_info(fd)["id"])) in hooks.programs(iface)
    finally:
        os.close(fd)


def _take_off(folder: Path) -> None:
    """Detach the pinned program if it is attached, then remove the pins."""
    iface, mode = _iface_of(folder), pins.about(folder).get("mode")
    if iface and (_is_on(iface, folder) or (mode == "tc" and hooks.has_empty_clsact(iface))):
        hooks.detach(iface, mode)
    pins.remove(folder)


def _remove_leftovers() -> list[str]:
    """Remove pins of programs that no longer run, here and in deleted namespaces; return their interfaces' names."""
    here, removed = pins.namespace(), []
    elsewhere = {pins.place_of(folder)[0] for folder in pins.all_folders()} - {here}
    gone = elsewhere - pins.living_namespaces() if elsewhere else set()
    for folder in pins.all_folders():
        inode, iface = pins.place_of(folder)[0], _iface_of(folder)
        if inode in gone or (inode == here and not (iface and _is_on(iface, folder))):
            removed.append(iface or pins.about(folder).get("iface"))
            _take_off(folder)
    return removed


@contextlib.contextmanager
def _alone() -> Iterator[list[str]]:
    """Hold the lock and remove leftovers; yield the names of the interfaces whose pins were removed."""
    require_programs("tc", "mount")
    with pins.locked():
        yield _remove_leftovers()


def _folder(iface: str) -> Path:
    """Return where the pins of an interface of this network namespace are, or would be."""
    with IPRoute() as ip:
        return pins.folder_of(facts.index_of(ip, iface))


def _existing(iface: str) -> Path:
    """Return the folder of an interface's pins; raise UserError if there is none."""
    folder = _folder(iface)
    if not folder.exists():
        raise UserError(f"{iface} has no program of ids_repro: attach one first")
    return folder


def attached() -> list[str]:
    """Return the names of the interfaces of this network namespace that run a program of ids_repro."""
    with _alone():
        return [iface for folder in pins.all_folders() if (iface := _iface_of(folder))]


def find(iface: str) -> Live:
    """Open the program on an interface; close it by leaving its context.

    Raises
    ------
    UserError
        If the interface runs no program of ids_repro, or one that another version attached. Also without root or
        without a BPF file system.
    """
    with _alone():
        return Live(iface, _existing(iface))


def attach(iface: str, path: Path, mode: str, variant: Variant) -> None:
    """Put a program on an interface, where it stays.

    Parameters
    ----------
    iface : str
    path : Path
        A model's file (`models.model_file.save_model`), which also gives the number of classes.
    mode : {"xdp_drv", "xdp_skb", "tc"}
    variant : Variant
        Classifier, arithmetic, action and size of the flow table. Its hook is replaced by that of `mode`, its number
        of classes by that of the model.

    Raises
    ------
    UserError
        If the interface already runs a program, if it has no such hook, or if the model cannot be read. Then nothing
        is changed.
    """
    require_table(variant.flows)
    require_root("a program on an interface")
    model = read_model(path)
    variant = replace(variant, hook="tc" if mode == "tc" else "xdp", n_classes=model.n_classes)
    params = model.params(variant.params)
    with _alone():
        folder = _folder(iface)
        if folder.exists():
            there = pins.about(folder)
            if there.get("version") != VERSION:
                raise UserError(f"{iface} has a program of another version of ids_repro already: detach it first")
            net = f"{there['variant']['arithmetic']}, " * (there["variant"]["classifier"] == "nn")
            what = f"a program of ids_repro ({there['variant']['classifier']}, {net}{there['mode']})"
            raise UserError(f"{iface} has {what} already: swap its model, or detach it first")
        about = {"version": VERSION, "iface": iface, "mode": mode, "variant": asdict(variant), "since": time.time()}
        about["models"] = {"0": _name(path, model)}
        with Program(variant, params) as program, contextlib.ExitStack() as undo:
            undo.callback(_take_off, folder)
            pins.pin(folder, about, {pins.PROGRAM: program.fd, **program.fds})
            hooks.attach(program.fd, iface, mode)
            undo.pop_all()


def _name(path: Path, model: Model) -> dict:
    """Return what `Live.models` keeps of a model."""
    return {"file": path.name, "sha256": model.sha256()}


def swap(iface: str, path: Path) -> int:
    """Replace the model of the program on an interface under traffic; see `kernel.maps.Maps.swap`.

    Returns
    -------
    int
        The new generation.

    Raises
    ------
    UserError
        If the model tells another number of classes apart, or for the reasons of `find`. Then nothing is changed.
    """
    require_root("a program on an interface")
    model = read_model(path)
    with _alone(), Live(iface, _existing(iface)) as live:
        if model.n_classes != live.variant.n_classes:
            raise UserError(
                f"{path}: tells {model.n_classes} classes apart, the program on {iface} {live.variant.n_classes}: "
                "detach it, then attach with this model"
            )
        params = model.params(live.variant.params)
        live.require(params)
        live.name_model(live.generation + 1, _name(path, model))
        return live.swap(params)


def detach(iface: str) -> bool:
    """Take the program off an interface and remove its pins, and with them its flow table and counts.

    Returns
    -------
    bool
        True if the program ran until now. False if only its pins were left: the interface is gone, or somebody took
        the program off in another way.

    Raises
    ------
    UserError
        If the interface has neither a program of ids_repro nor pins of one.
    """
    with _alone() as removed:
        if iface in removed:
            return False
        _take_off(_existing(iface))
        return True
