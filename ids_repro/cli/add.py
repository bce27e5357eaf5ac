"""How each module of this package adds its commands and their numbers."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from typing import Any

from ..config import number

# Takes a command's name, the function that runs it and its line in --help; returns its parser, which takes the options.
Add = Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]


def print_json(args: argparse.Namespace, found: dict[str, Any]) -> None:
    """Print what a command found as one JSON object, which says under "damage" if a capture was cut off or damaged."""
    print(json.dumps(found | ({"damage": "; ".join(args.damage)} if args.damage else {})))


def add_number(command: argparse.ArgumentParser, option: str, **kwargs: Any) -> None:
    """Add an option whose value is a number within its `config.LIMITS`; another one is a UserError."""
    command.add_argument(option, type=partial(number, option), **kwargs)
