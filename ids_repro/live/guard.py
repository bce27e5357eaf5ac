"""Keep users from cutting themselves off: refuse models of many false alarms, and have a filter confirmed."""

from __future__ import annotations

import os
import select
import sys
import time
from pathlib import Path

from ..config import UserError
from ..kernel.variants import Variant
from ..models.model import Model
from ..progress import show_progress
from ..text import rounded

CUTTING = ("filter", "redirect")  # actions that keep packets from the stack
MOST_FALSE_ALARMS = 0.05  # of normal flows


def require_harmless(path: Path, model: Model, variant: Variant) -> None:
    """Refuse a model that would cut off normal traffic.

    Parameters
    ----------
    path : Path
        The model's file, which the error names.
    model : Model
    variant : Variant
        The program that it is for.

    Raises
    ------
    UserError
        If packets of attacks do not reach the stack, and the model is no detector, or one that flags more than 5 % of
        normal flows, or learnt from other directions of flows than the program sees: then nobody knows how many.
    """
    if variant.action not in CUTTING:
        return
    if model.detector is None:
        raise UserError(
            f"{path}: this model is no detector. It has no threshold, and such models raise an alarm in nearly every "
            f"normal flow; {variant.action} would cut them off. Use a model of train-detector, or give --yes-drop"
        )
    share = model.detector[variant.params].false_alarms
    if share > MOST_FALSE_ALARMS:
        raise UserError(
            f"{path}: {rounded(share, '.1%')} of normal flows were flagged when its threshold was chosen; "
            f"{variant.action} would cut them off. "
            f"Train it for a budget of at most {rounded(MOST_FALSE_ALARMS, '.0%')}, or give --yes-drop"
        )
    if other := other_directions(model, variant.hook):
        raise UserError(
            f"{path}: this detector {other}. It may flag far more normal flows than in training, and {variant.action} "
            "would cut them off; --yes-drop overrides this"
        )


def other_directions(model: Model, hook: str) -> str:
    """Return how the directions of flows that a detector learnt from differ from those that a program sees, or ""."""
    learnt, seen = bool(model.about.get("arriving_at")), hook != "tc_both"  # one direction only
    if model.detector is None or learnt == seen:
        return ""
    one, both = "one direction of flows", "both directions of flows"
    what, where = (one, both) if learnt else (both, one)
    remedy = "attach it by another --hook" if learnt else "attach it by --hook tc-both, or train with --arriving-at"
    return f"learnt {what}, and the program sees {where}: {remedy}"


def is_confirmed(seconds: float) -> bool:
    """Wait until the user presses Enter, and show how much time is left.

    Parameters
    ----------
    seconds : float
        How long to wait.

    Returns
    -------
    bool
        False if the time passed. If the input has ended, the user cannot confirm any more.
    """
    begin, text = time.monotonic(), "press Enter to keep it, or it is detached"
    inputs = [sys.stdin.fileno()] if sys.stdin else []
    with show_progress(total=round(seconds), desc=text, bar_format="{desc}: {bar}| {n_fmt} of {total_fmt} s") as bar:
        while (left := begin + seconds - time.monotonic()) > 0:
            ready, _, _ = select.select(inputs, [], [], min(left, 1.0))
            if ready:
                if os.read(inputs[0], 4096):
                    return True
                inputs = []  # the end of the input
            bar.update(round(time.monotonic() - begin) - bar.n)
    return False
