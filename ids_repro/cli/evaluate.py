"""The commands that measure without traffic: parity, accuracy and bench."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..config import SAMPLE, TASKS, profile
from ..text import rounded, say
from .add import Add, add_number, only_with, print_json


def _parity(args: argparse.Namespace) -> int:
    """Compare the implementations; the exit code is 1 if two of them differ anywhere."""
    from ..data import packets
    from ..evaluate import parity
    from ..models import detector, pipeline
    from ..require import require_rights

    if not args.user_space:
        require_rights("parity", "the kernel's part of parity (all but --user-space)")
    capture = packets.read(args.pcap)
    models = [*(pipeline.any_model(task) for task in TASKS), detector.any_detector()]
    found = parity.compare(models, capture, args.n, args.user_space)
    mismatches = sum(sum(row.values()) for row in found.values())
    if args.json:
        print_json(args, found)
    else:
        say(
            f"{len(models)} models on {args.n:,} vectors (in the kernel {min(args.n, parity.KERNEL_VECTORS):,}), "
            f"{min(args.n, parity.TIED_VECTORS):,} with tied logits, and {len(capture.rows):,} packets:"
        )
        for classifier, row in found.items():
            say(f"{classifier} " + ", ".join(f"{pair}: {n} differ" for pair, n in row.items()))
    return int(mismatches > 0)


def add_parity(add: Add) -> None:
    """Add the command parity."""
    command = add("parity", _parity, "compare NumPy, C, XDP and TC bit for bit; exit code 1 on any difference (root)")
    add_number(command, "--n", default=10000, help="random and boundary vectors for each model")
    command.add_argument("--pcap", type=Path, default=SAMPLE, help="packets to send through all of them as well")
    command.add_argument("--user-space", action="store_true", help="without the kernel: needs no root")
    command.add_argument("--json", action="store_true", help="one JSON object of mismatch counts")


def _accuracy(args: argparse.Namespace) -> int:
    from ..evaluate import accuracy
    from ..require import require_rights

    if not args.user_space:
        require_rights("accuracy", "the kernel's part of accuracy (all but --user-space)")
    chosen = profile("smoke", seeds=tuple(range(args.seeds)))
    data, trace = accuracy.read(args.data, args.labels)
    found = accuracy.study(data, chosen, trace, kernel=not args.user_space)
    if args.json:
        print_json(args, found)
        return 0
    for task, rows in found.items():
        say(f"{task}: accuracy, macro F1, agreement with the float model; mean of {args.seeds} seeds")
        for row, scores in rows.items():
            means = (rounded(scores[name]["mean"], ".4f") for name in ("accuracy", "macro_f1", "agreement"))
            say(f"  {row:16} {' '.join(means)}")
    return 0


def add_accuracy(add: Add) -> None:
    """Add the command accuracy."""
    command = add("accuracy", _accuracy, "train with several seeds and score every implementation (root)")
    command.add_argument("--data", type=Path, default=SAMPLE, help="a capture, a packet table's folder, or a dataset")
    text = "label schedule of a capture; lab.csv for lab.pcap.gz by default"
    labels = command.add_argument("--labels", type=Path, help=text)
    text = "a capture as --data (a packet table and a dataset have labels of their own)"
    only_with(labels, text, lambda args: not (args.data.is_dir() or args.data.suffix == ".parquet"))
    add_number(command, "--seeds", default=3, help="how many")
    command.add_argument("--user-space", action="store_true", help="without the kernel: needs no root")
    command.add_argument("--json", action="store_true", help="one JSON object with intervals")


def _bench(args: argparse.Namespace) -> int:
    from ..data import packets
    from ..evaluate import kernel_cost
    from ..models import detector, pipeline
    from ..require import require_rights

    require_rights("bench", "the benchmark of the kernel program")
    models = {len(classes): pipeline.any_model(task) for task, classes in TASKS.items()}
    models[kernel_cost.DETECTOR] = detector.any_detector()
    found = kernel_cost.bench(models, packets.read(SAMPLE), args.rounds)
    if args.json:
        print_json(args, found)
        return 0
    for variant, flow in found["one_flow"].items():
        say(
            f"{variant:18} {rounded(flow, '7.0f')} ns per packet, "
            f"{rounded(found['new_flows'][variant], '7.0f')} ns if each starts a flow"
        )
    return 0


def add_bench(add: Add) -> None:
    """Add the command bench."""
    command = add("bench", _bench, "ns per packet of the kernel program's variants, in interleaved rounds (root)")
    add_number(command, "--rounds", default=30, help="of 10,000 packets for each variant")
    command.add_argument("--json", action="store_true", help="one JSON object of medians")
