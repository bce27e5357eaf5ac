"""The stages of a reproduction: the notebooks in their order, what each reads and writes, and which have to run again.

When a notebook has run to its end, what it was made from is kept beside its executed copy: its parameters, versions,
machine, and the SHA-256 of the notebook, its code and its inputs as they were at the start and of its outputs as they
were at the end. If all of that is as it was, the notebook is skipped.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import notebooks, sources
from .config import NOTEBOOKS, ROOT, UserError
from .files import replaced
from .progress import show_progress
from .provenance import cells, provenance
from .text import say

MODELS = ("data/models/binary-*.npz", "data/models/multi-*.npz")
OF_INFERENCE = ("accuracy", "blinding", "constraint", "discrepancy", "flow_churn", "inference", "kernel_cost")
OF_INFERENCE += ("per_packet",)
# The Makefile prints this too, before it installs anything.
LEFT_OUT = "the sweep (05) and what 04 and 07 measure in the kernel; the report shows shipped records of it, marked"
_LARGE = 1 << 28  # bytes; of a larger file its size and time stand for its content
_NAMED = 3  # so many changes are named; the others are counted


@dataclass(frozen=True)
class Stage:
    """A notebook of a reproduction. Paths are patterns and count from the project's folder.

    Parameters
    ----------
    name : str
        The notebook's stem.
    reads, writes : tuple of str
        Files. "{data_file}" is a path that the notebook has as a parameter.
    captures : tuple of (str, str)
        Of each capture that it reads, the parameters that name it and its labels. Labels that are None stand beside it.
    measures : bool
        Whether its numbers depend on the machine.
    fresh : mapping
        Parameters with which it measures again what has a record already.
    without_root : mapping, optional
        Parameters with which an ordinary user can run it; None: it needs root.
    """

    name: str
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    captures: tuple[tuple[str, str], ...] = ()
    measures: bool = False
    fresh: Mapping[str, Any] = field(default_factory=dict)
    without_root: Mapping[str, Any] | None = field(default_factory=dict)

    @property
    def made_from(self) -> Path:
        """Where it is kept what this notebook was made from."""
        return notebooks.EXECUTED / f"{self.name}.json"


# In their order. Notebook 03 writes again what 02 wrote. 04 measures what the detector of 07 costs. The report is
# the last, because it shows all records.
STAGES = (
    Stage("01_dataset", (), ("{out}",), captures=(("pcap", "schedule"),)),
    Stage("02_training", ("{data_file}",), (*MODELS, "data/results/flows.jsonl")),
    Stage("03_quantization", ("{data_file}", *MODELS), (*MODELS, "data/results/calibration.jsonl")),
    Stage(
        "07_detector",
        ("data/sample/*",),
        ("data/models/detector-0.npz", "data/results/detector.jsonl", "data/results/end_to_end.jsonl"),
        captures=(("train", "train_labels"), ("test", "test_labels")),
        measures=True,
        without_root={"live": False},
    ),
    Stage(
        "04_inference",
        ("{data_file}", *MODELS, "data/models/detector-0.npz", "{pcap}", "data/sample/lab.pcap.gz"),
        tuple(f"data/results/{kind}.jsonl" for kind in OF_INFERENCE),
        measures=True,
        without_root={"kernel": False},
    ),
    Stage(
        "05_packet_processing", ("data/models/binary-*.npz", "data/sample/lab.pcap.gz"), ("data/results/sweep.jsonl",),
        measures=True, fresh={"again": True}, without_root=None,
    ),
    Stage(
        "06_report", ("{results}/*.jsonl", "data/example/**/*.jsonl"), ("{figures}/[a-z]*.*",),
        without_root={"shipped": True},
    ),
)  # fmt: skip


def choose(only: Iterable[str] = ()) -> list[Stage]:
    """Return the stages whose names begin with one of some texts, such as "05", in their order; all if there are none.

    Raises
    ------
    UserError
        If there are no such stages.
    """
    only = tuple(only)
    if found := [stage for stage in STAGES if not only or stage.name.startswith(only)]:
        return found
    names = sorted(stage.name for stage in STAGES)
    raise UserError(f"no notebook begins with {', '.join(only)}; there are {', '.join(names)}")


def run_all(profile: str, chosen: Iterable[Stage] = STAGES, fresh: bool = False, root: bool = True) -> list[str]:
    """Execute the notebooks in their order with one profile, except those of which nothing has changed, and say why.

    Parameters
    ----------
    profile : str
        Name of a profile in `config.PROFILES`.
    chosen : iterable of Stage
        Which of them.
    fresh : bool
        Whether those run too of which nothing has changed.
    root : bool
        Whether this user is root. If not, what needs root is left out.

    Returns
    -------
    list of str
        The names of those that ran.
    """
    if not root:
        chosen = [stage for stage in chosen if stage.without_root is not None]
        say(f"without root this is left out: {LEFT_OUT}")
    ran = []
    for stage in (bar := show_progress(list(chosen), desc="reproduce", unit="notebook")):
        bar.set_postfix_str(stage.name)
        values = {"profile": profile, **({} if root else stage.without_root)}
        now = fingerprint(stage, values)
        why = "--fresh runs all" if fresh else what_changed(stage, now)
        with bar.external_write_mode():
            say(f"{stage.name}: runs: {why}" if why else f"{stage.name}: skipped: {_unchanged(stage, now)}")
        if why:
            _run(stage, values | (stage.fresh if fresh else {}), now)
            ran.append(stage.name)
    return ran


def _run(stage: Stage, values: dict[str, Any], now: dict[str, str]) -> None:
    """Execute a notebook and keep what it was made from; if it does not run to its end, nothing is kept."""
    stage.made_from.unlink(missing_ok=True)
    out = notebooks.run(stage.name, values)
    wrote = {_name(path): _digest(path) for path in (out, *_matching(stage.writes, _parameters(stage.name)))}
    with replaced(stage.made_from) as file:
        file.write(json.dumps({"made_from": now, "wrote": wrote}, indent=1).encode())


def fingerprint(stage: Stage, values: Mapping[str, Any]) -> dict[str, str]:
    """Return what a notebook would be made from now, in words, and its state: a SHA-256 or a value.

    Parameters
    ----------
    stage : Stage
    values : mapping
        The parameters that it is given.
    """
    book = cells((NOTEBOOKS / f"{stage.name}.ipynb").read_text())
    code = "\n".join(source for kind, source, _ in book if kind == "code")
    made = provenance()
    ran_with = {"python": made["python"], **made["packages"]}
    if stage.measures:
        ran_with |= {f"the machine's {name}": made[name] for name in ("kernel", "cpu", "cpus", "compiler")}
    return {
        "the notebook": hashlib.sha256(json.dumps(book).encode()).hexdigest(),
        **{f"parameter {name}": str(value) for name, value in values.items()},
        **{f"code {_name(path)}": _digest(path) for path in sources.files_of(code)},
        **{f"input {_name(path)}": _as_read(stage, path) for path in _inputs(stage, _parameters(stage.name))},
        **{name: str(value) for name, value in ran_with.items()},
    }


def what_changed(stage: Stage, now: Mapping[str, str]) -> str:
    """Return in words why a notebook has to run; nothing if it need not.

    Parameters
    ----------
    stage : Stage
    now : mapping
        As `fingerprint` returns it.
    """
    if (kept := _kept(stage)) is None:
        return "it has not run to its end yet"
    was = kept["made_from"]
    changed = [name for name in {**now, **was} if now.get(name) != was.get(name)]
    for name, digest in kept["wrote"].items():
        path = ROOT / name
        if not path.exists():
            changed.append(f"output {name}, which is gone,")
        elif _as_left(stage, path, digest) != digest:
            changed.append(f"output {name}")
    more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
    return f"changed: {', '.join(changed[:_NAMED])}{more}".rstrip(",") if changed else ""


def _unchanged(stage: Stage, now: Mapping[str, str]) -> str:
    kinds = [name.split()[0] for name in now]
    counts = f"{kinds.count('code')} files of code, {kinds.count('input')} inputs, {len(_kept(stage)['wrote'])} outputs"
    return f"unchanged: the notebook, its parameters, {counts}"


def _kept(stage: Stage) -> dict[str, Any] | None:
    """Return what a notebook was made from when it last ran, None if that is not known."""
    try:
        kept = json.loads(stage.made_from.read_text())
        return {"made_from": dict(kept["made_from"]), "wrote": dict(kept["wrote"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _as_read(stage: Stage, path: Path) -> str:
    """Return the SHA-256 of an input as it was before this stage and those after it wrote the file again."""
    return _undone(path, _digest(path), STAGES[STAGES.index(stage) :])


def _as_left(stage: Stage, path: Path, digest: str) -> str:
    """Return the SHA-256 of an output as it was before later stages wrote the file again.

    Records that were appended since do not count.
    """
    size = digest.partition(":")[0] if path.suffix == ".jsonl" else ""
    return _undone(path, _digest(path, int(size) if size else None), STAGES[STAGES.index(stage) + 1 :])


def _undone(path: Path, digest: str, stages: Iterable[Stage]) -> str:
    name = _name(path)
    for kept in filter(None, map(_kept, reversed(tuple(stages)))):
        if kept["wrote"].get(name) == digest:
            digest = kept["made_from"].get(f"input {name}", digest)
    return digest


def _digest(path: Path, most: int | None = None) -> str:
    """Return the SHA-256 of a file's content, of a folder's, or of a file's first bytes, with their number."""
    if path.is_dir():
        files = sorted(one for one in path.rglob("*") if one.is_file())
        return hashlib.sha256("".join(f"{one}{_digest(one)}" for one in files).encode()).hexdigest()
    there = path.stat()
    if there.st_size > _LARGE:
        return f"{there.st_size}:{there.st_mtime_ns}"
    content = path.read_bytes()[:most]
    return f"{len(content)}:{hashlib.sha256(content).hexdigest()}"


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def _parameters(name: str) -> dict[str, Any]:
    """Return the values in the ``parameters`` cell of a notebook."""
    path = NOTEBOOKS / f"{name}.ipynb"
    try:
        (source,) = [text for _, text, tags in cells(path.read_text()) if "parameters" in (tags or ())]
        assigned = [node for node in ast.parse(source).body if isinstance(node, ast.Assign)]
        return {node.targets[0].id: ast.literal_eval(node.value) for node in assigned}
    except (ValueError, AttributeError, SyntaxError):
        raise UserError(f"{path}: it needs one cell with the tag 'parameters', with names and plain values") from None


def _inputs(stage: Stage, values: Mapping[str, Any]) -> list[Path]:
    from .data.labels.source import label_files, labels_beside, resolved

    found = _matching(stage.reads, values)
    for capture, labels in stage.captures:
        path = ROOT / str(values[capture])
        found += [path, *label_files(resolved(values[labels], ROOT) or labels_beside(path))]
    return [path for path in dict.fromkeys(found) if path.exists()]


def _matching(patterns: Iterable[str], values: Mapping[str, Any]) -> list[Path]:
    """Return the files that patterns match; a parameter in a pattern that is None or "" matches none."""
    return list(dict.fromkeys(path for pattern in patterns for path in _files(pattern, values)))


def _files(pattern: str, values: Mapping[str, Any]) -> Iterator[Path]:
    name, brace, rest = pattern.removeprefix("{").partition("}")
    if not brace:
        yield from ROOT.glob(pattern)
    elif values[name]:
        path = ROOT / str(values[name])
        yield from path.glob(rest.removeprefix("/")) if rest else [path] if path.exists() else []
