"""Find the interface of each pinned program, wherever it was moved, and remove pins of programs that run no longer.

The kernel keeps an XDP program on an interface that is renamed or moved to another network namespace. So a program is
looked for by its id. TC programs do not outlive a move.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..kernel import attach as hooks
from ..kernel.info import prog_info
from ..network.hosts import in_netns
from ..require import capable
from . import offloads, pins

T = TypeVar("T")
SEES_ALL = ("CAP_SYS_ADMIN", "CAP_SYS_PTRACE")  # to look into every network namespace


def iface_of(folder: Path) -> str | None:
    """Return the interface's present name; None if it is gone or belongs to another network namespace."""
    inode, index = pins.place_of(folder)
    try:
        return socket.if_indextoname(index) if inode == pins.namespace() else None
    except OSError:
        return None


def take_off(folder: Path) -> None:
    """Detach the pinned program if it is attached, put its offloads back, then remove the pins."""
    iface, about = iface_of(folder), pins.about(folder)
    if iface and (folder / pins.PROGRAM).exists():
        with pins.opened(folder, pins.PROGRAM) as fd:
            for mode in (about["mode"],) if "mode" in about else (*hooks.XDP_FLAGS, "tc"):  # its description is damaged
                hooks.detach(fd, iface, mode, about.get("made_clsact", False), about.get("attached", False))
    if pins.place_of(folder)[0] == pins.namespace():
        offloads.put_back(about.get("offloads", ()))
    pins.remove(folder)


def remove_leftovers() -> list[str]:
    """Remove pins of programs that no longer run, and what nobody confirmed; return the names of the interfaces.

    Pins of a program whose interface was moved get the name of its present place.
    """
    removed, here = [], pins.namespace()
    for folder in pins.all_folders():
        place = _place(folder)
        late = time.monotonic() > (pins.about(place or folder).get("confirm_by") or np.inf)
        if place is None or (late and pins.place_of(place)[0] == here):
            removed.append(iface_of(place or folder) or pins.about(folder).get("iface"))
            take_off(place or folder)
    return removed


def _place(folder: Path) -> Path | None:
    """Return the pins of a program, renamed if its interface was moved; None if the program runs nowhere.

    Who may not look into every network namespace can't know that of a program whose interface is not to be seen. It
    counts as running then.
    """
    inode, iface = pins.place_of(folder)[0], iface_of(folder)
    number = _number(folder)
    if iface and number in {one for _, one in hooks.programs(iface)}:
        return folder
    if number in (found := hooks.xdp_programs()):
        return _renamed(folder, pins.namespace(), found[number])
    if iface or (number is None and inode == pins.namespace()):
        return None
    if not all(map(capable, SEES_ALL)):
        return folder
    namespaces = pins.living_namespaces()
    if inode != pins.namespace() and inode in namespaces:
        return folder
    for other in namespaces:
        if number in (found := _within(other, hooks.xdp_programs) or {}):
            return _renamed(folder, other, found[number])
    return None


def moved() -> dict[str, str]:
    """Return a sentence on each program that left this network namespace with its interface, by that one's name."""
    found = {}
    for folder in pins.all_folders():
        about, inode = pins.about(folder), pins.place_of(folder)[0]
        if about.get("moved_from") == pins.namespace() != inode:
            path = pins.namespace_path(inode)
            see = f": 'nsenter --net={path} .venv/bin/python -m ids_repro status' shows it" if path else ""
            found[about["iface"]] = f"{about['iface']} was moved to another network namespace with its program{see}"
    return found


def _number(folder: Path) -> int | None:
    """Return the kernel's id of the pinned program; None if its process was killed before it was pinned."""
    if not (folder / pins.PROGRAM).exists():
        return None
    with pins.opened(folder, pins.PROGRAM) as fd:
        return int(prog_info(fd)["id"])


def _renamed(folder: Path, inode: int, index: int) -> Path:
    """Give pins the name of the program's new place, and put back the offloads of devices that stayed behind."""
    left, old = pins.place_of(folder)
    about = pins.about(folder)
    stayed = [setting for setting in about.get("offloads", ()) if setting[0] != old]
    if stayed:
        _within(left, offloads.put_back, stayed)
    if about:
        kept = {"offloads": [(index, *rest) for at, *rest in about.get("offloads", ()) if at == old]}
        pins.rewrite(folder, about | kept | ({"moved_from": left} if left != inode else {}))
    return folder.rename(pins.FOLDER / f"{inode}-{index}")


def _within(inode: int, function: Callable[..., T], *args: object) -> T | None:
    """Call a function inside a network namespace; return None if that has gone."""
    try:
        with pins.living_namespaces()[inode].open() as file:
            return in_netns(file.fileno(), function, *args)
    except (KeyError, OSError):
        return None
