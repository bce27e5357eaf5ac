"""Keep the finished part of each capture beside the output, so that a run that was stopped goes on from there.

A run has a folder of its own, OUT.parts-..., and holds a lock in it for as long as it lives. The next run for the same
output takes the finished parts that it needs out of folders whose lock is free, and removes these folders.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import locks
from ..config import UserError
from ..provenance import checkout_sha256
from .labels.source import label_files

LOCK = "lock"


def names(sources: Sequence[Path], out: Path, label_spec: str | None, options: Mapping[str, Any]) -> list[str]:
    """Return the file name of each capture's part: a hash of all that decides what is in it.

    A capture and its labels count with path, size and time of the last change, because reading them would take as long
    as extracting them.

    Parameters
    ----------
    sources : sequence of Path
        Absolute paths.
    out : Path
        The output; it and its parts do not count, should they be in a folder of labels.
    label_spec, options
        See `extract_many.run`; the path of labels is absolute.
    """
    labels = [_stamps(path, out) for path in label_files(label_spec)]
    common = [label_spec, labels, dict(options), checkout_sha256()]
    digests = (hashlib.sha256(json.dumps([_stamps(path, out), *common], sort_keys=True).encode()) for path in sources)
    return [f"{digest.hexdigest()[:32]}.parquet" for digest in digests]


def _stamps(path: Path, out: Path) -> list[tuple]:
    """Return path, size and time of the last change of a file, or of each file in and below a folder."""
    if path.suffix == ".parquet":  # of a packet table, which has another file beside it
        path = path.parent
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    facts = [(file, file.stat()) for file in files if file.is_file() and not str(file).startswith(str(out))]
    return [(str(file), fact.st_size, fact.st_mtime_ns) for file, fact in facts]


@contextlib.contextmanager
def folder(out: Path, wanted: Sequence[str]) -> Iterator[Path]:
    """Make the folder of this run, with the wanted parts that earlier runs have finished.

    If the block ends well, the folder is removed. If it fails or is interrupted, the finished parts stay, and the text
    of the UserError or KeyboardInterrupt says so.

    Parameters
    ----------
    out : Path
        The output file.
    wanted : sequence of str
        What `names` returns.
    """
    new = Path(tempfile.mkdtemp(prefix=f".{out.name}.parts-", dir=out.parent))
    with (new / LOCK).open("w") as lock:
        with contextlib.suppress(OSError):  # a file system without locks: then no other run looks into the folder
            locks.take(lock.fileno(), f"{new}: another process has it")
        own = new.rename(new.with_name(new.name[1:]))  # now other runs see the folder, and that it is in use
        remove_leftovers(out, own, wanted)
        try:
            yield own
        except (UserError, KeyboardInterrupt) as error:
            text = _keep_finished(own, wanted)
            raise type(error)("; ".join(filter(None, [str(error), text]))) from None
        except BaseException:
            _keep_finished(own, wanted)
            raise
        shutil.rmtree(own)


def _keep_finished(own: Path, wanted: Sequence[str]) -> str:
    """Remove what is not a finished part, and the folder if it has none; return in words what is kept."""
    for path in own.iterdir():
        if path.name not in (*wanted, LOCK):
            path.unlink(missing_ok=True)
    kept = sum((own / name).exists() for name in wanted)
    if not kept:
        shutil.rmtree(own, ignore_errors=True)
        return "no capture is finished"
    return f"{kept} of {len(wanted)} captures are finished and kept in {own}; the same command goes on from them"


def remove_leftovers(out: Path, own: Path | None = None, wanted: Sequence[str] = ()) -> None:
    """Remove the folders of runs for this output that have ended, and move finished parts that are wanted to `own`."""
    try:
        found = list(out.parent.glob(f"{glob.escape(out.name)}.parts-*"))
    except OSError:  # whoever writes the output says why that is not possible
        return
    for old in found:
        if old == own:
            continue
        with contextlib.suppress(OSError, UserError), (old / LOCK).open("r+") as lock:
            locks.take(lock.fileno(), f"{old}: its run lives")
            for name in wanted:
                if (old / name).exists():
                    (old / name).replace(own / name)
            shutil.rmtree(old)
