"""The shape of a model of one's own: other hidden layers, another depth of the tree, fewer features than the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from ..config import UserError, number
from ..data.features import FEATURES
from ..native.layouts import PAPER_NET, Hidden

DEPTH = 5  # of the paper's tree, Sec. V-A1
MOST_HIDDEN = 3  # hidden layers for which there is C


def read_hidden(value: Any) -> Hidden:
    """Return the widths of the hidden layers that a user gives.

    Parameters
    ----------
    value : sequence of int, int or str
        Such as [32, 16], 32, or "32-16".

    Raises
    ------
    UserError
        If there are none or more than three, or one is not within its LIMITS.
    """
    found = [part.strip() for part in value.split("-")] if isinstance(value, str) else value
    found = [found] if isinstance(found, Real) else found
    if not isinstance(found, Sequence) or not 1 <= len(found) <= MOST_HIDDEN:
        raise UserError(f"hidden is {value!a:.40}: give one to {MOST_HIDDEN} hidden layers, such as 32-16")
    return tuple(int(number("hidden", width)) for width in found)


def read_left_out(value: Any) -> tuple[str, ...]:
    """Return the features that a user leaves out, in the paper's order.

    Parameters
    ----------
    value : sequence of str, or str
        Such as ["sport", "dport"] or "sport,dport".

    Raises
    ------
    UserError
        If they are no names of features, or if none would be left.
    """
    value = [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value or ()
    if not isinstance(value, Sequence):
        raise UserError(f"leave_out is {value!a:.40}: give names of features, such as sport,dport")
    names = list(value)
    for name in names:
        if name not in FEATURES:
            raise UserError(f"leave_out: there is no feature {name!a:.40}; there are {', '.join(FEATURES)}")
    if len(set(names)) == len(FEATURES):
        raise UserError("leave_out: no feature is left; leave in at least one")
    return tuple(name for name in FEATURES if name in names)


@dataclass(frozen=True)
class Shape:
    """What a user chooses of a model; by default it is the paper's (`PAPER`; of a detector, `DETECTOR`).

    Parameters
    ----------
    hidden : tuple of int
        Widths of the hidden layers of the net: one to three, each from 8 to 64.
    tree_depth : int
        Steps of the tree's longest walk, 1 to 16.
    leave_out : tuple of str
        Features that neither the net nor the tree sees.
    """

    hidden: Hidden = PAPER_NET
    tree_depth: int = DEPTH
    leave_out: tuple[str, ...] = ()

    @classmethod
    def read(cls, hidden: Any = PAPER_NET, tree_depth: Any = DEPTH, leave_out: Any = ()) -> Shape:
        """Return the shape that a user gives as parameters of a notebook or options of a command.

        Raises
        ------
        UserError
            As `read_hidden` and `read_left_out` do, or if the depth is not within its LIMITS.
        """
        return cls(read_hidden(hidden), int(number("tree_depth", tree_depth)), read_left_out(leave_out))

    @property
    def kept(self) -> np.ndarray:
        """Indices of the features that are not left out."""
        return np.array([at for at, name in enumerate(FEATURES) if name not in self.leave_out])

    def unlike(self, usual: Shape) -> str:
        """Return in words how it differs from the usual shape, which leaves no feature out; "" if it does not."""
        parts = [f"net {'-'.join(map(str, self.hidden))}"] * (self.hidden != usual.hidden)
        parts += [f"tree of depth {self.tree_depth}"] * (self.tree_depth != usual.tree_depth)
        parts += [f"without {' '.join(self.leave_out)}"] * bool(self.leave_out)
        return ", ".join(parts)


PAPER = Shape()
DETECTOR = Shape(tree_depth=16)


def of_all_features(weights: Sequence[np.ndarray], kept: np.ndarray) -> list[np.ndarray]:
    """Return the weights of a net over all features, with zeros for those that were left out in training.

    Parameters
    ----------
    weights : sequence of ndarray of shape (M_{l-1}, M_l)
    kept : ndarray of int
        See `Shape.kept`.
    """
    first = np.zeros((len(FEATURES), weights[0].shape[1]), weights[0].dtype)
    first[kept] = weights[0]
    return [first, *weights[1:]]
