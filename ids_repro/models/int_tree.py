"""The decision tree with integer thresholds: its conversion, and the NumPy twin of bpf/int_tree.h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..config import UserError
from ..data.features import as_float
from ..native.layouts import N_FEATURES, TREE, TREE_DEPTH

if TYPE_CHECKING:
    from sklearn.tree import DecisionTreeClassifier

ALWAYS_LEFT = np.iinfo(np.int64).max  # a threshold that sends every feature left


@dataclass(frozen=True)
class IntTree:
    """The tree as a complete binary tree of depth 5 on Q16 features.

    Node 1 is the root. From node i the walk goes left to node 2i if x <= threshold, otherwise right to node 2i + 1. A
    leaf above the last level is continued down to it by nodes that send every feature left.

    Parameters
    ----------
    threshold : ndarray of shape (32,), int64
        Threshold of node i = 1..31, Q16. Entry 0 is unused.
    feature : ndarray of shape (32,), uint8
        Index of the feature that node i compares.
    leaf : ndarray of shape (32,), uint8
        Class of node 32 + i.
    """

    threshold: np.ndarray
    feature: np.ndarray
    leaf: np.ndarray

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Classify features of shape (n, 12), int64, Q16; int64 of shape (n,)."""
        node = np.ones(len(x), np.int64)
        for _ in range(TREE_DEPTH):
            node = 2 * node + (x[np.arange(len(x)), self.feature[node]] > self.threshold[node])
        return self.leaf[node - len(self.leaf)].astype(np.int64)

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Return an array of shape (n, 0), because a tree has no logits."""
        return np.zeros((len(x), 0), np.int64)

    def to_bytes(self) -> bytes:
        """Return the tree as the struct ids_dt that C reads."""
        out = np.zeros((), TREE)
        out["threshold"], out["feature"], out["leaf"] = self.threshold, self.feature, self.leaf
        return out.tobytes()

    @classmethod
    def from_struct(cls, struct: np.ndarray, n_classes: int) -> IntTree:
        """Make a tree of the struct that `to_bytes` wrote.

        Parameters
        ----------
        struct : ndarray of shape (), dtype TREE
            The struct ids_dt.
        n_classes : int
            Number of classes, which the struct does not depend on.
        """
        return cls(*(struct[name].copy() for name in ("threshold", "feature", "leaf")))

    def fault(self, n_classes: int) -> str | None:
        """Return in words which index is out of range; None if all are within theirs.

        Parameters
        ----------
        n_classes : int
            Number of the task's classes.
        """
        if np.any(self.feature >= N_FEATURES):
            return f"a feature index of dt is out of range: there are {N_FEATURES} features"
        if np.any(self.leaf >= n_classes):
            return f"a class of dt is out of range: the task has {n_classes} classes"
        return None


def integer_threshold(threshold: np.ndarray) -> np.ndarray:
    """Find the largest Q16 value that scikit-learn sends left at a float threshold.

    scikit-learn rounds the feature to float32 and tests ``float32(x) <= threshold``. Both steps are monotone, so one
    integer separates left from right. Bisection finds it with the test that scikit-learn makes.

    Parameters
    ----------
    threshold : ndarray of shape (n,), float64
        Thresholds of a fitted tree's nodes, in the features' own units.

    Returns
    -------
    ndarray of shape (n,), int64
        Q16; -1 if even 0 goes right.
    """
    low = np.full(len(threshold), -1, np.int64)  # goes left: no feature is negative
    high = np.full(len(threshold), 1 << 62, np.int64)  # goes right
    while np.any(high - low > 1):
        middle = low + (high - low) // 2
        left = as_float(middle).astype(np.float32) <= threshold
        low, high = np.where(left, middle, low), np.where(left, high, middle)
    return low


def quantize_tree(tree: DecisionTreeClassifier) -> IntTree:
    """Convert a tree of scikit-learn to integers. The result gives every vector the class that the tree gives it.

    Parameters
    ----------
    tree : DecisionTreeClassifier
        Fitted on features in their own units.

    Raises
    ------
    UserError
        If the tree is deeper than 5.
    """
    t = tree.tree_
    if t.max_depth > TREE_DEPTH:
        raise UserError(f"the tree has depth {t.max_depth}; the kernel's has {TREE_DEPTH}")
    size = 1 << TREE_DEPTH
    out = IntTree(np.full(size, ALWAYS_LEFT), np.zeros(size, np.uint8), np.zeros(size, np.uint8))
    limits = integer_threshold(t.threshold)

    def place(source: int, node: int) -> None:
        leaf = t.children_left[source] < 0
        if node >= size:
            out.leaf[node - size] = tree.classes_[t.value[source, 0].argmax()]
            return
        if not leaf:
            out.threshold[node], out.feature[node] = limits[source], t.feature[source]
        place(source if leaf else t.children_left[source], 2 * node)
        place(source if leaf else t.children_right[source], 2 * node + 1)

    place(0, 1)
    return out
