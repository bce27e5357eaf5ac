"""The Parquet file of feature vectors: its columns, and a writer that holds one row group in memory.

The columns are FEATURES (int64, Q16) and then COLUMNS: "flow" (number of the flow), "index" (of the packet in its flow,
from 0), "packet" (number among the packets kept, from 0), "time_us" (since 1970), all int64, and "label" (int8, index
into `config.CLASSES`, -1 without a label). With the sampling "every" the rows are in the order of arrival. With "last"
a row group holds the next vectors that were final, sorted by flow. The file's metadata has JSON under "ids_repro": the
SHA-256 of each source, the parameters and the counts. The same inputs give the same bytes.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..config import CLASSES, UserError
from ..native import stream
from ..native.layouts import VECTOR
from .features import FEATURES

COLUMNS = ("flow", "index", "packet", "time_us", "label")
SCHEMA = pa.schema(
    [(name, pa.int64()) for name in FEATURES]
    + [(name, pa.int8() if name == "label" else pa.int64()) for name in COLUMNS]
)
# Of the encodings tried, this one is the fastest and the smallest: the integers' bytes are stored by place, then LZ4.
ENCODING = {
    "use_dictionary": False,
    "compression": "lz4",
    "column_encoding": {name: "BYTE_STREAM_SPLIT" for name in SCHEMA.names if name != "label"},
}
ROW_GROUP = 1 << 17  # vectors that are held in memory before they are written


@contextlib.contextmanager
def write_errors(out: Path) -> Iterator[None]:
    """Turn an OSError of the body into a UserError that names the output file.

    Parameters
    ----------
    out : Path
        The file that the body writes.

    Raises
    ------
    UserError
        If the body raises OSError, for example because the disk is full.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{out}: cannot be written, and no part of it was left behind ({error})") from None


class FeatureWriter:
    """Write vectors in row groups of one size. The file gets its name when it is complete.

    Use it as a context manager: leaving it removes a file that is not complete.

    Parameters
    ----------
    out : Path
        The Parquet file. Until it is complete, its name ends in ".part".
    every : bool
        Whether the vectors come in the order of arrival, one per packet; else one per flow.
    label : callable
        Takes vectors of shape (n,), dtype VECTOR, and returns their labels, shape (n,), int8.

    Raises
    ------
    UserError
        If the file cannot be written; the methods raise it too.
    """

    def __init__(self, out: Path, every: bool, label: Callable[[np.ndarray], np.ndarray]):
        self.out, self._every, self._label = out, every, label
        self._part = out.with_name(out.name + ".part")
        self._vectors, self._flows_by_class = 0, np.zeros(len(CLASSES) + 1, np.int64)  # the last has no label
        with write_errors(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._file = pq.ParquetWriter(self._part, SCHEMA, **ENCODING)
            except BaseException:  # also Ctrl-C: no `with` has begun that would remove the file
                self._part.unlink(missing_ok=True)
                raise

    def __enter__(self) -> FeatureWriter:
        return self

    def __exit__(self, *_) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        self._part.unlink(missing_ok=True)

    def drain(self, sampler: stream.Sampler, least: int) -> None:
        """Write row groups while at least `least` vectors wait in the sampler.

        Parameters
        ----------
        sampler : stream.Sampler
            The vectors that are written leave it.
        least : int
            ROW_GROUP while more packets come; 1 at the end.
        """
        while sampler.counts()["waiting"] >= least:
            self._write(sampler.take(ROW_GROUP))

    def drain_all(self, sampler: stream.Sampler) -> None:
        """End the sampler and write what is left, without holding all of it in memory at once."""
        while sampler.end(ROW_GROUP):
            self.drain(sampler, ROW_GROUP)
        self.drain(sampler, 1)

    def _write(self, vectors: np.ndarray) -> None:
        if not self._every:
            words = vectors.view(np.int64).reshape(len(vectors), -1)  # NumPy moves rows of words faster than structs
            vectors = words.take(np.argsort(vectors["flow"]), axis=0).view(VECTOR).ravel()
        label = self._label(vectors)
        self._vectors += len(vectors)
        of_flows = label[vectors["index"] == 0] if self._every else label
        self._flows_by_class += np.bincount(np.where(of_flows < 0, len(CLASSES), of_flows), minlength=len(CLASSES) + 1)
        columns = [np.ascontiguousarray(vectors["x"][:, i]) for i in range(len(FEATURES))]
        columns += [label if name == "label" else vectors[name].astype(np.int64) for name in COLUMNS]
        with write_errors(self.out):
            self._file.write_table(pa.table(columns, schema=SCHEMA))

    def finish(self, meta: dict) -> dict:
        """Write the metadata, close the file and give it its name.

        Parameters
        ----------
        meta : dict
            What JSON can hold.

        Returns
        -------
        dict
            The metadata as written: `meta`, with "vectors", "flows_by_class" and "flows_without_label".
        """
        *flows, without = self._flows_by_class.tolist()
        meta = meta | {"vectors": self._vectors, "flows_without_label": without}
        meta |= {"flows_by_class": {name: n for name, n in zip(CLASSES, flows, strict=True) if n}}
        with write_errors(self.out):
            self._file.add_key_value_metadata({"ids_repro": json.dumps(meta, sort_keys=True)})
            self._file.close()
            self._part.replace(self.out)
        return meta
