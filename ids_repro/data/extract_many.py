"""Several captures -> one dataset: each is a task of its own, and their vectors are joined in the order given."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .. import parallel
from ..config import UserError
from . import extract
from .labels.source import label_source


def _one(job: Mapping[str, Any]) -> dict:
    source = label_source(job["labels"]) if job["labels"] else None
    return extract.run(job["source"], job["out"], source, **job["options"])


def run(
    sources: Sequence[Path | str],
    out: Path | str,
    label_spec: str | None = None,
    scheduler: str | None = None,
    **options: Any,
) -> dict:
    """Extract several captures, each on a core or on a worker, into one file.

    Flows end with their capture, as the paper's five do: each holds a day.

    Parameters
    ----------
    sources : sequence of Path or str
        The captures, in the order of time.
    out : Path or str
        The Parquet file; `extract.run` describes it. Parts stand beside it while the work goes on.
    label_spec : str, optional
        See `labels.source`.
    scheduler : str, optional
        See `tasks.run`. Without it and with one capture everything happens in this process.
    **options
        See `extract.run`.

    Returns
    -------
    dict
        The counts of `extract.run`, added up; seconds and packets_per_s of the whole.

    Raises
    ------
    UserError
        As `extract.run` and `tasks.run` do, or if two captures have one name.
    """
    out, sources = Path(out), [Path(source) for source in sources]
    if len(sources) == 1 and not scheduler:
        return extract.run(sources[0], out, label_source(label_spec) if label_spec else None, **options)
    if len({source.name for source in sources}) < len(sources):
        raise UserError("two of the captures have the same name; each needs its own")
    begin = time.perf_counter()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{out.name}.", dir=out.parent) as folder:
            parts = [Path(folder) / f"{number}.parquet" for number in range(len(sources))]
            jobs = [
                {"source": source.resolve(), "out": part, "labels": label_spec, "options": options}
                for source, part in zip(sources, parts, strict=True)
            ]
            counts = parallel.run(_one, jobs, scheduler, "captures")
            _join(parts, out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written, and no part of it was left ({error})") from None
    return _added(counts, sources, time.perf_counter() - begin)


def _added(counts: list[dict], sources: list[Path], seconds: float) -> dict:
    total = _sum(counts) | {"dropped": _sum([c["dropped"] for c in counts])}
    damage = [f"{s.name}: {c['damage']}" for s, c in zip(sources, counts, strict=True) if c["damage"]]
    speed = {"seconds": round(seconds, 3), "packets_per_s": round(total["packets"] / seconds)}
    return total | speed | {"damage": "; ".join(damage) or None}


def _sum(parts: list[dict]) -> dict[str, int]:
    """Add up what is a count in each part; zeros stay, as in a part alone."""
    return {key: sum(part[key] for part in parts) for key, value in parts[0].items() if isinstance(value, int)}


def _join(parts: Sequence[Path], out: Path) -> None:
    """Put files after each other, a row group at a time, with flow and packet numbers that go on counting."""
    half = out.with_name(out.name + ".part")
    metas, flows, packets = [], 0, 0
    try:
        with pq.ParquetWriter(half, extract.SCHEMA, **extract.ENCODING) as writer:
            for part in parts:
                file = pq.ParquetFile(part)
                metas.append(json.loads(file.metadata.metadata[b"ids_repro"]))
                for group in range(file.num_row_groups):
                    writer.write_table(_shifted(file.read_row_group(group), flow=flows, packet=packets))
                flows, packets = flows + metas[-1]["flows"], packets + metas[-1]["packets"]
            writer.add_key_value_metadata({"ids_repro": json.dumps(_meta(metas), sort_keys=True)})
        half.replace(out)
    finally:
        half.unlink(missing_ok=True)


def _shifted(table: pa.Table, **by: int) -> pa.Table:
    for name, offset in by.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), pc.add(table[name], offset))
    return table


def _meta(metas: list[dict]) -> dict:
    """Metadata of the whole: common parameters, the captures' own metadata, and what can be added up."""
    sources = {name: digest for meta in metas for name, digest in meta["sources"].items()}
    frames = _sum([meta["frames"] for meta in metas])
    digest = hashlib.sha256("".join(meta["sha256"] for meta in metas).encode()).hexdigest()
    own = {key: metas[0][key] for key in ("name", "parameters")}
    names = ", ".join(meta["source"] for meta in metas)
    rest = {"source": names, "sources": sources, "sha256": digest, "frames": frames, "captures": metas}
    return own | _sum(metas) | rest
