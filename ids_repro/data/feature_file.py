"""The Parquet file of feature vectors: its columns, and a writer that holds one row group in memory.

The columns are FEATURES (int64, Q16) and then COLUMNS: "flow" (number of the flow), "index" (of the packet in its flow,
from 0), "packet" (number among the packets kept, from 0), "time_us" (since 1970), all int64, and "label" (int8, index
into `config.CLASSES`, -1 without a label). With the sampling "every" the rows are in the order of arrival. With "last"
a row group holds the next vectors that were final, sorted by flow. The file's metadata has JSON under "ids_repro": the
path of a single capture, the SHA-256 of each source, the parameters and the counts. The same inputs under the same
path give the same bytes.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import BinaryIO

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


class FeatureWriter:
    """Write vectors in row groups of one size. Use it as a context manager.

    Parameters
    ----------
    out : file object
        The Parquet file, of `files.replaced`.
    every : bool
        Whether the vectors come in the order of arrival, one per packet; else one per flow.
    label : callable
        Takes vectors of shape (n,), dtype VECTOR, and returns their labels, shape (n,), int8.
    """

    def __init__(self, out: BinaryIO, every: bool, label: Callable[[np.ndarray], np.ndarray]):
        self._every, self._label = every, label
        self._vectors, self._flows_by_class = 0, np.zeros(len(CLASSES) + 1, np.int64)  # the last has no label
        self._file = pq.ParquetWriter(out, SCHEMA, **ENCODING)

    def __enter__(self) -> FeatureWriter:
        return self

    def __exit__(self, *_) -> None:
        with contextlib.suppress(UserError):  # what could not be written before cannot be written now
            self._file.close()

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
        self._file.write_table(pa.table(columns, schema=SCHEMA))

    def finish(self, meta: dict) -> dict:
        """Write the metadata and complete the file.

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
        self._file.add_key_value_metadata({"ids_repro": json.dumps(meta, sort_keys=True)})
        self._file.close()
        return meta
