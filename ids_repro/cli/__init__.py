"""The command line. Each module holds the commands of one stage, and each command stands beside its options.

The commands may use every other package. They import it when they run, so that importing this package costs little.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence

from ..config import UserError
from . import data, detector, evaluate, live, models, reproduce, sweep
from .add import Add

__all__ = ["add", "data", "detector", "evaluate", "live", "models", "reproduce", "sweep"]

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


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        The command and its options; those of this process by default.

    Returns
    -------
    int
        The exit code; see `run_command`.

    Raises
    ------
    SystemExit
        With code 2 if there is no such command or option, with code 0 after ``--help``.
    """
    return run_command(make_parser().parse_args(argv))


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    text = "Command line: every command is one call of the package."
    parser = argparse.ArgumentParser("ids_repro", description=text)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    for add_command in COMMANDS:
        add_command(add)
    return parser


def run_command(args: argparse.Namespace) -> int:
    """Run the command that was parsed, and print an error of the user as one sentence instead of a traceback.

    Parameters
    ----------
    args : argparse.Namespace
        What `make_parser` parsed.

    Returns
    -------
    int
        The exit code: 0 if all went well; 1 if the command found a damaged capture, a mismatch or a trial that did not
        end ok; 2 after an error that only the user can correct; 130 after Ctrl-C.
    """
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    try:
        return args.run(args)
    except UserError as error:
        print(f"ids_repro {args.command}: {error}", file=sys.stderr)
        return 2
    except PermissionError as error:
        print(f"ids_repro {args.command}: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        text = str(error) or "finished trials and files stay, a rerun resumes"
        print(f"ids_repro {args.command}: interrupted; {text}", file=sys.stderr)
        return 130
