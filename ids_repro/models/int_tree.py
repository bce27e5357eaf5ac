"""The decision tree with integer thresholds: its conversion, and the NumPy twin of bpf/int_tree.h."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..config import CLASSES, NORMAL, UserError
from ..data.features import as_float
from ..native.layouts import N_FEATURES, TREE, TREE_DEPTH, TREE_LEAF, TREE_NODES
from .fixed import NO_FLAG
from .float_tree import MOST_TREE, FloatTree

THRESHOLD_END = 1 << 47  # a threshold is below this, and at least -2^47
SCORE_UNIT = 1 / 64  # a score of 64 stands for odds of e to 1


@dataclass(frozen=True)
class IntTree:
    """The tree on Q16 features, as an array of nodes.

    Node 0 is the root. At an inner node i the walk goes left to node i + 1 if x <= threshold, otherwise right.

    Parameters
    ----------
    threshold : ndarray of shape (n_nodes,), int64
        Of an inner node: its threshold, Q16, within 48 bits. Of a leaf: its score.
    feature : ndarray of shape (n_nodes,), int64
        Index of the feature that an inner node compares; 15 marks a leaf.
    low : ndarray of shape (n_nodes,), int64
        Of an inner node: its right child. Of a leaf: its class.
    n_classes : int
        Number of the task's classes, 2 or 7.
    flag_at : int
        Score at which a detector flags a flow.
    """

    threshold: np.ndarray
    feature: np.ndarray
    low: np.ndarray
    n_classes: int
    flag_at: int = NO_FLAG

    def leaves(self, x: np.ndarray) -> np.ndarray:
        """Return the leaf that each vector of shape (n, 12), int64, Q16 comes to; int64 of shape (n,)."""
        node, every = np.zeros(len(x), np.int64), np.arange(len(x))
        for _ in range(TREE_DEPTH):
            inner = self.feature[node] != TREE_LEAF
            right = x[every, np.where(inner, self.feature[node], 0)] > self.threshold[node]
            node = np.where(inner, np.where(right, self.low[node], node + 1), node)
        return node

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Classify features of shape (n, 12), int64, Q16; int64 of shape (n,)."""
        return self.low[self.leaves(x)]

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Return 0 and the leaf's score if there are two classes, else zeros; int64 of shape (n, n_classes)."""
        out = np.zeros((len(x), self.n_classes), np.int64)
        if self.n_classes == 2:
            out[:, 1] = self.threshold[self.leaves(x)]
        return out

    def to_bytes(self) -> bytes:
        """Return the tree as the struct ids_dt that C reads."""
        out = np.zeros((), TREE)
        out["flag_at"] = self.flag_at
        out["node"][: len(self.low)] = self.threshold << 16 | self.feature << 12 | self.low
        return out.tobytes()

    @classmethod
    def from_struct(cls, struct: np.ndarray, n_classes: int) -> IntTree:
        """Make a tree of the struct that `to_bytes` wrote.

        Parameters
        ----------
        struct : ndarray of shape (), dtype TREE
            The struct ids_dt.
        n_classes : int
            Number of the task's classes, which the struct does not depend on.
        """
        node = struct["node"][: np.flatnonzero(np.append(1, struct["node"]))[-1]]  # unused nodes are zero
        return cls(node >> 16, node >> 12 & 15, node & (TREE_NODES - 1), n_classes, int(struct["flag_at"]))

    def fault(self, n_classes: int) -> str | None:
        """Return in words which index is out of range; None if all are within theirs.

        Parameters
        ----------
        n_classes : int
            Number of the task's classes.
        """
        n, detects = len(self.low), self.flag_at != NO_FLAG
        inner = np.flatnonzero(self.feature != TREE_LEAF)
        most = len(CLASSES) if detects else n_classes
        if np.any(self.feature[inner] >= N_FEATURES):
            return f"a feature index of dt is out of range: there are {N_FEATURES} features"
        if not n or np.any(self.low[inner] <= inner + 1) or np.any(np.append(inner + 1, self.low[inner]) >= n):
            return "a node index of dt is out of range: a child must come after its parent"
        leaf = np.delete(self.low, inner)
        if np.any(leaf >= most) or (detects and np.any(leaf == NORMAL)):
            return f"a class of dt is out of range: there are {most} classes, and a detector's leaves name attacks"
        level = np.zeros(n, np.int64)
        for node in inner:  # children come after their parents
            for child in (node + 1, self.low[node]):
                level[child] = max(level[child], level[node] + 1)
        deep = f"dt is {level.max()} deep, and the kernel walks {TREE_DEPTH} steps"
        return deep if level.max() > TREE_DEPTH else None


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
        Q16; -1 if even 0 goes right. No feature reaches 2^47, so a higher threshold becomes 2^47 - 1.
    """
    low = np.full(len(threshold), -1, np.int64)  # goes left: no feature is negative
    high = np.full(len(threshold), THRESHOLD_END, np.int64)  # goes right
    while np.any(high - low > 1):
        middle = low + (high - low) // 2
        left = as_float(middle).astype(np.float32) <= threshold
        low, high = np.where(left, middle, low), np.where(left, high, middle)
    return low


def quantize_tree(tree: FloatTree, n_classes: int, kinds: np.ndarray | None = None) -> IntTree:
    """Convert a tree of scikit-learn to integers. The result gives every vector the class that the tree gives it.

    Parameters
    ----------
    tree : FloatTree
        Fitted on features in their own units.
    n_classes : int
        Number of the task's classes. With two, a leaf's score is log((a + 1/2) / (n + 1/2)) of its a attacks and n
        normal vectors in training, in units of `SCORE_UNIT`, rounded.
    kinds : ndarray of shape (n_nodes,), int, optional
        Classes of the leaves, instead of those that the tree gives.

    Raises
    ------
    UserError
        If the tree is deeper than 16 or has more than 4,096 nodes.
    """
    left, right = tree.nodes["left_child"], tree.nodes["right_child"]
    if tree.depth > TREE_DEPTH or len(left) > TREE_NODES:
        raise UserError(f"the tree has depth {tree.depth} and {len(left):,} nodes; {MOST_TREE}")
    inner = left >= 0
    order, waiting = [], [0]
    while waiting:  # the left child comes next, the right one waits
        order.append(waiting.pop())
        if inner[order[-1]]:
            waiting += [right[order[-1]], left[order[-1]]]
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    classes = tree.classes[tree.values.argmax(axis=1)] if kinds is None else kinds
    numbers = np.where(inner, integer_threshold(tree.nodes["threshold"]), tree.scores(n_classes, SCORE_UNIT))
    features = np.where(inner, tree.nodes["feature"], TREE_LEAF)
    low = np.where(inner, place[right], classes)
    return IntTree(numbers[order], features[order], low[order], n_classes)
