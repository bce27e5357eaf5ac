"""Text from elsewhere, such as a name in a file or a record, before people see it: no control character stays in it.

A terminal obeys control characters: a name with some could hide lines, or make others look like ours.
"""

from __future__ import annotations

import sys
from typing import TextIO


def printable(text: str, keep: str = "", most: int | None = None) -> str:
    r"""Return a text with each character that is not printable as its escape, such as ``\x1b``.

    Parameters
    ----------
    text : str
    keep : str
        Characters that stay as they are, such as a newline.
    most : int, optional
        Cut the result after so many characters.
    """
    if not text.isprintable():
        text = "".join(one if one.isprintable() or one in keep else ascii(one)[1:-1] for one in text)
    return text if most is None or len(text) <= most else f"{text[: most - 3]}..."


def say(text: object, file: TextIO | None = None) -> None:
    """Print lines to standard output, or another stream, at once. All that commands print goes through here."""
    print(printable(str(text), "\n"), file=file or sys.stdout, flush=True)
