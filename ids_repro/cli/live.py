"""The commands for a program that stays on an interface: attach, status, swap, samples and detach."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import UserError
from ..implementations import rows_in
from ..text import printable, say
from .add import Add, add_number, only_with
from .models import MODEL_HELP

if TYPE_CHECKING:
    from ..models.model import Model

# --hook -> the mode's name in the package
MODES = {"xdp-drv": "xdp_drv", "xdp-skb": "xdp_skb", "tc": "tc", "tc-both": "tc_both"}
CONFIRM_S = 60.0
YES_DROP = "drop even by a model that is no detector, flags more than 5 %% of normal flows, or learnt other directions"
LOOK_S = 1.0  # how long status looks at each program
# "nn" is the net in either arithmetic; the other classifiers go by the names of their structs.
CLASSIFIERS = ("nn", *(one.struct for one in rows_in("kernel").values() if not one.struct.startswith("nn_")))


def _attach(args: argparse.Namespace) -> int:
    from ..kernel.variants import Variant
    from ..live import attached, guard

    cuts = args.action in guard.CUTTING
    wait_s = (CONFIRM_S if sys.stdin and sys.stdin.isatty() else 0) if args.confirm is None else args.confirm
    variant = Variant(
        classifier=args.classifier or "none", arithmetic=args.arithmetic, action=args.action, flows=args.flows
    )
    wait_s *= cuts
    off = args.offloads == "off"
    model = attached.attach(args.iface, args.model, MODES[args.hook], variant, args.yes_drop, wait_s, off)
    try:
        _say_attached(args, model)
    except BaseException as error:
        if wait_s or not isinstance(error, BrokenPipeError):  # a reader that has enough is no fault
            attached.detach(args.iface)
        raise
    return _keep_or_detach(args.iface, wait_s) if wait_s else 0


def _say_attached(args: argparse.Namespace, model: Model) -> None:
    from ..kernel import attach as hooks
    from ..live import attached, guard, offloads

    say(f"{args.iface}: {printable(args.model.name)} decides now; 'status {args.iface}' shows what it sees")
    if other := guard.other_directions(model, MODES[args.hook]):
        say(f"This detector {other}.")
    with attached.find(args.iface) as live:
        notes = offloads.notes(live.iface, live.mode, live.about["offloads"])
        before = hooks.before(live.iface, live.number) if live.mode in hooks.TC_HOOKS else 0
    if before:
        shown = ", ".join(f"'tc filter show dev {args.iface} {hook}'" for hook in hooks.TC_HOOKS[MODES[args.hook]])
        notes.append(f"Filters of others that stand before it: {before} ({shown}). It sees what they let through.")
    if notes:
        say("\n".join(notes))


def _keep_or_detach(iface: str, wait_s: float) -> int:
    """Detach a program that the user does not confirm in time; the exit code is 1 then."""
    from ..live import attached, guard

    kept = False
    try:
        kept = guard.is_confirmed(wait_s)
    finally:
        if not kept:
            attached.detach(iface)
            say(f"{iface}: nobody confirmed it, so it is detached")
    if kept:
        attached.confirm(iface)
        say(f"{iface}: confirmed, it stays")
    return int(not kept)


def add_attach(add: Add) -> None:
    """Add the command attach."""
    command = add("attach", _attach, "put a classifier on an interface, where it stays (root)")
    command.add_argument("iface", metavar="IFACE")
    command.add_argument("--model", type=Path, required=True, metavar="PATH", help=MODEL_HELP)
    command.add_argument("--classifier", choices=CLASSIFIERS, help="default: nn; of a detector dt")
    text = "of the net: ours, or the paper's (q16); default: %(default)s"
    arithmetic = command.add_argument("--arithmetic", choices=("fused", "q16"), default="fused", help=text)
    only_with(arithmetic, "the net (--classifier nn)", lambda args: args.classifier in (None, "nn"))
    text = "tc-both sees what leaves, too, and acts on what arrives; default: %(default)s"
    command.add_argument("--hook", choices=MODES, default="xdp-drv", help=text)
    text = "count only, drop attacks, or give them to 'samples' instead of the stack; default: %(default)s"
    command.add_argument("--action", choices=("count", "filter", "redirect"), default="count", help=text)
    text = "off: turn off, until detach, what merges packets before TC or generic XDP (GRO, LRO, a peer's TSO)"
    command.add_argument("--offloads", choices=("keep", "off"), default="keep", help=text + "; default: %(default)s")
    text = "with filter or redirect: time to press Enter, or it is detached; default: 60 s in a terminal, else 0"
    confirm = add_number(command, "--confirm", metavar="SECONDS", help=text)
    only_with(confirm, "--action filter or redirect", lambda args: args.action != "count")
    command.add_argument("--yes-drop", action="store_true", help=YES_DROP)
    text = "flows that the flow table has room for, a power of two; 80 bytes each; default: %(default)s"
    add_number(command, "--flows", default=65536, metavar="N", help=text)


def _status(args: argparse.Namespace) -> int:
    """Look at each program for ``args.look_s`` seconds, once or until Ctrl-C."""
    from ..live import attached, status

    with contextlib.suppress(KeyboardInterrupt):
        height = 0
        while True:
            found = []
            for iface in [args.iface] if args.iface else attached.attached():
                try:
                    with attached.find(iface) as one:
                        found.append(status.look(one, args.look_s))
                except attached.NotAttached:  # taken off since attached() listed it
                    if args.iface:
                        raise
                except UserError as error:  # one program of another version does not hide the others
                    if args.iface:
                        raise
                    say(error, sys.stderr)
            if args.json:
                say(json.dumps(found))
            else:
                texts = [*map(status.table, found)] or ["no interface has a program of ids_repro"]
                text = "\n\n".join(texts + ([] if args.iface else attached.gone_elsewhere()))
                # move to the first line of the table before, and clear the terminal from there
                sys.stdout.write(f"\x1b[{height}F\x1b[J" if height and sys.stdout.isatty() else "")
                say(text)
                height = text.count("\n") + 1
            if not args.watch or not found:
                break
    return 0


def add_status(add: Add) -> None:
    """Add the command status."""
    command = add("status", _status, "what attached classifiers see: packets, verdicts, flows, ns per packet (root)")
    command.set_defaults(look_s=LOOK_S)  # no option sets it; a test may, between make_parser and run_command
    command.add_argument("iface", nargs="?", metavar="IFACE", help="all interfaces by default")
    command.add_argument("--watch", action="store_true", help="go on until Ctrl-C")
    command.add_argument("--json", action="store_true", help="one JSON list a look")


def _swap(args: argparse.Namespace) -> int:
    from ..live import attached

    generation = attached.swap(args.iface, args.model, args.yes_drop)
    say(f"{args.iface}: {printable(args.model.name)} decides from generation {generation} on")
    return 0


def add_swap(add: Add) -> None:
    """Add the command swap."""
    command = add("swap", _swap, "replace the model of an attached classifier under traffic (root)")
    command.add_argument("iface", metavar="IFACE")
    command.add_argument("--model", type=Path, required=True, metavar="PATH", help=MODEL_HELP)
    command.add_argument("--yes-drop", action="store_true", help=YES_DROP)


def _samples(args: argparse.Namespace) -> int:
    """Print or write suspects: packets that the program gave to user space."""
    from ..live import attached, suspicious

    with attached.find(args.iface) as one, contextlib.ExitStack() as stack:
        if "suspects" not in one.fds:
            raise UserError(f"the program on {args.iface} keeps no packets: attach a detector, or --action redirect")
        with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):  # whoever reads the other end has enough
            pcap = stack.enter_context(suspicious.pcap_file(args.out, one.variant.link)) if args.out else None
            for suspects in suspicious.take(one, args.count):
                if pcap:
                    pcap.write(suspicious.pcap_records(suspects))
                    pcap.flush()
                else:
                    about = one.suspect_classes, one.variant.evidence, one.variant.link
                    say("\n".join(suspicious.lines(suspects, *about)))
    return 0


def add_samples(add: Add) -> None:
    """Add the command samples."""
    command = add(
        "samples", _samples, "packets that the action redirect took, or by which a detector flagged a flow (root)"
    )
    command.add_argument("iface", metavar="IFACE")
    command.add_argument("--out", type=Path, metavar="FILE", help="a pcap, instead of a line each; or a pipe")
    add_number(command, "--count", metavar="N", help="end after so many; by default at Ctrl-C")


def _detach(args: argparse.Namespace) -> int:
    from ..live import attached

    ours = attached.detach(args.iface)
    say(f"{args.iface}: " + ("detached" if ours else "its program was gone already; what was left of it is removed"))
    return 0


def add_detach(add: Add) -> None:
    """Add the command detach."""
    command = add("detach", _detach, "take a classifier off an interface (root)")
    command.add_argument("iface", metavar="IFACE")
