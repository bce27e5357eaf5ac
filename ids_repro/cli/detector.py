"""The commands of the detector: train-detector and detect."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import FALSE_ALARMS, MODELS, SAMPLE, UserError
from ..text import printable, rounded, say
from .add import Add, add_number, only_with, print_json

if TYPE_CHECKING:
    from ..models.scorers import Settings

ROWS = {"dt": "dt_deep", "nn": "nn_log2"}  # --classifier -> a row of `evaluate.detection`


def _settings(args: argparse.Namespace) -> Settings:
    """Return how the user wants a detector to be trained."""
    from ..models.scorers import Settings
    from ..models.shape import Shape

    return Settings(Shape.read(args.hidden, args.tree_depth, args.leave_out))


def _addresses(args: argparse.Namespace) -> list[str]:
    return [] if args.arriving_at is None else args.arriving_at.split(",")


def _train_detector(args: argparse.Namespace) -> int:
    from ..evaluate import recordings
    from ..files import require_output
    from ..models import detector
    from ..models.detector import progress_bar
    from ..models.model_file import write_model

    settings = _settings(args)
    require_output(args.out, recordings.files(args.train, args.train_labels))
    recording = recordings.read(args.train, args.train_labels, _addresses(args))
    with progress_bar("training") as progress:
        model = detector.train(recording.data, args.false_alarms, args.seed, settings, progress)
    write_model(model, args.out)
    name = printable(recording.data.meta["name"])
    budget = f"budget {rounded(args.false_alarms, '.3%')} of normal flows"
    say(f"{printable(str(args.out))}: a detector, trained on {name}; {budget}")
    for name, seen in model.detector.items():
        say(
            f"  {name:8} flags {rounded(seen.found, '.1%')} of attack flows "
            f"and {rounded(seen.false_alarms, '.3%')} of normal flows held out"
        )
    return 0


def _add_training(command: argparse.ArgumentParser) -> None:
    """Add the options that both commands have."""
    text = "captures or packet tables to learn from; default: the lab capture"
    command.add_argument("--train", type=Path, nargs="+", default=[SAMPLE], metavar="A", help=text)
    text = "its labels; lab.csv for lab.pcap.gz by default"
    command.add_argument("--train-labels", metavar="LABELS", help=text)
    text = "keep only packets to these addresses, with commas between them: what their interface sees"
    command.add_argument("--arriving-at", metavar="ADDRESSES", help=text)
    text = "budget: the largest share of normal flows that may be flagged; default: %(default)s"
    add_number(command, "--false-alarms", default=FALSE_ALARMS, metavar="SHARE", help=text)
    add_number(command, "--seed", default=0, metavar="N", help="default: %(default)s")
    text = "neurons of each hidden layer of the net, one to three layers of 8 to 64; default: %(default)s"
    command.add_argument("--hidden", default="16-16", metavar="WIDTHS", help=text)
    text = "depth of the tree, 1 to 16; default: %(default)s"
    add_number(command, "--tree-depth", default=16, metavar="N", help=text)
    text = "features that neither the net nor the tree sees, such as sport,dport"
    command.add_argument("--leave-out", default="", metavar="NAMES", help=text)


def add_train_detector(add: Add) -> None:
    """Add the command train-detector."""
    command = add("train-detector", _train_detector, "train a detector for a budget of false alarms; see notebook 07")
    _add_training(command)
    command.add_argument("--out", type=Path, default=MODELS / "detector-0.npz", help="default: %(default)s")


def _detect(args: argparse.Namespace) -> int:
    """Train a detector and test it in three ways, of which the last is what the printed object begins with."""
    from ..evaluate import detection, recordings
    from ..files import require_distinct
    from ..models.detector import progress_bar

    settings = _settings(args)
    if args.test:
        require_distinct([*args.train, args.test])
    recording = recordings.read(args.train, args.train_labels, _addresses(args))
    other = recordings.read(args.test, args.test_labels, _addresses(args)) if args.test else None
    tests = detection.TESTS if other else detection.TESTS[:2]
    found = {}
    with progress_bar("training and testing", len(tests)) as progress:
        for nth, test in enumerate(tests):
            try:
                parts = detection.parted(test, recording, other, args.seed)
            except UserError as error:
                if test == tests[-1]:
                    raise
                say(f"ids_repro detect: {error}", sys.stderr)  # the other tests can be made
                continue
            trial = detection.Trial(ROWS[args.classifier], test, *parts, args.seed, (args.false_alarms,), settings)
            found[test] = detection.run(trial, lambda done, nth=nth: progress(nth + done))["outcomes"][0]
    if args.json:
        print_json(args, found[tests[-1]] | {"tests": found})
    else:
        say(_lines(found, args.false_alarms))
    return 0


def _lines(found: dict[str, dict[str, Any]], budget: float) -> str:
    """Return what the tests found as a table for a terminal."""
    names = list(dict.fromkeys(name for one in found.values() for name in one["by_class"]))
    lines = [f"budget: {rounded(budget, '.3%')} of normal flows"]

    def line(what: str, cells: list[str]) -> None:
        lines.append(f"{what:24}" + "".join(f"{cell:>18}" for cell in cells))

    def number(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    every = list(found.values())
    line("", [test.replace("_", " ") for test in found])
    line("attack flows found", [rounded(one["found"], ".1%") for one in every])
    line("normal flows flagged", [rounded(one["false_alarms"], ".3%") for one in every])
    for name in names:
        line(f"  {name}", [number(one["by_class"].get(name), ".1%") for one in every])
    line("incidents found", [number(one["incidents"], ".1%") for one in every])
    line("packets to the alarm", [number(one["packets_to_alarm"], ".0f") for one in every])
    line("ms to the alarm", [number(one["ms_to_alarm"], ",.1f") for one in every])
    line("false alarms an hour", [number(one["false_alarms_per_hour"], ",.0f") for one in every])
    return "\n".join(lines)


def add_detect(add: Add) -> None:
    """Add the command detect."""
    command = add("detect", _detect, "train a detector and test it: by flow, by time, and on another recording")
    _add_training(command)
    text = "its labels; lab.csv for lab.pcap.gz by default"
    command.add_argument("--test", type=Path, metavar="B", help="another recording to test on")
    test_labels = command.add_argument("--test-labels", metavar="LABELS", help=text)
    only_with(test_labels, "--test", lambda args: args.test)
    command.add_argument("--classifier", choices=ROWS, default="dt", help="the tree or the net; default: %(default)s")
    command.add_argument("--json", action="store_true", help="one JSON object: the last test, and all as 'tests'")
