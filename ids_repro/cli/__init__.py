"""The command line. Each module holds the commands of one stage, and each command stands beside its options.

The commands may use every other package. They import it when they run, so that importing this package costs little.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import TextIO

from ..config import DamagedWarning
from ..ownership import prepare_process
from ..text import printable, say
from . import data, detector, evaluate, live, models, reproduce, sweep
from .add import Add, refuse_idle
from .ending import exit_code, prepare_streams

__all__ = ["add", "data", "detector", "ending", "evaluate", "live", "models", "reproduce", "sweep"]

# Each function adds one command with its options; --help lists the commands in this order.
COMMANDS: tuple[Callable[[Add], None], ...] = (
    reproduce.add_reproduce,
    reproduce.add_figures,
    data.add_record,
    data.add_extract,
    sweep.add_sweep,
    evaluate.add_parity,
    evaluate.add_bench,
    live.add_attach,
    live.add_status,
    live.add_swap,
    live.add_samples,
    live.add_detach,
    models.add_models,
    evaluate.add_accuracy,
    detector.add_train_detector,
    detector.add_detect,
)


class _Parser(argparse.ArgumentParser):
    """A parser whose messages, which repeat what was typed, have no control characters."""

    def _print_message(self, message: str, file: TextIO | None = None) -> None:
        super()._print_message(printable(message, "\n"), file)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        The command and its options; those of this process by default.

    Returns
    -------
    int
        The exit code; see `ending.exit_code`.

    Raises
    ------
    SystemExit
        With code 2 if there is no such command or option, with code 0 after ``--help``.
    """
    prepare_streams()
    prepare_process()
    argv = sys.argv[1:] if argv is None else argv
    # Numbers are checked while the options are parsed, so this can end in a sentence too.
    return exit_code(argv[0] if argv else "", lambda: _run(make_parser().parse_args(argv)))


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    text = "Command line: every command is one call of the package."
    parser = _Parser("ids_repro", description=text)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run, options=command)
        return command

    for add_command in COMMANDS:
        add_command(add)
    return parser


def run_command(args: argparse.Namespace) -> int:
    """Run the command that `make_parser` parsed, and return its exit code; see `ending.exit_code`."""
    return exit_code(args.command, lambda: _run(args))


def _run(args: argparse.Namespace) -> int:
    """Run a command; the exit code is 1 if it reads a damaged capture, because then packets are missing."""
    refuse_idle(args.options, args)
    args.damage = []

    def tell(message: Warning, category: type[Warning], *_: object) -> None:
        if category is not DamagedWarning:
            say(printable(f"warning: {message}"), sys.stderr)
        elif str(message) not in args.damage:  # a command may read a capture twice
            args.damage.append(str(message))
            say(printable(f"ids_repro {args.command}: {message}"), sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", DamagedWarning)
        warnings.showwarning = tell
        return args.run(args) or int(bool(args.damage))
