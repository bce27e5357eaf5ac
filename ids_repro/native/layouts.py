"""The byte layouts and constants that Python shares with the C in bpf/. The comment on each says where C defines it.

The C headers define them and this module repeats them for NumPy. tests/native/test_layouts.py asks the C compiler
whether the two are equal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..config import LIMITS

# bpf/fixed.h: fractional bits of a Q16 number (Sec. IV-C).
Q = 16

# bpf/flow.h: the number of features, and the length of an array of features in a struct, which is a power of two.
N_FEATURES, X_SIZE = 12, 16

# enum ids_reason of bpf/parse.h: what the parser makes of a frame. The kernel program adds "busy": another CPU held the
# flow's lock for too long (bpf/ids.h).
REASONS = ("ok", "truncated", "not_ip", "malformed", "too_deep")
KERNEL_REASONS = (*REASONS, "busy")
# enum ids_outcome of bpf/user/link_layer.h: the same for a frame of a capture file.
OUTCOMES = (*REASONS, "ipv6", "link_type", "no_timestamp", "duplicate", "no_ports", "fragment")
# enum ids_rules of bpf/user/link_layer.h: which packets of a capture the caller wants.
RULES = ("ipv4", "both", "go-flows")
# bpf/user/capture.h: link types that are not read are counted one by one, so many of them.
STRANGE = 8

# struct ids_packet of bpf/parse.h. An address is an IPv4 address, or an IPv6 address folded into 64 bits, of which the
# highest bit is set.
PACKET = [
    ("saddr", "u8"),
    ("daddr", "u8"),
    ("len", "u4"),
    ("sport", "u2"),
    ("dport", "u2"),
    ("proto", "u4"),
    ("tcp_flags", "u4"),
]
# struct ids_row of bpf/user/link_layer.h: a packet, its time stamp, and the place of its frame in the capture file.
ROW = np.dtype([("ts_ns", "u8"), ("offset", "u8"), ("caplen", "u4"), ("ip_at", "u4"), *PACKET])

# bpf/user/capture.h: the status of the reader after a damaged record.
DAMAGED = -1

# bpf/user/sampler.h: a flow's vector is that of the last of so many first packets, as in the paper's dataset.
FIRST_PACKETS = 100
# struct ids_vector of bpf/user/sampler.h: the feature vector of a packet, with the packet and its flow.
VECTOR = np.dtype(
    [
        ("flow", "u8"),
        ("packet", "u8"),
        ("time_us", "u8"),
        ("first_us", "u8"),
        ("saddr", "u8"),
        ("daddr", "u8"),
        ("sport", "u2"),
        ("dport", "u2"),
        ("index", "u4"),
        ("proto", "u8"),
        ("x", "i8", N_FEATURES),
    ]
)

# bpf/net_shape.h: the widths of the hidden layers of the paper's net, M_1 and M_2 (Sec. IV-B).
Hidden = tuple[int, ...]
PAPER_NET: Hidden = (16, 16)
# bpf/int_mlp.h: room for the classes.
MAX_CLASSES = 8
# bpf/int_mlp_fused.h: bits of a column's lane, and lanes in a 64-bit word.
LANE_BITS, LANES = 32, 2
# bpf/int_tree.h: steps of the longest walk, room for nodes, and what stands for the feature of a leaf.
TREE_DEPTH, TREE_NODES, TREE_LEAF = 16, 1 << 12, 15


def layer_shapes(n_classes: int, hidden: Hidden = PAPER_NET) -> list[tuple[int, int]]:
    """Return the shape (M_{l-1}, M_l) of the weights of each layer (Sec. IV-B)."""
    sizes = (N_FEATURES, *hidden, n_classes)
    return list(zip(sizes, sizes[1:], strict=False))


def room(hidden: Hidden) -> tuple[int, int, int]:
    """Return IDS_LAYERS, IDS_ROWS and IDS_HIDDEN: a struct's room for layers, their inputs and their columns."""
    columns = -(-max(hidden) // 8) * 8
    return len(hidden) + 1, max(columns, X_SIZE), columns


def net_flags(hidden: Hidden) -> list[str]:
    """Return the compiler flags for a net with hidden layers of these widths: none for the paper's."""
    if hidden == PAPER_NET:
        return []
    widths = (*hidden, *PAPER_NET, *PAPER_NET)[:3]  # those of layers that are not there are not read
    named = {f"IDS_WIDTH_{layer}": width for layer, width in enumerate(widths, start=1)}
    named |= {"IDS_HIDDEN_LAYERS": len(hidden), "IDS_HIDDEN": room(hidden)[2]}
    return [f"-D{name}={value}" for name, value in named.items()]


def mlp_q16(hidden: Hidden) -> np.dtype:
    """Return the layout of struct ids_nn_q16 of bpf/int_mlp.h."""
    layers, rows, columns = room(hidden)
    features = [(name, "i8", X_SIZE) for name in ("min", "range", "s")]
    return np.dtype(
        [*features, ("sigma", "i8", 4), ("dequant", "i8", (layers, columns)), ("w", "i1", (layers, columns, rows))]
    )


def mlp_fused(hidden: Hidden) -> np.dtype:
    """Return the layout of struct ids_nn_fused of bpf/int_mlp_fused.h."""
    layers, rows, columns = room(hidden)
    features = [(name, "i8", X_SIZE) for name in ("min", "range", "mul", "shift")]
    return np.dtype([("flag_at", "i8"), *features, ("w", "i8", (layers, rows, columns // LANES))])


def mlp_float(hidden: Hidden) -> np.dtype:
    """Return the layout of struct ids_nn_float of bpf/user/float_mlp.h."""
    layers, rows, columns = room(hidden)
    return np.dtype([("min", "i8", X_SIZE), ("scale", "f4", X_SIZE), ("w", "f4", (layers, rows, columns))])


MLP_Q16, MLP_FUSED, MLP_FLOAT = (layout(PAPER_NET) for layout in (mlp_q16, mlp_fused, mlp_float))
# struct ids_dt of bpf/int_tree.h
TREE = np.dtype([("flag_at", "i8"), ("node", "i8", TREE_NODES)])


@dataclass(frozen=True)
class Struct:
    """The struct that holds a classifier's parameters in C.

    Parameters
    ----------
    dtype : dtype
        Its layout, of a net for the paper's shape.
    logits : bool
        Whether the classifier's C writes integer logits, one for each class.
    of : callable, optional
        Of a net: returns the layout for hidden layers of other widths.
    """

    dtype: np.dtype
    logits: bool = False
    of: Callable[[Hidden], np.dtype] | None = None

    def layout(self, hidden: Hidden) -> np.dtype:
        """Return its layout for a model whose net has hidden layers of these widths."""
        return self.dtype if self.of is None or hidden == PAPER_NET else self.of(hidden)


# Every classifier by its name NAME in C: struct ids_NAME. bpf/classifiers.h lists those whose header the kernel program
# and user space share; the float net exists in user space only.
STRUCTS = {
    "nn_q16": Struct(MLP_Q16, logits=True, of=mlp_q16),
    "nn_fused": Struct(MLP_FUSED, logits=True, of=mlp_fused),
    "nn_log2": Struct(MLP_FUSED, logits=True, of=mlp_fused),
    "nn_float": Struct(MLP_FLOAT, of=mlp_float),
    "dt": Struct(TREE, logits=True),
}

# bpf/ids.h: room for counters of reasons and of what became of flows, generations whose verdicts are counted
# separately, and slots for parameters.
REASONS_SIZE, FOUND_SIZE, GENERATIONS, SLOTS = 8, 8, 16, 2
# struct ids_counts and ids_verdicts of bpf/ids.h: what the kernel program counts on each CPU.
COUNTS = np.dtype(
    [("packets", "u8"), ("reason", "u8", REASONS_SIZE), ("found", "u8", FOUND_SIZE), ("lost", "u8"), ("bytes", "u8")]
)
VERDICTS = np.dtype([("n", "u8", MAX_CLASSES), ("flagged", "u8", MAX_CLASSES)])
# struct ids_flood of bpf/probe.h: `left` packets of new flows, which a test run makes before the frame's own packet.
FLOOD = np.dtype(
    [("left", "u8"), ("number", "u8"), ("now_ns", "u8"), ("gap_ns", "u8"), ("packets", "u4"), ("answered", "u4")]
)
# struct ids_probe of bpf/probe.h: it comes before the frame in a test run, and the program writes its results into it.
PROBE = np.dtype(
    [
        ("eth", "u1", 16),
        ("now_ns", "u8"),
        ("use_x", "u8"),
        ("flood", FLOOD),
        ("x", "i8", N_FEATURES),
        ("logits", "i8", MAX_CLASSES),
        ("reason", "i8"),
        ("verdict", "i8"),
        ("first", "u8"),
        ("generation", "u8"),
    ]
)
# struct ids_replayed of bpf/frame_clock.h: a packet of a capture that the load generator sends again.
REPLAYED = np.dtype([("head", "u1", 96), ("at_us", "u8"), ("len", "u8")])
# struct ids_suspect of bpf/ids.h: a packet that the action "redirect" or a detector gives to user space.
SUSPECT = np.dtype(
    [
        ("now_ns", "u8"),
        ("generation", "u8"),
        ("x", "i8", N_FEATURES),
        ("score", "i8"),
        ("class", "u4"),
        ("len", "u4"),
        ("caplen", "u4"),
        ("pad", "u4"),
        ("data", "u1", 128),
    ]
)
# struct ids_flow of bpf/flow.h: the state of a flow. The sum of its packets' lengths and its flags share one number.
FLOW = np.dtype(
    [
        ("first_us", "u8"),
        ("last_us", "u8"),
        ("iat_sum", "u8"),
        ("len_sum_and_flags", "u8"),
        ("dir_sum", "u4"),
        ("num", "u4"),
    ]
)
# bpf/flow_table.h: how many flows share a bucket; enum ids_found, what becomes of a packet's flow in the table.
WAYS = 8
LEAST_FLOWS, MOST_FLOWS = LIMITS["flows"].least, LIMITS["flows"].most  # sizes of the flow table
FOUND = ("known", "started", "evicted_unproven", "evicted_proven")
# struct ids_bucket of bpf/flow_table.h
BUCKET = np.dtype(
    [("lock", "u8"), ("tag", "u4", WAYS), ("seen", "u2", WAYS), ("more", "u1", WAYS), ("once", "u8", WAYS)]
)
# struct ids_entry of bpf/flow_table.h
ENTRY = np.dtype([("key", "V24"), ("flow", FLOW)])
