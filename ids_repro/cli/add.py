"""The type of the function with which each module of this package adds its commands."""

from __future__ import annotations

import argparse
from collections.abc import Callable

# Takes a command's name, the function that runs it and its line in --help; returns its parser, which takes the options.
Add = Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]
