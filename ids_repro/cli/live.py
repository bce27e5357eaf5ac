"""The commands of live use: attach, status, swap, samples, detach."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

from ..config import UserError

MODES = {"xdp-drv": "xdp_drv", "xdp-skb": "xdp_skb", "tc": "tc"}
LOOK_S = 1.0


def _attach(args: argparse.Namespace) -> int:
    from ..kernel.variants import Variant
    from ..live import attached

    variant = Variant(classifier=args.classifier, arithmetic=args.arithmetic, action=args.action, flows=args.flows)
    attached.attach(args.iface, args.model, MODES[args.hook], variant)
    print(f"{args.iface}: {args.model.name} decides now; 'status {args.iface}' shows what it sees")
    return 0


def _status(args: argparse.Namespace) -> int:
    from ..live import attached, status

    with contextlib.suppress(KeyboardInterrupt):
        height = 0
        while True:
            found = []
            for iface in [args.iface] if args.iface else attached.attached():
                with attached.find(iface) as one:
                    found.append(status.look(one, LOOK_S))
            if args.json:
                print(json.dumps(found), flush=True)
            else:
                text = "\n\n".join(map(status.table, found)) or "no interface has a program of ids_repro"
                # to where the table before began, and clear from there
                print((f"\x1b[{height}F\x1b[J" if height and sys.stdout.isatty() else "") + text, flush=True)
                height = text.count("\n") + 1
            if not args.watch or not found:
                break
    return 0


def _swap(args: argparse.Namespace) -> int:
    from ..live import attached

    generation = attached.swap(args.iface, args.model)
    print(f"{args.iface}: {args.model.name} decides from generation {generation} on")
    return 0


def _samples(args: argparse.Namespace) -> int:
    from ..live import attached, suspicious

    with attached.find(args.iface) as one, contextlib.ExitStack() as stack:
        if one.variant.action != "redirect":
            raise UserError(f"the program on {args.iface} keeps no packets: attach it with --action redirect")
        pcap = stack.enter_context(args.out.open("wb")) if args.out else None
        if pcap:
            pcap.write(suspicious.PCAP_HEADER)
        with contextlib.suppress(KeyboardInterrupt):
            for found in suspicious.take(one, args.count):
                if pcap:
                    pcap.write(suspicious.pcap_records(found))
                    pcap.flush()
                else:
                    print("\n".join(suspicious.lines(found, one.classes)), flush=True)
    return 0


def _detach(args: argparse.Namespace) -> int:
    from ..live import attached

    ours = attached.detach(args.iface)
    print(f"{args.iface}: " + ("detached" if ours else "its program was gone already; what was left of it is removed"))
    return 0


def add_commands(add: Callable[[str, Callable, str], argparse.ArgumentParser]) -> None:
    """Add them to the command line."""
    model = "a model's file, such as data/models/binary-0.joblib"

    command = add("attach", _attach, "put a classifier on an interface, where it stays (root)")
    command.add_argument("iface", metavar="IFACE")
    command.add_argument("--model", type=Path, required=True, metavar="PATH", help=model)
    command.add_argument("--classifier", choices=("nn", "dt"), default="nn", help="default: %(default)s")
    command.add_argument("--arithmetic", choices=("fused", "q16"), default="fused", help="default: %(default)s")
    command.add_argument("--hook", choices=MODES, default="xdp-drv", help="default: %(default)s")
    text = "count only, drop attacks, or give them to 'samples' instead of the stack; default: %(default)s"
    command.add_argument("--action", choices=("count", "filter", "redirect"), default="count", help=text)
    text = "entries of the flow table; default: %(default)s"
    command.add_argument("--flows", type=int, default=65536, metavar="N", help=text)

    command = add("status", _status, "what attached classifiers see: packets, verdicts, flows, ns a packet (root)")
    command.add_argument("iface", nargs="?", metavar="IFACE", help="all interfaces by default")
    command.add_argument("--watch", action="store_true", help="go on until Ctrl-C")
    command.add_argument("--json", action="store_true", help="one JSON list a look")

    command = add("swap", _swap, "replace the model of an attached classifier under traffic (root)")
    command.add_argument("iface", metavar="IFACE")
    command.add_argument("--model", type=Path, required=True, metavar="PATH", help=model)

    command = add("samples", _samples, "packets that the action redirect took from an interface (root)")
    command.add_argument("iface", metavar="IFACE")
    command.add_argument("--out", type=Path, metavar="FILE", help="a pcap, instead of a line each")
    command.add_argument("--count", type=int, metavar="N", help="end after so many; by default at Ctrl-C")

    command = add("detach", _detach, "take a classifier off an interface (root)")
    command.add_argument("iface", metavar="IFACE")
