"""Trees made by hand, for tests that need to know the verdict on a packet beforehand."""

import numpy as np

from ids_repro import config
from ids_repro.models.fixed import NO_FLAG
from ids_repro.models.int_tree import IntTree
from ids_repro.native.layouts import TREE_LEAF, Q

BLOCKED = 9  # the destination port that `port_tree` calls an attack


def port_tree(n_classes: int, flag_at: int = NO_FLAG) -> IntTree:
    """Return a tree that calls a packet to port BLOCKED an attack, of score 100, and others normal, of score -100."""
    dport, leaf = 1, TREE_LEAF
    normal, attack = (0, 1) if n_classes == 2 else (config.NORMAL, 2)
    nodes = [
        (BLOCKED << Q, dport, 4),  # dport <= 9
        (BLOCKED - 1 << Q, dport, 3),  # dport <= 8
        (-100, leaf, normal),
        (100, leaf, attack),
        (-100, leaf, normal),
    ]
    return IntTree(*np.array(nodes, np.int64).T, n_classes, flag_at)


def length_tree(longest: int, flag_at: int = NO_FLAG) -> IntTree:
    """Return a tree of two classes that calls a packet of more than `longest` bytes an attack; scores as above."""
    nodes = [(longest << Q, 3, 2), (-100, TREE_LEAF, 0), (100, TREE_LEAF, 1)]  # len <= longest
    return IntTree(*np.array(nodes, np.int64).T, 2, flag_at)
