"""The byte layouts and constants that Python shares with the C in bpf/. The comment on each says where C defines it.

The C headers define them and this module repeats them for NumPy. tests/native/test_layouts.py asks the C compiler
whether the two are equal.
"""

from __future__ import annotations

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

# bpf/int_mlp.h: the number of layers, the width of a hidden layer (M_1 = M_2, Sec. IV-B), and room for the classes.
LAYERS, HIDDEN, MAX_CLASSES = 3, 16, 8
# bpf/int_mlp_fused.h: bits of a column's lane, lanes in a 64-bit word, and words that hold a hidden layer's columns.
LANE_BITS, LANES = 32, 2
WORDS = HIDDEN // LANES
# bpf/int_tree.h: steps of the longest walk, room for nodes, and what stands for the feature of a leaf.
TREE_DEPTH, TREE_NODES, TREE_LEAF = 16, 1 << 12, 15

# struct ids_nn_q16 of bpf/int_mlp.h
MLP_Q16 = np.dtype(
    [
        ("min", "i8", X_SIZE),
        ("range", "i8", X_SIZE),
        ("s", "i8", X_SIZE),
        ("sigma", "i8", 4),
        ("dequant", "i8", (LAYERS, HIDDEN)),
        ("w", "i1", (LAYERS, HIDDEN, HIDDEN)),
    ]
)
# struct ids_nn_fused of bpf/int_mlp_fused.h
MLP_FUSED = np.dtype(
    [
        ("flag_at", "i8"),
        ("min", "i8", X_SIZE),
        ("range", "i8", X_SIZE),
        ("mul", "i8", X_SIZE),
        ("shift", "i8", X_SIZE),
        ("w", "i8", (LAYERS, HIDDEN, WORDS)),
    ]
)
# struct ids_nn_float of bpf/user/float_mlp.h
MLP_FLOAT = np.dtype([("min", "i8", X_SIZE), ("scale", "f4", X_SIZE), ("w", "f4", (LAYERS, HIDDEN, HIDDEN))])
# struct ids_dt of bpf/int_tree.h
TREE = np.dtype([("flag_at", "i8"), ("node", "i8", TREE_NODES)])


@dataclass(frozen=True)
class Struct:
    """The struct that holds a classifier's parameters in C.

    Parameters
    ----------
    dtype : dtype
        Its layout.
    logits : bool
        Whether the classifier's C writes integer logits, one for each class.
    """

    dtype: np.dtype
    logits: bool = False


# Every classifier by its name NAME in C: struct ids_NAME. bpf/classifiers.h lists those whose header the kernel program
# and user space share; the float net exists in user space only.
STRUCTS = {
    "nn_q16": Struct(MLP_Q16, logits=True),
    "nn_fused": Struct(MLP_FUSED, logits=True),
    "nn_log2": Struct(MLP_FUSED, logits=True),
    "nn_float": Struct(MLP_FLOAT),
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
