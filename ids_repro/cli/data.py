"""The commands that make data: record and extract."""

from __future__ import annotations

import argparse
import json
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..config import CLASSES, DATA, INTERIM, LAB_SECONDS, LAB_SNAPLEN, DamagedWarning
from ..text import printable, rounded, say
from .add import Add, add_number

# What `extract` says of the frames that it left out, by their outcome (`native.layouts.OUTCOMES`).
LEFT_OUT = {
    "not_ip": "not IP",
    "ipv6": "IPv6",
    "no_ports": "without ports and not ICMP",
    "fragment": "fragments",
    "truncated": "cut off before the end of their headers",
    "malformed": "with a malformed IP header",
    "too_deep": "with too many IPv6 extension headers",
    "no_timestamp": "without a time stamp",
    "link_type": "of a link type that is not read",
}

RESAVED_SHARE = 0.05  # of the flows; in files as published, fewer have rows at other times only


def _record(args: argparse.Namespace) -> int:
    from ..lab.record import record_capture
    from ..require import require_rights

    require_rights("record", "a recording")
    done = record_capture(args.out, args.seconds, args.seed, args.snaplen)
    say(f"{done['packets']} packets in {done['seconds']} s: {done['pcap']}, labels in {done['schedule']}")
    return 0


def add_record(add: Add) -> None:
    """Add the command record."""
    command = add("record", _record, "record the lab capture between namespaces of its own (root)")
    command.add_argument("--out", type=Path, default=DATA / "raw" / "lab", metavar="DIR", help="default: %(default)s")
    add_number(command, "--seconds", default=LAB_SECONDS, metavar="N", help="default: %(default)s")
    add_number(command, "--seed", default=0, metavar="N", help="default: %(default)s")
    text = "bytes of each packet; default: %(default)s"
    add_number(command, "--snaplen", default=LAB_SNAPLEN, metavar="N", help=text)


def _extract(args: argparse.Namespace) -> int:
    from ..data import extract_many

    options = {name: getattr(args, name) for name in ("sampling", "dedup_ms", "reorder_ms", "flow_rules", "name")}
    found = extract_many.run(args.source, args.out, args.labels, args.scheduler, **options)
    if args.json:
        say(json.dumps(found))
    else:
        out = printable(str(args.out))
        lines = [
            f"{out}: {found['vectors']:,} vectors of {found['flows']:,} flows, {found['packets']:,} packets, "
            f"{found['duplicates']:,} duplicates; {found['packets_per_s']:,} packets/s",
            *remarks(found, args.reorder_ms),
            *flows_by_class(found["flows_by_class"], args.name),
        ]
        say("\n  ".join(lines))
    if found["damage"]:
        warnings.warn(f"{', '.join(map(str, args.source))}: {found['damage']}", DamagedWarning, stacklevel=1)
    return 0


def remarks(found: dict[str, Any], reorder_ms: float) -> Iterator[str]:
    """Say what was left out, by reason, and what is strange about the captures' labels, times and lengths.

    Parameters
    ----------
    found : dict
        What `extract_many.run` returns.
    reorder_ms : float
        The option that it was run with.

    Yields
    ------
    str
        A line for each remark.
    """
    from ..data.labels.flow_index import REASONS

    left_out = [(n, LEFT_OUT[reason]) for reason, n in found["dropped"].items() if n and reason != "link_type"]
    left_out += [(n, f"of link type {link}, which is not read") for link, n in found["unread_links"].items()]
    if more := found["dropped"].get("link_type", 0) - sum(found["unread_links"].values()):
        left_out.append((more, "of other link types"))
    if left_out:
        yield f"left out of {found['frames']:,} frames: " + ", ".join(f"{n:,} {what}" for n, what in left_out)
    if n := found["stepped_back"]:
        fate = "left out (flow rules go-flows)" if found["flows"] > found["vectors"] else "kept"
        yield f"flows with a packet that is older than the one before it: {n:,}, {fate}"
    if n := found["no_length"]:
        yield f"packets with the length 0 in their IP header (segmentation offload), taken from the frame: {n:,}"
    if found["flows_by_class"] and (n := found["flows_without_label"]):
        yield f"flows to which the label source gives no label: {n:,}, {rounded(n / found['flows'], '.1%')} of them"
        yield from (f"  {count:,}: {reason}" for reason, count in found["unmatched"].items())
        if found["unmatched"].get(REASONS[1], 0) > RESAVED_SHARE * found["flows"]:
            yield "  if a program saved the label files again, its times are not the publisher's: get the files anew"
    wait_ms, n = math.floor(found["most_back_ms"]) + 1, found["late"] if reorder_ms else found["out_of_order"]
    if n and reorder_ms:
        yield f"packets that came too late for --reorder-ms {reorder_ms:g}: {n:,}; {wait_ms} sorts all"
    elif n:
        yield f"packets older than one before them in the file: {n:,}; --reorder-ms {wait_ms} sorts them"


def flows_by_class(counts: dict[str, int], name: str) -> Iterator[str]:
    """Set the number of flows of each class beside the paper's; judge them if the data is the paper's.

    Parameters
    ----------
    counts : dict of str to int
        Flows by class. Without any label nothing is said.
    name : str
        Of the data.

    Yields
    ------
    str
        A line for each number.
    """
    from ..published import flow_counts, published

    if not counts:
        return
    judged = name == published()["dataset"]
    yield "flows by class, beside the paper's; 8/15 of them, beside those that the released models were trained on"
    yield f"  {'':<14} {'flows':>9} {'paper':>9} {'8/15':>9} {'released':>9}"
    for count in flow_counts(counts):
        verdict = ("  the same" if count.same else f"  {rounded(count.ours / count.paper - 1, '+.1%')}") * judged
        numbers = [rounded(number, ">9,.0f") for number in (count.ours, count.paper)]
        if count.of in CLASSES:
            numbers = [f"{counts.get(count.of, 0):>9,}", " " * 9, *numbers]
        yield f"  {count.of:<14} {' '.join(numbers)}{verdict}"
    if not judged:
        yield f"  not judged: the data is {name}, not {published()['dataset']} (--name)"


def add_extract(add: Add) -> None:
    """Add the command extract."""
    command = add("extract", _extract, "a capture or packet table -> the paper's twelve features, as Parquet")
    text = "captures (pcap or pcapng; plain, .gz, .bz2, .xz or .zst; - is the standard input) in the order of time, or "
    text += "a folder with a packet table"
    command.add_argument("source", type=Path, nargs="+", help=text)
    text = "a name in data/README.md (published, corrected, csv: CIC-IDS2017's); else a schedule (CSV: label, ...)"
    command.add_argument("--labels", help=f"{text}, or CSV file, folder or .zip of GeneratedLabelledFlows")
    command.add_argument("--out", type=Path, default=INTERIM / "dataset.parquet")
    command.add_argument("--name", default="own capture", help="what the data is called in tables and figures")
    command.add_argument("--sampling", choices=("last", "every"), default="last", help="one vector per flow or packet")
    add_number(command, "--dedup-ms", default=0, help="leave out copies of a frame within this time")
    add_number(command, "--reorder-ms", default=0, help="let packets wait this long for older ones")
    text = "which packets and flows count; default: go-flows for --labels published, else text (the paper's)"
    command.add_argument("--flow-rules", choices=("text", "go-flows"), help=text)
    command.add_argument("--scheduler", metavar="ADDRESS", help="a Dask scheduler; this machine's cores by default")
    command.add_argument("--json", action="store_true", help="one JSON object of counts")
