"""Read some columns of a CSV file as text, each different text once, and say where a line or a field is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.csv

from ...config import UserError
from .text_files import TextFile, number_fields


def header(file: TextFile) -> list[str]:
    """Return the names in a file's first line, without spaces, quotation marks and marks of encoding around them."""
    line = file.first_line().replace(b"\0", b"").decode("latin-1").removeprefix("ï»¿").removeprefix("ÿþ")
    return [name.strip().strip('"').strip() for name in line.strip().split(delimiter(file))]


def delimiter(file: TextFile) -> str:
    """Return what stands between a file's fields: a comma, or the semicolon or tab that a spreadsheet writes."""
    return max(",;\t", key=file.first_line().decode("latin-1").count)


class CsvTable:
    """The columns of a CSV file as text.

    Parameters
    ----------
    file : TextFile
        Its first line names the columns.
    names : mapping of str to str
        What the names in the file are called here.
    columns : sequence of str
        The names here of the columns to read. Of two columns with one name, the first counts.

    Attributes
    ----------
    codes : dict of str to ndarray of shape (n_rows,), int64
        For each column the number of each row's text, -1 where the field is empty.
    texts : dict of str to list of bytes
        For each column the different texts, by their numbers.
    blank : int
        Lines of spaces, which are no rows. A line without any character is a row of empty fields.

    Raises
    ------
    UserError
        If a column is missing, or a line has more or fewer fields than the first.
    """

    def __init__(self, file: TextFile, names: Mapping[str, str], columns: Sequence[str]):
        self.file, self.blank = file, 0
        self._header = header(file)
        if b"\0" in file.start():
            raise UserError(f"{file}: line 1: column {columns[0]!r}: not text (UTF-16?); save the file in UTF-8")
        here = [names[name] for name in self._header]
        missing = [name for name in columns if name not in here]
        if missing:
            raise UserError(f"{file}: line 1: the column {missing[0]!r} is missing; needed are {', '.join(columns)}")
        self._place = {name: here.index(name) for name in columns}
        table = self._read()
        encoded = {name: table[str(at)].combine_chunks().dictionary_encode() for name, at in self._place.items()}
        self.codes = {k: v.indices.fill_null(-1).to_numpy().astype(np.int64) for k, v in encoded.items()}
        self.texts = {name: column.dictionary.to_pylist() for name, column in encoded.items()}

    def _read(self) -> pa.Table:
        try:
            return self._parsed()
        except pa.ArrowInvalid as error:
            if wrong := number_fields(self.file, len(self._header), delimiter(self.file)):
                raise UserError(wrong) from None
            said = str(error)
        try:
            return self._parsed(self._skip)  # only lines of spaces are wrong, if any
        except pa.ArrowInvalid:
            raise UserError(f"{self.file}: not a CSV file ({said})") from None

    def _parsed(self, wrong_line: Callable[[pa.csv.InvalidRow], str] | None = None) -> pa.Table:
        names = [str(at) for at in range(len(self._header))]
        with self.file.open() as file:
            return pa.csv.read_csv(
                file,
                read_options=pa.csv.ReadOptions(column_names=names, skip_rows=1, block_size=1 << 22),
                parse_options=pa.csv.ParseOptions(
                    delimiter=delimiter(self.file), ignore_empty_lines=False, invalid_row_handler=wrong_line
                ),
                convert_options=pa.csv.ConvertOptions(
                    include_columns=[str(at) for at in self._place.values()],
                    column_types={name: pa.binary() for name in names},
                    null_values=[""],
                    strings_can_be_null=True,
                ),
            )

    def _skip(self, row: pa.csv.InvalidRow) -> str:
        self.blank += 1
        return "skip"

    def repeats_header(self) -> np.ndarray:
        """Return which rows repeat the first line, as in files that were appended to each other; (n_rows,), bool."""
        found = np.ones(len(next(iter(self.codes.values()))), bool)
        for name in sorted(self.codes, key=lambda name: len(self.texts[name])):
            title = self._header[self._place[name]].encode()
            of_title = [i for i, text in enumerate(self.texts[name]) if text.strip() == title]
            found &= np.isin(self.codes[name], of_title)
            if not found.any():
                break
        return found

    def fault(self, name: str, row: int, why: str) -> UserError:
        """Return an error that names the line and the column in the file.

        Parameters
        ----------
        name : str
            The column's name here.
        row : int
            Number of the row, from 0.
        why : str
            What is wrong with the field.
        """
        lines = (number for number, line in self.file.lines() if line.strip() or not line)
        line = next(number for at, number in enumerate(lines) if at == row + 1)
        return UserError(f"{self.file}: line {line}: column {self._header[self._place[name]]!r:.80}: {why}")
