"""What each kernel made of each variant of the kernel program: a table, from records."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from .exhibit import Block, Exhibit, Results, origin

COLUMNS = (
    "kernel",
    "variant",
    "hook",
    "classes",
    "refused",
    "not_compared",
    "verified_insns",
    "vectors",
    "packets",
    "differ",
)
NOTES = (
    "Each number: how many instructions the kernel's verifier walked through until it accepted the program; before "
    "Linux 5.16 the kernel tells no number, only that the program is loaded. A program that it refused is called "
    "refused. Where kernel and user space differ, the number of vectors and packets stands beside it. Hook: where "
    "the program is attached; empty looks at no packet. make test-kernels boots these kernels of Debian in virtual "
    "machines without KVM."
)


def exhibit(results: Results) -> Exhibit:
    """Return the table of kernels and variants."""
    frame, used = results.once(table), results.current("kernel")
    where = f"{parity(frame)} Made with {origin(used, ('commit',))}. Records: kernels.jsonl." if used else ""
    caption = f"Variants of the kernel program under other kernels: {where or 'no records yet: run make test-kernels.'}"
    return Exhibit("kernels", caption, frame, [Block("", _text(frame))] if used else [], NOTES)


def table(results: Results) -> pd.DataFrame:
    """Return one line for each kernel and variant that records of kind "kernel" have.

    Returns
    -------
    DataFrame
        kernel (its release), variant, hook, classes, refused and not_compared (why, else empty),
        verified_insns, vectors, packets, differ; in the order of the kernels' versions. None: not measured.
    """
    lines = [record["asked"] | record["raw"] for record in results.current("kernel")]
    lines.sort(key=lambda line: version(line["kernel"]))
    return pd.DataFrame(lines, columns=[*COLUMNS], dtype=object)  # whole numbers stay whole beside empty cells


def version(release: str) -> tuple[int, ...]:
    """Return the numbers of a kernel's release, by which releases are sorted."""
    return tuple(int(number) for number in re.findall(r"\d+", release))


def parity(frame: pd.DataFrame) -> str:
    """Return in one sentence how many vectors and packets were compared, and how many differ."""
    compared, differ = frame["differ"].notna().sum(), frame["differ"].dropna().sum()
    most = f"{frame['vectors'].max():,} vectors and {frame['packets'].max():,} packets"
    what = "no bit differs from user space" if not differ else f"{differ:,} vectors and packets differ from user space"
    return f"in {compared} programs, each on up to {most}, {what}."


def _text(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `table` with a line for each variant and a column for each kernel."""

    def cell(line: Any) -> str:
        if line.refused:
            return "refused"
        differ = f" ({line.differ:,} differ)" if line.differ else " (not compared)" * bool(line.not_compared)
        walked = 0 if pd.isna(line.verified_insns) else line.verified_insns
        return (f"{walked:,}" if walked else "loaded") + differ

    lines: dict[tuple, dict[str, str]] = {}
    for line in frame.itertuples():
        names = {"Variant": line.variant, "hook": line.hook, "classes": str(line.classes)}
        lines.setdefault((line.variant, line.hook, line.classes), names)[line.kernel] = cell(line)
    return pd.DataFrame(lines.values()).fillna("")
