"""Extract several captures into one dataset: each is a task of its own; their vectors are joined in the order given."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .. import parallel
from ..config import UserError
from . import extract, feature_file, parts
from .labels.source import label_source, resolved


def _one(job: Mapping[str, Any]) -> None:
    source = label_source(job["labels"]) if job["labels"] else None
    extract.run(job["source"], job["out"], source, **job["options"])


def run(
    sources: Sequence[Path | str],
    out: Path | str,
    label_spec: str | None = None,
    scheduler: str | None = None,
    patience_s: float = parallel.PATIENCE_S,
    **options: Any,
) -> dict[str, Any]:
    """Extract several captures, each on a core or on a worker, into one file.

    A flow ends where its capture ends. The paper's five captures hold a day each.

    Parameters
    ----------
    sources : sequence of Path or str
        The captures, in the order of time.
    out : Path or str
        The Parquet file (`feature_file`). Until it is complete, a folder beside it holds a file for each capture
        (`parts`): after an interruption the same call goes on from these.
    label_spec : str, optional
        What `label_source` takes.
    scheduler, patience_s
        See `parallel.run`. One capture without a scheduler is extracted in this process.
    **options
        See `extract.run`.

    Returns
    -------
    dict
        The sums of the counts of `extract.run`; "seconds" and "packets_per_s" are those of the whole.

    Raises
    ------
    UserError
        As `extract.run` and `parallel.run` do, or if two captures have the same name.
    """
    out, sources = Path(out), [Path(source) for source in sources]
    if len(sources) == 1 and not scheduler:
        return _alone(sources[0], out, label_spec, options)
    if len({source.name for source in sources}) < len(sources):
        raise UserError("two of the captures have the same name; each needs its own")
    begin = time.perf_counter()
    job = {"labels": resolved(label_spec) if label_spec else None, "options": options}
    metas = _extract_and_join([source.resolve() for source in sources], out.resolve(), job, scheduler, patience_s)
    return _added(metas, sources, time.perf_counter() - begin)


def _alone(source: Path, out: Path, label_spec: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Extract one capture in this process."""
    parts.remove_leftovers(out)
    try:
        return extract.run(source, out, label_source(label_spec) if label_spec else None, **options)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{out} was not written") from None


def _extract_and_join(
    sources: list[Path], out: Path, job: dict, scheduler: str | None, patience_s: float
) -> list[dict]:
    """Write each capture's vectors to a file in a folder beside `out`, then join these; return each one's metadata."""
    labels = parts.label_paths(job["labels"])
    for path in [*sources, *labels]:
        if not path.exists():
            raise UserError(f"{path}: there is no such file")
    names = parts.names(sources, out, job["labels"], job["options"])
    with feature_file.write_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with parts.folder(out, names) as folder:
            files = [folder / name for name in names]
            missing = {part: source for source, part in zip(sources, files, strict=True) if not part.exists()}
            if missing:
                jobs = [job | {"source": source, "out": part} for part, source in missing.items()]
                parallel.run(_one, jobs, scheduler, "captures", patience_s, [folder, *missing.values(), *labels])
            return _join(files, out)


def _added(metas: list[dict], sources: list[Path], seconds: float) -> dict:
    counts = [extract.summary(meta, seconds) for meta in metas]
    total = _sum(counts) | {"dropped": _sum([c["dropped"] for c in counts])}
    damage = [f"{s.name}: {c['damage']}" for s, c in zip(sources, counts, strict=True) if c["damage"]]
    speed = {"seconds": round(seconds, 3), "packets_per_s": round(total["packets"] / seconds)}
    return total | speed | {"damage": "; ".join(damage) or None}


def _sum(parts: list[dict]) -> dict[str, int]:
    """Add up the values that are counts; a count that is 0 in every part stays."""
    return {key: sum(part[key] for part in parts) for key, value in parts[0].items() if isinstance(value, int)}


def _join(files: Sequence[Path], out: Path) -> list[dict]:
    """Append the parts to each other, one row group at a time, and return the metadata of each.

    Flow and packet numbers go on from part to part.
    """
    half = out.with_name(out.name + ".part")
    metas, flows, packets = [], 0, 0
    try:
        with pq.ParquetWriter(half, feature_file.SCHEMA, **feature_file.ENCODING) as writer:
            for part in files:
                file = pq.ParquetFile(part)
                metas.append(json.loads(file.metadata.metadata[b"ids_repro"]))
                for group in range(file.num_row_groups):
                    writer.write_table(_shifted(file.read_row_group(group), flow=flows, packet=packets))
                flows, packets = flows + metas[-1]["flows"], packets + metas[-1]["packets"]
            writer.add_key_value_metadata({"ids_repro": json.dumps(_meta(metas), sort_keys=True)})
        half.replace(out)
        return metas
    finally:
        half.unlink(missing_ok=True)


def _shifted(table: pa.Table, **by: int) -> pa.Table:
    for name, offset in by.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), pc.add(table[name], offset))
    return table


def _meta(metas: list[dict]) -> dict:
    """Return the metadata of the whole: the common parameters, the sums, and under "captures" each one's metadata."""
    sources = {name: digest for meta in metas for name, digest in meta["sources"].items()}
    frames = _sum([meta["frames"] for meta in metas])
    digest = hashlib.sha256("".join(meta["sha256"] for meta in metas).encode()).hexdigest()
    own = {key: metas[0][key] for key in ("name", "parameters")}
    names = ", ".join(meta["source"] for meta in metas)
    rest = {"source": names, "sources": sources, "sha256": digest, "frames": frames, "captures": metas}
    return own | _sum(metas) | rest
