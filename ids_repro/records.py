"""Records of trials, one JSON line each. A record says all that leads from a number back to the run that made it.

A line is ``{"kind", "asked", "raw", "status", "reason", "provenance"}``: what the trial was asked to do (its seed and
repeat number included), every raw value with its unit in the key's name, how the trial ended, and where, when and with
what it ran. `record_schema` says what a record of each kind must hold; records are checked by it when they are written
and when they are read. Each line is written as soon as its trial ends. A run that is killed while it writes a line
loses that line only: `read` leaves it out with a warning, the next `append` cuts it off, and the trial runs again.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import time
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import locks, machine_load
from .config import UserError
from .files import all_bytes, require_output
from .ownership import give
from .provenance import provenance
from .record_schema import KINDS, fault

PATIENCE_S = 60.0  # how long to wait for another process that writes a record
# Names of rows and methods in records of earlier versions, with their present names. The old names did not say whether
# the net's arithmetic is the paper's (q16) or ours (fused).
RENAMED = {
    "nn_c_q16": "nn_q16_c",
    "nn_c_q16_O0": "nn_q16_c_O0",
    "nn_c_fused": "nn_fused_c",
    "nn_kernel": "nn_q16_kernel",
    "xdp_drv_nn": "xdp_drv_nn_fused",
    "xdp_drv_nn_paper": "xdp_drv_nn_q16_paper",
    "tc_nn": "tc_nn_fused",
    "xdp_skb_nn": "xdp_skb_nn_fused",
    "afxdp_nn": "afxdp_nn_fused",
    "rawsock1_nn": "rawsock1_nn_fused",
    "rawsockN_nn": "rawsockN_nn_fused",
}
NAMED = ("row", "method")  # keys of `asked` whose values may be old names
OF_ITS_OWN = ("capture_sha256", "detector_sha256")  # in `asked` of some trials of a sweep
# What must agree before two trials may stand in one table. It is looked up in `asked`, then in `identity`.
SCOPE = ("profile", "dataset", "labels", "data_hash", "mode", "budgets", "flood_s")


class Start(NamedTuple):
    """When a trial began.

    Attributes
    ----------
    utc_s : float
        By ``time.time()``, for people.
    clock_s : float
        By ``time.monotonic()``, for durations: somebody may set the other clock meanwhile.
    cpus : machine_load.Sample, optional
        What all CPUs had done by then.
    load : mapping
        How busy others kept the machine before; see `machine_load.before`.
    """

    utc_s: float
    clock_s: float
    cpus: machine_load.Sample | None = None
    load: Mapping[str, float] = {}  # noqa: RUF012, which takes a NamedTuple's default for a class variable


def now() -> Start:
    """Return the start of a trial that begins now."""
    cpus, load = machine_load.before()
    return Start(time.time(), time.monotonic(), cpus, load)


def append(
    path: Path | str,
    kind: str,
    asked: Mapping[str, Any],
    raw: Mapping[str, Any],
    status: str = "ok",
    reason: str = "",
    *,
    started: Start | None = None,
    identity: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict:
    """Append one trial to a file of records and return the record as `read` returns it.

    Parameters
    ----------
    path : Path or str
        A ``.jsonl`` file. It and its folder are made if they do not exist.
    kind : str
        A name in `record_schema.KINDS`.
    asked, raw : mapping
        What the trial was asked to do, and what it measured, before any averaging.
    status, reason : str
        "ok"; "failed" if the trial ended in an error; "bad" if what it measured breaks an invariant. And why, in words.
    started : Start, optional
        When the trial began, as `now` said then, for how long it took and the load meanwhile; now by default.
    identity : mapping, optional
        What else must be equal before the trial counts as done: profile, data_hash, model_hash, ...
    **more
        Further provenance, such as ``mode="ssh"`` or ``seed=3``.

    Raises
    ------
    ValueError
        If the record does not hold what its kind must. Nothing is written then.
    """
    run = _run(asked, started or Start(time.time(), time.monotonic()), identity)
    entry = {"kind": kind, "asked": dict(asked), "raw": dict(raw), "status": status, "reason": reason}
    line = json.dumps(_plain(entry | {"provenance": provenance() | run | more}), allow_nan=False)
    record = json.loads(line)
    if wrong := fault(record) if kind in KINDS else "there is no such kind in record_schema.KINDS":
        raise ValueError(f"a record of kind {kind!r}: {wrong}")
    _write_line(Path(path), line.encode() + b"\n")
    return record


def _run(asked: Mapping[str, Any], began: Start, identity: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the trial's own part of the provenance: its identity, its seed, when it began and how long it took."""
    stamp = datetime.datetime.fromtimestamp(began.utc_s, datetime.timezone.utc).isoformat(timespec="milliseconds")
    took_s = round(time.monotonic() - began.clock_s, 3)
    run = {"identity": dict(identity or {}), "started_utc": stamp, "duration_s": took_s}
    if began.cpus:
        run["load"] = began.load | machine_load.since(began.cpus)
    return run | ({"seed": asked["seed"]} if "seed" in asked else {})


def read(path: Path | str) -> list[dict]:
    """Return the records of a file in the order of writing, with the present names of rows and methods.

    Parameters
    ----------
    path : Path or str
        A ``.jsonl`` file, or a folder: then the records of all its ``.jsonl`` files, in the order of their names. A
        file that does not exist has no records.

    Raises
    ------
    UserError
        If it is a pipe, say, or a line is no record or lacks what its kind must hold (`record_schema`).

    Warns
    -----
    UserWarning
        For each line that is torn, because its writer was killed. It is left out.
    """
    path = Path(path)
    if path.is_dir():
        return [record for file in sorted(path.glob("*.jsonl")) for record in read(file)]
    records = []
    for number, line in enumerate(all_bytes(path).split(b"\n") if path.exists() else (), start=1):
        try:
            record = _parse(line)
        except ValueError:
            if line.strip():
                warnings.warn(f"{path.name} line {number} is not a whole record and is left out", stacklevel=2)
            continue
        if wrong := fault(record):
            raise UserError(f"{path} line {number}: {wrong}; take this line out, and its trial runs again")
        records.append(_renamed(record))
    return records


def read_some(path: Path | str) -> list[dict]:
    """Return what `read` returns, for those who can do nothing without a record; see `require_finished`."""
    return require_finished(read(path), f"{path}: ")


def require_finished(rows: Iterable[Mapping[str, Any]], where: str = "") -> list:
    """Return records as a list, and refuse those of which none is of a trial that ended well.

    Parameters
    ----------
    rows : iterable of record
    where : str
        What the sentence begins with.

    Raises
    ------
    UserError
        If there is no such record.
    """
    rows = list(rows)
    if not any(record["status"] == "ok" for record in rows):
        raise UserError(f"{where}no record of a finished trial is there; give the folder of a run's .jsonl files")
    return rows


def key(asked: Mapping[str, Any], identity: Mapping[str, Any] | None = None) -> str:
    """Return canonical JSON of `asked` and `identity`, which is equal for two records of the same trial."""
    return json.dumps(_plain({"asked": asked, "identity": identity or {}}), sort_keys=True, allow_nan=False)


def done(path: Path | str, kind: str) -> set[str]:
    """Return the keys of the trials of one kind that ended ok and need not run again.

    Ask ``key(asked, identity) in done(path, kind)`` before a trial.
    """
    return {
        key(record["asked"], record["provenance"].get("identity"))
        for record in read(path)
        if record["kind"] == kind and record["status"] == "ok"
    }


def current(records: Iterable[Mapping[str, Any]], kind: str) -> list[dict]:
    """Return the newest record of each trial, among ok records of this kind made with the newest record's scope.

    Only these may stand together in one table or figure. A file may also hold a smoke run beside a paper run, or runs
    from before the models were trained again: for each task and seed, the records that agree with the newest one in
    `identity` are taken, so that a table has one model, and those of one replayed capture and of one detector.

    Returns
    -------
    list of dict
        In the order of writing.
    """
    ok = [dict(record) for record in records if record["kind"] == kind and record["status"] == "ok"]
    ok = [record for record in ok if scope(record) == scope(ok[-1])]
    newest = {_case(record): record["provenance"].get("identity") for record in ok}
    ok = [record for record in ok if record["provenance"].get("identity") == newest[_case(record)]]
    own = {name: record["asked"][name] for record in ok for name in OF_ITS_OWN if name in record["asked"]}
    ok = [record for record in ok if all(record["asked"].get(name, one) == one for name, one in own.items())]
    last = {key(record["asked"]): index for index, record in enumerate(ok)}
    return [ok[index] for index in sorted(last.values())]


def _case(record: Mapping[str, Any]) -> tuple:
    return record["asked"].get("task"), record["asked"].get("seed")


def scope(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return SCOPE of a record, None for what it does not say."""
    identity = record["provenance"].get("identity", {})
    return {name: record["asked"].get(name, identity.get(name)) for name in SCOPE}


def _plain(value: Any) -> Any:
    """Convert a value to JSON's types: arrays to lists, paths to text, NaN and infinity to null."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def current_name(name: str) -> str:
    """Return the present name of a row or method, given its present name or one of an earlier version."""
    return RENAMED.get(name, name)


def _parse(line: bytes) -> Any:
    """Return what a line says, NaN and infinity as texts, which are no numbers; raise ValueError if it is torn."""
    try:
        return json.loads(line, parse_constant=str)
    except RecursionError:
        return None  # it is whole, but no record


def _renamed(record: dict) -> dict:
    """Return a record with the present names of rows and methods."""
    asked = record["asked"]
    return record | {"asked": asked | {name: current_name(asked[name]) for name in NAMED if name in asked}}


def _torn(line: bytes) -> bool:
    try:
        return not isinstance(_parse(line), dict)
    except ValueError:
        return True


def _write_line(path: Path, line: bytes) -> None:
    """Write a line after the last whole one and flush it to the disk; a lock admits one writer at a time."""
    require_output(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        locks.take(file.fileno(), f"{path}: another process writes records there", PATIENCE_S)
        file.seek(0)
        whole, newline, tail = file.read().rpartition(b"\n")
        if tail and _torn(tail):
            file.truncate(len(whole) + len(newline))
        elif tail:
            line = b"\n" + line
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
    give(path.absolute())
