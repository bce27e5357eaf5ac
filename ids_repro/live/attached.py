"""Attach a program that stays on an interface after this process ends; find it, swap its model, detach it.

Every function works on interfaces of the current network namespace. It first removes the pins of programs that no
longer run: `ip link` took them off, their interface is gone, or somebody killed the process that attached them.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from pyroute2 import IPRoute

from ..config import UserError
from ..kernel import attach as hooks
from ..kernel.program import Program
from ..kernel.variants import Variant, require_table, table_bytes
from ..models.model import Model
from ..models.model_file import read_model
from ..network import facts
from ..text import printable, rounded, say
from . import guard, offloads, pins
from .leftovers import iface_of, moved, remove_leftovers, take_off
from .program import VERSION, Live

MOST_NAME = 255  # characters of a model's name that are kept
GRACE_S = 5  # how long after its time a program that nobody confirmed may stay


class NotAttached(UserError):
    """The interface has no program of ids_repro."""


@contextlib.contextmanager
def _alone() -> Iterator[list[str]]:
    """Hold the lock and remove leftovers; yield the names of the interfaces whose pins were removed."""
    with pins.locked():
        with _uninterrupted():
            removed = remove_leftovers()
        yield removed


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait until the block ends: pyroute2 complains when it comes while a socket is opened."""
    if threading.current_thread() is not threading.main_thread():  # Ctrl-C does not come to other threads
        yield
        return
    came: list[tuple] = []
    before = signal.signal(signal.SIGINT, lambda *about: came.append(about))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came and callable(before):
        before(*came[0])


def _folder(iface: str) -> Path:
    """Return where the pins of an interface of this network namespace are, or would be."""
    try:
        with IPRoute() as ip:
            return pins.folder_of(facts.index_of(ip, iface))
    except UserError as error:
        raise UserError("; ".join([str(error), *filter(None, [moved().get(iface)])])) from None


def _existing(iface: str) -> Path:
    """Return the folder of an interface's pins; raise NotAttached if there is none."""
    folder = _folder(iface)
    if folder not in pins.all_folders():
        raise NotAttached(f"{iface} has no program of ids_repro: attach one first")
    return folder


def attached() -> list[str]:
    """Return the names of the interfaces of this network namespace that run a program of ids_repro."""
    with _alone():
        return [iface for folder in pins.all_folders() if (iface := iface_of(folder))]


def gone_elsewhere() -> list[str]:
    """Return what `leftovers.moved` says of programs that left this network namespace with their interfaces."""
    with _alone():
        return list(moved().values())


def find(iface: str) -> Live:
    """Open the program on an interface; close it by leaving its context.

    Raises
    ------
    NotAttached
        If the interface runs no program of ids_repro.
    UserError
        If another version attached the program. Also without the capabilities or a BPF file system.
    """
    with _alone(), _uninterrupted():
        return Live(iface, _existing(iface))


def attach(
    iface: str,
    path: Path,
    mode: str,
    variant: Variant,
    yes_drop: bool = False,
    confirm_s: float = 0,
    offloads_off: bool = False,
) -> Model:
    """Put a program on an interface, where it stays.

    Parameters
    ----------
    iface : str
    path : Path
        A model's file (`models.model_file.save_model`).
    mode : {"xdp_drv", "xdp_skb", "tc", "tc_both"}
    variant : Variant
        How to build it, but for what the mode, the interface and the model decide.
    yes_drop : bool
        Whether to attach even what `guard.require_harmless` refuses.
    confirm_s : float
        If above 0, the caller must call `confirm` in this time [s], or detach. After a kill the next command does it.
    offloads_off : bool
        Whether to turn off, until `detach`, what merges packets before the program sees them.

    Returns
    -------
    Model

    Raises
    ------
    UserError
        If the interface runs a program or does not take one, or the model cannot be read. Then nothing is changed.
    """
    require_table(variant.flows)
    model = read_model(path)
    hook = mode if mode in hooks.TC_HOOKS else "xdp"
    variant = replace(_for_model(variant, path, model), hook=hook, link=facts.link_of(iface))
    if not yes_drop:
        guard.require_harmless(path, model, variant)
    with _alone():
        about = {"iface": iface, "mode": mode, "models": {"0": _name(path, model)}}
        _put_on(about, variant, model.params(variant.params), confirm_s, offloads_off)
    return model


def _put_on(about: dict, variant: Variant, params: bytes, confirm_s: float, offloads_off: bool) -> None:
    """Build a program, pin it, turn offloads off and attach it; undo all of it if that fails."""
    folder = _folder(about["iface"])
    if folder in pins.all_folders():
        raise UserError(f"{about['iface']} has {_there(folder)}")
    about |= {"version": VERSION, "variant": asdict(variant), "since": time.time()}
    about["offloads"] = offloads.to_turn_off(about["iface"], about["mode"]) if offloads_off else []
    about["confirm_by"] = _deadline(confirm_s)
    table = rounded(table_bytes(variant.flows) / 1e6, ",.1f")
    say(f"{about['iface']}: a flow table for {variant.flows:,} flows, which takes {table} MB of memory")
    with Program(variant, params) as program, contextlib.ExitStack() as undo:
        with IPRoute() as ip:
            index = facts.index_of(ip, about["iface"])
            about["made_clsact"] = hooks.needs_clsact(ip, index, hooks.TC_HOOKS.get(about["mode"], ()))
        pins.pin(folder, about, {pins.PROGRAM: program.fd, **program.fds})
        undo.callback(take_off, folder)
        offloads.turn_off(about["offloads"])
        made = hooks.attach(program.fd, about["iface"], about["mode"], pins.place_of(folder)[1])
        # Building it took some of the time.
        pins.rewrite(folder, about | {"confirm_by": _deadline(confirm_s), "made_clsact": made, "attached": True})
        undo.pop_all()


def _deadline(confirm_s: float) -> float | None:
    return time.monotonic() + confirm_s + GRACE_S if confirm_s else None


def _there(folder: Path) -> str:
    """Return in words what an interface already has, and what can be done."""
    there = pins.about(folder)
    if there.get("version") != VERSION:
        return "a program of another version of ids_repro already: detach it first"
    net = f"{there['variant']['arithmetic']}, " * (there["variant"]["classifier"] == "nn")
    what = f"a program of ids_repro ({there['variant']['classifier']}, {net}{there['mode'].replace('_', '-')})"
    return f"{what} already: swap its model, or detach it first"


def _for_model(variant: Variant, path: Path, model: Model) -> Variant:
    """Return the variant that runs a model; refuse an arithmetic that a detector does not have.

    The classifier "none" stands for the net of the paper's models, and for the tree of a detector, which finds more.
    """
    if variant.classifier == "none":
        variant = replace(variant, classifier="nn" if model.detector is None else "dt")
    if model.detector is None:
        return replace(variant, n_classes=model.n_classes, hidden=model.hidden)
    if variant.arithmetic == "q16":
        raise UserError(f"{path}: a detector, whose net is in arithmetic log2 only: leave --arithmetic out")
    return replace(variant, n_classes=model.n_classes, evidence=True, arithmetic="log2", hidden=model.hidden)


def confirm(iface: str) -> None:
    """Keep the program on an interface, which would be taken off by itself otherwise; see `attach`.

    Raises
    ------
    UserError
        For the reasons of `find`.
    """
    with _alone(), Live(iface, _existing(iface)) as live:
        live.about["confirm_by"] = None
        pins.rewrite(live.folder, live.about)


def _name(path: Path, model: Model) -> dict:
    """Return what `Live.models` keeps of a model; its file may say and be called anything."""
    length = model.about.get("mean_length")
    length = length if isinstance(length, int | float) else None
    return {"file": printable(path.name, most=MOST_NAME), "sha256": model.sha256(), "mean_length": length}


def swap(iface: str, path: Path, yes_drop: bool = False) -> int:
    """Replace the model of the program on an interface under traffic; see `kernel.maps.Maps.swap`.

    Parameters
    ----------
    iface : str
    path : Path
        The new model's file.
    yes_drop : bool
        See `attach`.

    Returns
    -------
    int
        The new generation.

    Raises
    ------
    UserError
        If the model tells another number of classes apart, is a detector where the other is none or the other way
        round, or for the reasons of `find` and `guard.require_harmless`. Then nothing is changed.
    """
    model = read_model(path)
    with _alone(), Live(iface, _existing(iface)) as live:
        if model.n_classes != live.variant.n_classes:
            raise UserError(
                f"{path}: tells {model.n_classes} classes apart, the program on {iface} {live.variant.n_classes}: "
                "detach it, then attach with this model"
            )
        if (model.detector is not None) != live.variant.evidence:
            here, there = ("a detector", "not built for one") if model.detector else ("no detector", "built for one")
            raise UserError(f"{path}: is {here}, but the program on {iface} is {there}: detach it, then attach this")
        if live.variant.classifier == "nn" and model.hidden != live.variant.hidden:
            here, there = ("-".join(map(str, hidden)) for hidden in (model.hidden, live.variant.hidden))
            raise UserError(
                f"{path}: its net has hidden layers of {here} neurons, that of the program on {iface} {there}: detach "
                "it, then attach this"
            )
        if not yes_drop:
            guard.require_harmless(path, model, live.variant)
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
        take_off(_existing(iface))
        return True
