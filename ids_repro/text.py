"""What people see: text from elsewhere, such as a name in a file, without control characters, and rounded numbers.

A terminal obeys control characters: a name with some could hide lines, or make others look like ours.
"""

from __future__ import annotations

import decimal
import math
import re
import sys
from collections.abc import Mapping
from typing import Any, TextIO

DEEP = 8  # how deep a record is read; what is nested deeper no table or figure needs


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


# How a number is to look, as `format` takes it: what stands before the digits, the digits, the kind.
FORM = re.compile(r"(?P<before>[^.]*?)(?:\.(?P<digits>\d+))?(?P<kind>[efg%]?)")
HALF_UP = decimal.Context(prec=400, rounding=decimal.ROUND_HALF_UP)


def rounded(value: float, form: str) -> str:
    """Return a number as text with so many digits; a half is rounded away from 0, as people do.

    Python's own `format` rounds 0.125 to 0.12, because 2 is even, and 2.675 to 2.67, because the binary number next to
    it is smaller. Here the decimal digits that Python shows of a number are rounded, and there is no -0. Every number
    with a fixed count of digits that people read is made here.

    Parameters
    ----------
    value : float
    form : str
        As for `format`, such as ".3f", ",.0f", "+.2f", ".3g" or ".1%".
    """
    found, value = FORM.fullmatch(form), float(value)
    if found is None:
        raise ValueError(f"{form!r} is no form of a number")
    if not math.isfinite(value) or not found["kind"]:
        return format(value, form)
    digits = int(found["digits"] or 6)
    exact = decimal.Decimal(repr(value)) * (100 if found["kind"] == "%" else 1)
    last = {"g": exact.adjusted() + 1 - max(digits, 1), "e": exact.adjusted() - digits}.get(found["kind"], -digits)
    value = float(exact.quantize(decimal.Decimal(1).scaleb(last), context=HALF_UP)) + 0.0
    return format(value / 100 if found["kind"] == "%" else value, form)


def duration(seconds: float) -> str:
    """Return a time in words: "40 seconds", "2 minutes", "15.9 hours"."""
    minutes = seconds / 60
    if seconds < 99.5:
        whole = rounded(seconds, ".0f")
        return f"{whole} second{'s' * (whole != '1')}"
    return f"{rounded(minutes, '.0f')} minutes" if minutes < 90 else f"{rounded(minutes / 60, '.1f')} hours"


def all_printable(value: Any, deep: int = DEEP) -> Any:
    """Return a value of JSON with all its texts `printable`; what is nested deeper than `deep` is left out."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {printable(name): all_printable(item, deep - 1) for name, item in value.items() if deep}
    return [all_printable(item, deep - 1) for item in value if deep] if isinstance(value, list) else value


def say(text: object, file: TextIO | None = None) -> None:
    """Print lines to standard output, or another stream, at once. All that commands print goes through here."""
    print(printable(str(text), "\n"), file=file or sys.stdout, flush=True)
