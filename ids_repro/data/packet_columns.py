"""Read the columns of a packet table's two files, and refuse types and values that no packet has."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..config import UserError
from ..files import require_file

# The least and the most of each column of numbers; those in FRACTIONS need not be whole.
RANGES = {
    "flow_id": (0, 2**62),
    "start_epoch_s": (0, 2**32),
    "sport": (0, 0xFFFF),
    "dport": (0, 0xFFFF),
    "proto": (0, 0xFF),
    "idx": (0, 2**31),
    "ip_len": (0, 0xFFFF),
    "iat_ms": (-(10**12), 10**12),
    "dir_fwd": (0, 1),
}
FRACTIONS = ("start_epoch_s", "iat_ms")
MAY_BE_EMPTY = ("start_epoch_s",)


@contextlib.contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turn an error that the library has with a Parquet file into one sentence, which names the file.

    Parameters
    ----------
    path : Path
        The file.
    what : str
        What the error means.

    Raises
    ------
    UserError
        If the body has such an error.
    """
    try:
        yield
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {what} ({' '.join(str(error).split())[:200]})") from None


class ColumnFile:
    """One Parquet file of a packet table.

    Parameters
    ----------
    path : Path
        The file.
    columns : sequence of str
        The columns that it must have. Those in RANGES are numbers, the others texts.
    optional : sequence of str
        Columns of texts that it may have.
    remedy : str
        What the sentence ends with if there is no such file.

    Raises
    ------
    UserError
        If the file is missing or no Parquet file, or a column is missing or of another type.
    """

    def __init__(self, path: Path, columns: Sequence[str], optional: Sequence[str] = (), remedy: str = ""):
        require_file(path, remedy)
        self.path = path
        with reading(path, "not a Parquet file"):
            self._file = pq.ParquetFile(path)
            self.rows, schema = self._file.metadata.num_rows, self._file.schema_arrow
            there = schema.names
        for name in columns:
            if name not in there:
                raise UserError(f"{path}: the column {name!r} is missing; it needs {', '.join(columns)}")
        self._needed = set(columns) - set(MAY_BE_EMPTY)
        self.columns = [*columns, *(name for name in optional if name in there)]
        for name in self.columns:
            self._check_type(name, schema)

    def _check_type(self, name: str, schema: pa.Schema) -> None:
        if schema.names.count(name) > 1:
            raise UserError(f"{self.path}: the column {name!r} is there twice")
        kind, types = schema.field(name).type, pa.types
        if types.is_dictionary(kind):
            kind = kind.value_type
        number = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
        text = types.is_string(kind) or types.is_large_string(kind) or types.is_null(kind)
        if not (number if name in RANGES else text):
            raise UserError(f"{self.path}: the column {name!r} has no {'numbers' if name in RANGES else 'texts'}")

    def read(self) -> pa.Table:
        """Return all rows, whose numbers are checked."""
        with reading(self.path, "cannot be read to its end"):
            table = self._file.read(self.columns)
            table.validate(full=True)  # texts must be UTF-8
        for name in self.columns:
            if name in RANGES:
                self._check(name, table[name])
            elif name in self._needed:
                self.require_full(name, table[name].null_count)
        return table

    def pieces(self, rows: int) -> Iterator[dict[str, np.ndarray]]:
        """Yield the columns of the next rows, at most so many, as arrays. Their numbers are checked."""
        batches = self._file.iter_batches(rows, columns=self.columns)
        while True:
            with reading(self.path, "cannot be read to its end"):
                batch = next(batches, None)
            if batch is None:
                return
            if batch.num_rows:
                yield {name: self._check(name, batch.column(name)) for name in self.columns}

    def _check(self, name: str, column: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """Return a column of numbers as an array; refuse a value that is missing or out of range."""
        if name in self._needed:
            self.require_full(name, column.null_count)
        else:
            column = column.drop_null()
        values, (least, most) = column.to_numpy(zero_copy_only=False), RANGES[name]
        if values.dtype.kind == "f" and np.isnan(values).any():
            self.require_full(name, name in self._needed)
            values = values[~np.isnan(values)]
        whole = name in FRACTIONS or values.dtype.kind != "f" or np.all(values == np.floor(values))
        if not (whole and np.all((values >= least) & (values <= most))):
            kind = "number" if name in FRACTIONS else "whole number"
            raise UserError(f"{self.path}: a value of {name!r} is no {kind} from {least} to {most}")
        return values

    def require_full(self, name: str, empty: int) -> None:
        """Refuse a column that has so many empty values, if there are any."""
        if empty:
            raise UserError(f"{self.path}: the column {name!r} has empty values")
