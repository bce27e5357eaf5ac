"""Command line: every command is one call of the package."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from .config import FIGURES, INTERIM, PROFILES, RESULTS, SAMPLE, TASKS, UserError, profile


def _record(args: argparse.Namespace) -> int:
    from .lab.record import record_command

    return record_command(args)


def _extract(args: argparse.Namespace) -> int:
    from .data import extract_many

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


def _reproduce(args: argparse.Namespace) -> int:
    from . import notebooks
    from .require import require_programs, require_root

    profile(args.profile)
    if not args.only or any(o.startswith(("04", "05")) for o in args.only):
        require_root("reproducing the tables and figures")
        require_programs("hping3", "ethtool", "ip", "cc")
    notebooks.run_all(args.profile, args.only)
    print(f"done: open {FIGURES / 'report.html'}")
    return 0


def _figures(args: argparse.Namespace) -> int:
    from . import records
    from .report import page
    from .report.style import COLUMN_IN

    rows = records.read(args.results)
    if not rows:
        raise UserError(f"{args.results}: no records there; give the folder of a run's .jsonl files with --results")
    page.write_all(rows, args.figures, width_in=args.width_in or COLUMN_IN, methods=args.methods)
    print(f"done: open {args.figures / 'report.html'}")
    return 0


def _sweep(args: argparse.Namespace) -> int:
    from .models import pipeline
    from .require import require_root
    from .sweep.plan import plan_trials
    from .sweep.run import SWEEP, run_sweep

    require_root("a sweep")
    over = _two_machines(args)
    chosen = profile(args.profile)
    plan_trials(chosen, args.methods, args.flows)  # a wrong name is said before a model is trained
    made = run_sweep(pipeline.any_model("binary"), chosen, args.methods, args.flows, over)
    wrong = [record for record in made if record["status"] != "ok"]
    for record in wrong:
        print(f"{record['asked']['method']}: {record['status']}: {record['reason']}", file=sys.stderr)
    print(f"{SWEEP}: {len(made)} trials made, {len(wrong)} of them not ok")
    return int(bool(wrong))


def _two_machines(args: argparse.Namespace):
    """What the options say of a second machine, None without one."""
    from .sweep.link_ssh import TwoMachines

    given = {name: value for name in TwoMachines.__dataclass_fields__ if (value := getattr(args, name)) is not None}
    if not given:
        return None
    for option in ("client", "client_iface", "server_iface"):
        if option not in given:
            raise UserError(f"a sweep between two machines needs --{option.replace('_', '-')} too")
    return TwoMachines(**given)


def _parity(args: argparse.Namespace) -> int:
    from .data import packets
    from .evaluate import parity
    from .models import pipeline
    from .require import require_root

    if not args.user_space:
        require_root("the kernel's part of parity (all but --user-space)")
    capture = packets.read(args.pcap)
    models = [pipeline.any_model(task) for task in TASKS]
    found = parity.compare(models, capture, args.n, args.user_space)
    mismatches = sum(sum(row.values()) for row in found.values())
    if args.json:
        print(json.dumps(found))
    else:
        print(
            f"{len(models)} models on {args.n:,} vectors (in the kernel {min(args.n, parity.KERNEL_VECTORS):,}), "
            f"{min(args.n, parity.TIED_VECTORS):,} with tied logits, and {len(capture.rows):,} packets:"
        )
        for classifier, row in found.items():
            print(classifier, ", ".join(f"{pair}: {n} differ" for pair, n in row.items()))
    return int(mismatches > 0)


def _accuracy(args: argparse.Namespace) -> int:
    from .evaluate import accuracy
    from .require import require_root

    if not args.user_space:
        require_root("the kernel's part of accuracy (all but --user-space)")
    chosen = profile("smoke", seeds=tuple(range(args.seeds)))
    data, trace = accuracy.read(args.data, args.labels)
    found = accuracy.study(data, chosen, trace, kernel=not args.user_space)
    if args.json:
        print(json.dumps(found))
        return 0
    for task, rows in found.items():
        print(f"{task}: accuracy, macro F1, agreement with the float model; mean of {args.seeds} seeds")
        for row, scores in rows.items():
            print(f"  {row:16}", *(f"{scores[name]['mean']:.4f}" for name in ("accuracy", "macro_f1", "agreement")))
    return 0


def _bench(args: argparse.Namespace) -> int:
    from .data import packets
    from .evaluate import kernel_cost
    from .models import pipeline
    from .require import require_root

    require_root("the benchmark of the kernel program")
    models = {len(classes): pipeline.any_model(task) for task, classes in TASKS.items()}
    found = kernel_cost.bench(models, packets.read(SAMPLE), args.rounds)
    if args.json:
        print(json.dumps(found))
        return 0
    for variant, flow in found["one_flow"].items():
        print(f"{variant:18} {flow:7.0f} ns a packet, {found['new_flows'][variant]:7.0f} ns if each starts a flow")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("ids_repro", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    command = add("reproduce", _reproduce, "run the notebooks in order: Tables II-III, Figs. 4-5, report (root)")
    command.add_argument("--profile", default="smoke", help=", ".join(PROFILES))
    command.add_argument("--only", nargs="+", default=(), metavar="NN", help="only these notebooks, such as 05 06")

    command = add("figures", _figures, "tables, figures and report again from records alone")
    command.add_argument("--results", type=Path, default=RESULTS, help="a folder of .jsonl files, or one such file")
    command.add_argument("--figures", type=Path, default=FIGURES, help="where to write")
    command.add_argument("--width-in", type=float, help="of Figs. 4 and 5, in inches; one column by default")
    command.add_argument("--methods", default="all", help="in Figs. 4 and 5, such as no_filter,xdp_drv_nn_fused")

    command = add("record", _record, "record the lab capture between namespaces of its own (root)")
    from .lab.record import add_arguments

    add_arguments(command)

    command = add("extract", _extract, "a capture or packet table -> the paper's twelve features, as Parquet")
    text = "captures (pcap or pcapng, plain or .gz) in the order of time, or a folder with a packet table"
    command.add_argument("source", type=Path, nargs="+", help=text)
    text = "published, corrected or csv for CIC-IDS2017; else a schedule (CSV: label, activity, start_us, end_us, ...)"
    command.add_argument("--labels", help=f"{text}, or GeneratedLabelledFlows CSV file or folder")
    command.add_argument("--out", type=Path, default=INTERIM / "dataset.parquet")
    command.add_argument("--name", default="own capture", help="what the data is called in tables and figures")
    command.add_argument("--sampling", choices=("last", "every"), default="last", help="a vector a flow, or a packet")
    command.add_argument("--dedup-ms", type=float, default=0, help="leave out copies of a frame within this time")
    command.add_argument("--reorder-ms", type=float, default=0, help="let packets wait this long for older ones")
    command.add_argument("--scheduler", metavar="ADDRESS", help="a Dask scheduler; this machine's cores by default")
    command.add_argument("--json", action="store_true", help="one JSON object of counts")

    command = add("sweep", _sweep, "measure throughput and CPU of every method, Figs. 4 and 5 (root)")
    command.add_argument("--profile", default="smoke", help=", ".join(PROFILES))
    command.add_argument("--methods", default="all", help="names with commas between them; default: %(default)s")
    text = "a new source port for every packet, or one flow; both: hping3's new, live frames' one and at some rates new"
    command.add_argument("--flows", choices=("both", "new", "one"), default="both", help=text)
    text = "the machine that sends, ssh://root@host[:port]; without, client and server are namespaces of this one"
    command.add_argument("--client", metavar="URL", help=text)
    command.add_argument("--client-iface", metavar="IF", help="its end of the measured link")
    command.add_argument("--server-iface", metavar="IF", help="this machine's end")
    command.add_argument(
        "--client-dir", metavar="DIR", help="this project's checkout on the client; as here by default"
    )
    text = "IPv4 address to send to; the server's own by default, which it answers with resets"
    command.add_argument("--target", metavar="ADDRESS", help=text)
    command.add_argument("--ssh-config", type=Path, metavar="FILE", help="for ssh, instead of your own")

    command = add("parity", _parity, "compare NumPy, C, XDP and TC bit for bit; exit code 1 on any difference (root)")
    command.add_argument("--n", type=int, default=10000, help="random and boundary vectors for each model")
    command.add_argument("--pcap", type=Path, default=SAMPLE, help="packets to send through all of them as well")
    command.add_argument("--user-space", action="store_true", help="without the kernel: needs no root")
    command.add_argument("--json", action="store_true", help="one JSON object of mismatch counts")

    command = add("bench", _bench, "ns a packet of the kernel program's variants, in interleaved rounds (root)")
    command.add_argument("--rounds", type=int, default=30, help="of 10,000 packets for each variant")
    command.add_argument("--json", action="store_true", help="one JSON object of medians")

    from .cli import live

    live.add_commands(add)

    command = add("accuracy", _accuracy, "train with several seeds and score every implementation (root)")
    command.add_argument("--data", type=Path, default=SAMPLE, help="a capture, a packet table's folder, or a dataset")
    command.add_argument("--labels", type=Path, help="label schedule of a capture; the .csv beside it by default")
    command.add_argument("--seeds", type=int, default=3, help="how many")
    command.add_argument("--user-space", action="store_true", help="without the kernel: needs no root")
    command.add_argument("--json", action="store_true", help="one JSON object with intervals")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 2 for what only the user can mend, said in one sentence."""
    args = _parser().parse_args(argv)
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    try:
        return args.run(args)
    except UserError as error:
        print(f"ids_repro {args.command}: {error}", file=sys.stderr)
        return 2
    except PermissionError as error:
        print(f"ids_repro {args.command}: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            f"ids_repro {args.command}: interrupted; finished trials and files stay, a rerun resumes", file=sys.stderr
        )
        return 130


if __name__ == "__main__":
    sys.exit(main())
