"""The commands that make data: record and extract."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ..config import DATA, INTERIM, LAB_SECONDS, LAB_SNAPLEN
from .add import Add


def _record(args: argparse.Namespace) -> int:
    from ..lab.record import record_capture

    done = record_capture(args.out, args.seconds, args.seed, args.snaplen)
    print(f"{done['packets']} packets in {done['seconds']} s: {done['pcap']}, labels in {done['schedule']}")
    return 0


def add_record(add: Add) -> None:
    """Add the command record."""
    command = add("record", _record, "record the lab capture between namespaces of its own (root)")
    command.add_argument("--out", type=Path, default=DATA / "raw" / "lab", metavar="DIR", help="default: %(default)s")
    command.add_argument("--seconds", type=float, default=LAB_SECONDS, metavar="N", help="default: %(default)s")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="default: %(default)s")
    text = "bytes of each packet; default: %(default)s"
    command.add_argument("--snaplen", type=int, default=LAB_SNAPLEN, metavar="N", help=text)


def _extract(args: argparse.Namespace) -> int:
    """Write a dataset; the exit code is 1 if a capture is damaged, because then packets are missing."""
    from ..data import extract_many

    options = {name: getattr(args, name) for name in ("sampling", "dedup_ms", "reorder_ms", "name")}
    found = extract_many.run(args.source, args.out, args.labels, args.scheduler, **options)
    if args.json:
        print(json.dumps(found))
    else:
        print(
            f"{args.out}: {found['vectors']:,} vectors of {found['flows']:,} flows, {found['packets']:,} packets, "
            f"{found['duplicates']:,} duplicates; {found['packets_per_s']:,} packets/s"
        )
    if found["damage"]:
        print(f"ids_repro extract: {', '.join(map(str, args.source))}: {found['damage']}", file=sys.stderr)
    return int(found["damage"] is not None)


def add_extract(add: Add) -> None:
    """Add the command extract."""
    command = add("extract", _extract, "a capture or packet table -> the paper's twelve features, as Parquet")
    text = "captures (pcap or pcapng, plain or .gz) in the order of time, or a folder with a packet table"
    command.add_argument("source", type=Path, nargs="+", help=text)
    text = "a name in data/README.md (published, corrected, csv: CIC-IDS2017's); else a schedule (CSV: label, ...)"
    command.add_argument("--labels", help=f"{text}, or GeneratedLabelledFlows CSV file or folder")
    command.add_argument("--out", type=Path, default=INTERIM / "dataset.parquet")
    command.add_argument("--name", default="own capture", help="what the data is called in tables and figures")
    command.add_argument("--sampling", choices=("last", "every"), default="last", help="one vector per flow or packet")
    command.add_argument("--dedup-ms", type=float, default=0, help="leave out copies of a frame within this time")
    command.add_argument("--reorder-ms", type=float, default=0, help="let packets wait this long for older ones")
    command.add_argument("--scheduler", metavar="ADDRESS", help="a Dask scheduler; this machine's cores by default")
    command.add_argument("--json", action="store_true", help="one JSON object of counts")
