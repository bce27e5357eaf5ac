"""A decision tree made by hand, for tests that need to know the verdict on a packet beforehand."""

import numpy as np

from ids_repro import config
from ids_repro.models.int_tree import ALWAYS_LEFT, IntTree
from ids_repro.native.layouts import TREE_DEPTH, Q

BLOCKED = 9  # the destination port that `port_tree` calls an attack


def port_tree(n_classes: int) -> IntTree:
    """Return a tree that calls a packet to port BLOCKED an attack and every other packet normal."""
    dport, size = 1, 1 << TREE_DEPTH
    normal, attack = (0, 1) if n_classes == 2 else (config.NORMAL, 2)
    tree = IntTree(np.full(size, ALWAYS_LEFT), np.zeros(size, np.uint8), np.full(size, normal, np.uint8))
    for node, limit in ((1, BLOCKED), (2, BLOCKED - 1)):  # dport <= 9, then dport <= 8
        tree.feature[node], tree.threshold[node] = dport, limit << Q
    tree.leaf[size // 4 : size // 2] = attack
    return tree
