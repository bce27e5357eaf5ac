"""How each module of this package adds its commands and their numbers."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from typing import Any

from ..config import UserError, number
from ..text import say

# Takes a command's name, the function that runs it and its line in --help; returns its parser, which takes the options.
Add = Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]


def only_with(option: argparse.Action, what: str, given: Callable[[argparse.Namespace], Any]) -> argparse.Action:
    """Let `refuse_idle` refuse an option that would do nothing.

    Parameters
    ----------
    option : argparse.Action
        What `add_argument` returned.
    what : str
        What it needs, for the error.
    given : callable
        Takes the command's options and says whether they have that.
    """
    option.only_with = what, given
    return option


def refuse_idle(command: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Raise UserError if the user gave an option that does nothing beside the other options; see `only_with`."""
    for option in command._actions:
        what, given = getattr(option, "only_with", ("", None))
        if given and getattr(args, option.dest) != option.default and not given(args):
            raise UserError(f"{option.option_strings[0]} does nothing without {what}: leave it out, or add that")


def print_json(args: argparse.Namespace, found: dict[str, Any]) -> None:
    """Print what a command found as one JSON object, which says under "damage" if a capture was cut off or damaged."""
    say(json.dumps(found | ({"damage": "; ".join(args.damage)} if args.damage else {})))


def add_number(command: argparse.ArgumentParser, option: str, **kwargs: Any) -> argparse.Action:
    """Add an option whose value is a number within its `config.LIMITS`; another one is a UserError."""
    return command.add_argument(option, type=partial(number, option), **kwargs)
