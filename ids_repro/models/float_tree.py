"""The float tree as arrays, which hold no code: taken from scikit-learn's tree, and made into one again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..native.layouts import N_FEATURES, TREE_DEPTH, TREE_NODES

if TYPE_CHECKING:
    from sklearn.tree import DecisionTreeClassifier

# What scikit-learn keeps of a node, by the names that it uses, and the type of each number.
NODE = {
    "left_child": np.dtype("i8"),
    "right_child": np.dtype("i8"),
    "feature": np.dtype("i8"),
    "threshold": np.dtype("f8"),
    "impurity": np.dtype("f8"),
    "n_node_samples": np.dtype("i8"),
    "weighted_n_node_samples": np.dtype("f8"),
    "missing_go_to_left": np.dtype("u1"),
}
# A node's word has 12 bits for the number of its right child.
MOST_TREE = f"the kernel's has at most {TREE_DEPTH} and {TREE_NODES:,}"
LEAF = -1  # scikit-learn's number of a leaf's children


@dataclass(frozen=True)
class FloatTree:
    """The decision tree that scikit-learn trained, as arrays.

    Node 0 is the root, and every child has a higher number than its parent.

    Parameters
    ----------
    nodes : dict of str to ndarray of shape (n_nodes,)
        The keys and dtypes are those of `NODE`. The children of a leaf are -1.
    values : ndarray of shape (n_nodes, n_classes), float64
        Share of each class among the training vectors that reached a node.
    classes : ndarray of shape (n_classes,), int64
        Number of the class that each column of `values` stands for.
    """

    nodes: dict[str, np.ndarray]
    values: np.ndarray
    classes: np.ndarray

    @classmethod
    def of(cls, fitted: DecisionTreeClassifier) -> FloatTree:
        """Take the arrays out of a tree that scikit-learn trained.

        Parameters
        ----------
        fitted : DecisionTreeClassifier
            Fitted on one target, whose classes are integers.
        """
        state = fitted.tree_.__getstate__()
        nodes = {name: np.array(state["nodes"][name], dtype) for name, dtype in NODE.items()}
        return cls(nodes, state["values"][:, 0].copy(), fitted.classes_.astype(np.int64))

    def over(self, features: np.ndarray) -> FloatTree:
        """Return the same tree over all features, when it was trained on those of these indices alone."""
        trained = self.nodes["feature"]
        named = np.where(self._inner(), features[np.where(self._inner(), trained, 0)], trained)
        return replace(self, nodes=self.nodes | {"feature": named})

    def fitted(self, seed: int) -> DecisionTreeClassifier:
        """Make the tree of scikit-learn again; it predicts as the one that was trained, bit for bit.

        Parameters
        ----------
        seed : int
            The seed with which it was trained.
        """
        from sklearn.tree import DecisionTreeClassifier
        from sklearn.tree._tree import NODE_DTYPE, Tree

        nodes = np.zeros(len(self.values), NODE_DTYPE)
        for name, column in self.nodes.items():
            nodes[name] = column
        n_classes = np.array([len(self.classes)], np.intp)
        made = DecisionTreeClassifier(max_depth=self.depth, random_state=seed)
        made.n_features_in_ = made.max_features_ = N_FEATURES
        made.n_outputs_, made.n_classes_, made.classes_ = 1, np.int64(len(self.classes)), self.classes
        made.tree_ = Tree(N_FEATURES, n_classes, 1)
        values = np.ascontiguousarray(self.values[:, None])
        made.tree_.__setstate__({"max_depth": self.depth, "node_count": len(nodes), "nodes": nodes, "values": values})
        return made

    @property
    def depth(self) -> int:
        """Number of steps from the root to the farthest leaf."""
        level = np.zeros(len(self.values), np.int64)
        for node in np.flatnonzero(self._inner()):
            level[[self.nodes["left_child"][node], self.nodes["right_child"][node]]] = level[node] + 1
        return int(level.max())

    @property
    def n_leaves(self) -> int:
        """Number of leaves."""
        return int(np.count_nonzero(~self._inner()))

    def scores(self, n_classes: int, unit: float) -> np.ndarray:
        """Return how much each node looks like an attack: log((a + 1/2) / (n + 1/2)) of its training vectors.

        Parameters
        ----------
        n_classes : int
            Number of the task's classes. Only with two there is a class "attack"; otherwise every score is 0.
        unit : float
            What a score of 1 stands for.

        Returns
        -------
        ndarray of shape (n_nodes,), int64
        """
        if n_classes != 2:
            return np.zeros(len(self.values), np.int64)
        counts = np.zeros((len(self.values), 2))
        counts[:, self.classes] = self.values * self.nodes["n_node_samples"][:, None]
        return np.round(np.log((counts[:, 1] + 0.5) / (counts[:, 0] + 0.5)) / unit).astype(np.int64)

    def _inner(self) -> np.ndarray:
        """Return which nodes have children; bool of shape (n_nodes,)."""
        return self.nodes["left_child"] != LEAF

    def fault(self, n_classes: int) -> str | None:
        """Return in words what is wrong with arrays that somebody else made; None if they are a tree.

        scikit-learn and the conversion to integers follow the children without a check, so a wrong number would read
        memory that is no node.

        Parameters
        ----------
        n_classes : int
            Number of the task's classes.
        """
        inner, nodes = self._inner(), self.nodes
        parents, n = np.flatnonzero(inner), len(self.values)
        left, right = nodes["left_child"][inner], nodes["right_child"][inner]
        if np.any(nodes["right_child"][~inner] != LEAF) or np.any(left <= parents) or np.any(right <= parents):
            return "a node index of the tree is out of range: a child must come after its parent"
        if not np.array_equal(np.sort([*left, *right]), np.arange(1, n)):
            return f"a node index of the tree is out of range: each of its nodes 1 to {n - 1} must have one parent"
        if np.any(nodes["feature"][inner] < 0) or np.any(nodes["feature"][inner] >= N_FEATURES):
            return f"a feature index of the tree is out of range: there are {N_FEATURES} features"
        if np.any(np.diff(self.classes) <= 0) or self.classes[0] < 0 or self.classes[-1] >= n_classes:
            return f"a class of the tree is out of range: the task has {n_classes} classes"
        floats = [self.values, *(nodes[name] for name, dtype in NODE.items() if dtype.kind == "f")]
        if not all(np.isfinite(one).all() for one in floats):
            return "a number of the tree is not finite"
        if np.any(self.values < 0) or np.any(nodes["n_node_samples"] < 1):
            return "the tree has a negative share or a node without training vectors"
        if self.depth > TREE_DEPTH or n > TREE_NODES:
            return f"the tree has depth {self.depth} and {n:,} nodes; {MOST_TREE}"
        return None
