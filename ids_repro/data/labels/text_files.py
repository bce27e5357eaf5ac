"""Open label files: plain or compressed text, and zip files of them."""

from __future__ import annotations

import contextlib
import csv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ... import compressed
from ...config import UserError

# What zipfile raises: also for a version, a compression or an encryption that it does not know.
_ZIP_ERRORS = (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError)
MOST_LINE = 1 << 20  # bytes of a line
_NOT_LABELS = ("MachineLearning", "__MACOSX")  # folders whose CSV files name no hosts, or are no CSV files


@dataclass(frozen=True)
class TextFile:
    """A label file that is on its own or in a zip file.

    Parameters
    ----------
    path : Path
        The file, or the zip file.
    member : str
        Its name in the zip file; empty if it is on its own.
    """

    path: Path
    member: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.member}" if self.member else str(self.path)

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open the file; its bytes are read decompressed, front to end.

        Raises
        ------
        UserError
            If it cannot be opened, or the body comes to a place where it is cut off or damaged.
        """
        try:
            if self.member:
                with zipfile.ZipFile(self.path) as archive, _member(archive, self.member) as file:
                    yield file
            else:
                with self.path.open("rb") as file:
                    kind = compressed.kind_of(file.read(compressed.MAGIC_BYTES))
                    file.seek(0)
                    yield compressed.decompressed(file, kind)
        except (*compressed.ERRORS, *_ZIP_ERRORS[:-1]) as error:
            cut = isinstance(error, EOFError) or "Truncated" in str(error)
            what = "it is cut off" if cut else str(error)
            raise UserError(f"{self}: cannot be read to its end ({what}); get it again or unpack it") from None

    def start(self, size: int = 1 << 16) -> bytes:
        """Return the file's first bytes, at most `size`."""
        with self.open() as file:
            return file.read(size)

    def first_line(self) -> bytes:
        """Return the file's first line; empty if that is longer than 64 KiB."""
        start = self.start()
        return start.split(b"\n")[0] if b"\n" in start or len(start) < 1 << 16 else b""

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield the number of each line, from 1, and the line without its end."""
        with self.open() as file:
            for number, line in enumerate(iter(lambda: file.readline(MOST_LINE), b""), 1):
                if len(line) == MOST_LINE:
                    raise UserError(f"{self}: line {number} has {MOST_LINE:,} bytes or more, and no label file's has")
                yield number, line.rstrip(b"\r\n")


def _member(archive: zipfile.ZipFile, name: str) -> BinaryIO:
    """Open a file in a zip file; its name there may be damaged, which is a ValueError."""
    try:
        return archive.open(name)
    except ValueError as error:
        raise zipfile.BadZipFile(str(error)) from None


def text_files(path: Path) -> list[TextFile]:
    """Return the label files that a path names: the file itself, or the CSV files of a zip file.

    Parameters
    ----------
    path : Path
        An existing file.

    Raises
    ------
    UserError
        If the file is not what its name says, or a zip file holds no CSV file.
    """
    try:
        with path.open("rb") as file:
            kind = compressed.kind_of(file.read(compressed.MAGIC_BYTES))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    named = compressed.SUFFIXES.get(path.suffix.lower())
    if path.suffix.lower() in (".tar", ".tgz") or ".tar" in path.suffixes:
        raise UserError(f"{path}: tar files of labels are not read; unpack it and name the CSV file")
    if named not in (None, kind):
        raise UserError(f"{path}: its name is that of a {named} file, but it is none; if it is plain text, rename it")
    if kind != "zip":
        return [TextFile(path)]
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(filter(is_label_file, archive.namelist()))
    except (*compressed.ERRORS, *_ZIP_ERRORS) as error:
        raise UserError(f"{path}: the zip file cannot be read ({error}); get it again") from None
    if not names:
        raise UserError(f"{path}: no CSV file with labels in it (MachineLearning... names no hosts)")
    return [TextFile(path, name) for name in names]


def is_label_file(name: str) -> bool:
    """Return whether a file in a folder or a zip file, by its relative path, may be a CSV file that names hosts."""
    path = PurePosixPath(name)
    return compressed.bare_name(path).suffix == ".csv" and not any(part.startswith(_NOT_LABELS) for part in path.parts)


def misfit(fields: list[str], wanted: int) -> str | None:
    """Return what is wrong with a line whose fields should be `wanted`, None if nothing is.

    Parameters
    ----------
    fields : list of str
        Of the line.
    wanted : int
        How many columns the first line names.
    """
    if len(fields) == wanted:
        return None
    text = f"{len(fields)} fields, but the first line names {wanted} columns"
    if len(fields) < wanted:
        return f"{text}; is the file cut off, or does a quotation mark not end?"
    hint = "correct it" if any(field.strip() for field in fields[wanted:]) else "take away the comma at its end"
    return f"{text}; the extra field is {fields[wanted].strip()!r:.80}: {hint}"


def number_fields(file: TextFile, wanted: int, delimiter: str) -> str | None:
    """Return a message that names the first line without `wanted` fields between delimiters, None if none is."""
    for number, line in file.lines():
        if not line.strip():
            continue
        try:
            wrong = misfit(next(csv.reader([line.decode("latin-1")], delimiter=delimiter)), wanted)
        except csv.Error as error:
            wrong = f"not a line of a CSV file ({error})"
        if wrong:
            return f"{file}: line {number}: {wrong}"
    return None
