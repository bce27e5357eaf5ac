"""Extract several captures into one dataset: each is a task of its own; their vectors are joined in the order given."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .. import parallel
from ..config import UserError
from ..files import replaced, require_distinct, require_output
from . import extract, feature_file, packet_table, parts
from .labels.flow_index import FlowIndex
from .labels.source import LabelSource, from_index, label_files, label_source, resolved


def _one(job: Mapping[str, Any]) -> None:
    labels = job["labels"]
    if isinstance(labels, Path):
        labels = from_index(labels.stem, FlowIndex.load(labels))
    extract.run(job["source"], job["out"], labels, **job["options"])


def _shared(spec: str | None, folder: Path) -> LabelSource | Path | None:
    """Return a source of labels for tasks: a schedule itself, else a file that is read faster than the label files."""
    labels = label_source(spec) if spec else None
    if labels is None or labels.index is None:
        return labels
    path = folder / f"{labels.name}.npz"
    labels.index.save(path)
    return path


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
        As `extract.run` and `parallel.run` do, or if a capture is named twice.
    """
    out, sources = Path(out), [Path(source) for source in sources]
    require_output(out, [*(file for s in sources for file in packet_table.files(s)), *label_files(label_spec)])
    if len(sources) == 1 and not scheduler:
        return _alone(sources[0], out, label_spec, options)
    names = distinct_names(sources)
    begin = time.perf_counter()
    job = {"labels": resolved(label_spec), "options": options}
    metas = _extract_and_join([s.resolve() for s in sources], names, out.resolve(), job, scheduler, patience_s)
    return _added(metas, names, time.perf_counter() - begin)


def _alone(source: Path, out: Path, label_spec: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Extract one capture in this process."""
    parts.remove_leftovers(out)
    try:
        return extract.run(source, out, label_source(label_spec) if label_spec else None, **options)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{out} was not written") from None


def distinct_names(sources: Sequence[Path]) -> list[str]:
    """Return a name for each of several captures: its file's name, with as many folders before it as tell them apart.

    Raises
    ------
    UserError
        If a capture is named twice, also through a link, or one is a pipe or the standard input.
    """
    paths = [Path(os.path.normpath(source.absolute())) for source in sources]  # a link keeps its own name
    for number, path in enumerate(paths):
        standard = str(sources[number]) == "-" or path.is_relative_to("/dev/fd")
        if standard or path.is_fifo():  # its part could not be told from another pipe's (`parts.names`)
            what = "the standard input" if standard else "a pipe"
            raise UserError(f"{sources[number]}: {what} must be the only capture, without --scheduler; name a file")
    require_distinct(sources)
    for n in range(1, max(len(path.parts) for path in paths) + 1):
        names = [str(Path(*path.parts[-n:])) for path in paths]
        if len(set(names)) == len(names):
            break
    return names


def _extract_and_join(
    sources: list[Path], names: list[str], out: Path, job: dict, scheduler: str | None, patience_s: float
) -> list[dict]:
    """Write each capture's vectors to a file in a folder beside `out`, then join these; return each one's metadata."""
    labels = label_files(job["labels"])
    for path in [*sources, *labels]:
        if not path.exists():
            raise UserError(f"{path}: there is no such file")
    wanted = parts.names(sources, out, job["labels"], job["options"])
    out.parent.mkdir(parents=True, exist_ok=True)
    with parts.folder(out, wanted) as folder:
        files = [folder / name for name in wanted]
        missing = {part: source for source, part in zip(sources, files, strict=True) if not part.exists()}
        if missing:
            job = job | {"labels": _shared(job["labels"], folder)}
            jobs = [job | {"source": source, "out": part} for part, source in missing.items()]
            parallel.run(_one, jobs, scheduler, "captures", patience_s, [folder, *missing.values()])
        return _join(files, names, out)


def _added(metas: list[dict], names: list[str], seconds: float) -> dict:
    counts = [extract.summary(meta, seconds) for meta in metas]
    groups = ("dropped", "unread_links", "flows_by_class", "unmatched")
    total = _sum(counts) | {key: _sum([c[key] for c in counts]) for key in groups}
    total |= {"flow_rules": counts[0]["flow_rules"], "most_back_ms": max(c["most_back_ms"] for c in counts)}
    speed = {"seconds": round(seconds, 3), "packets_per_s": round(total["packets"] / seconds)}
    return total | speed | {"damage": _damage(metas, names)}


def _damage(metas: list[dict], names: Sequence[str]) -> str | None:
    found = [f"{name}: {meta['damage']}" for name, meta in zip(names, metas, strict=True) if meta["damage"]]
    return "; ".join(found) or None


def _sum(parts: list[dict]) -> dict[str, int]:
    """Add up the values that are counts; a count that is 0 in every part stays."""
    keys = {key: None for part in parts for key, value in part.items() if isinstance(value, int)}
    return {key: sum(part.get(key, 0) for part in parts) for key in keys}


def _join(files: Sequence[Path], names: Sequence[str], out: Path) -> list[dict]:
    """Append the parts to each other, one row group at a time, and return the metadata of each.

    Flow and packet numbers go on from part to part.
    """
    metas, flows, packets = [], 0, 0
    with replaced(out) as whole, pq.ParquetWriter(whole, feature_file.SCHEMA, **feature_file.ENCODING) as writer:
        for part in files:
            file = pq.ParquetFile(part)
            metas.append(json.loads(file.metadata.metadata[b"ids_repro"]))
            for group in range(file.num_row_groups):
                writer.write_table(_shifted(file.read_row_group(group), flow=flows, packet=packets))
            flows, packets = flows + metas[-1]["flows"], packets + metas[-1]["packets"]
        writer.add_key_value_metadata({"ids_repro": json.dumps(_meta(metas, names), sort_keys=True)})
    return metas


def _shifted(table: pa.Table, **by: int) -> pa.Table:
    for name, offset in by.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), pc.add(table[name], offset))
    return table


def _meta(metas: list[dict], names: Sequence[str]) -> dict:
    """Return the metadata of the whole: the common parameters, the sums, and under "captures" each one's metadata."""
    sources = {}
    for meta, name in zip(metas, names, strict=True):
        for file, digest in meta["sources"].items():
            own = file not in (meta["source"], meta["parameters"]["labels"])  # a file of a packet table
            sources[name if file == meta["source"] else f"{name}/{file}" if own else file] = digest
    frames = _sum([meta["frames"] for meta in metas])
    digest = hashlib.sha256("".join(meta["sha256"] for meta in metas).encode()).hexdigest()
    own = {key: metas[0][key] for key in ("name", "parameters")} | {"damage": _damage(metas, names)}
    own["flows_by_class"] = _sum([meta["flows_by_class"] for meta in metas])
    rest = {"source": ", ".join(names), "sources": sources, "sha256": digest, "frames": frames}
    rest["captures"] = [{key: value for key, value in meta.items() if key != "path"} for meta in metas]
    return own | _sum(metas) | rest
