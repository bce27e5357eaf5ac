"""Where, and with what code and versions, a number was made."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from .config import ROOT


def provenance(root: Path = ROOT) -> dict[str, Any]:
    """Return the code, the machine and the versions that this process runs with, but no host name.

    The answers of git and of the compiler are kept for the life of the process: they describe the code as it was at
    the first call.

    Parameters
    ----------
    root : Path
        The checkout whose commit is reported.

    Returns
    -------
    dict
        "commit", "dirty" and "compiler" are None where git or the compiler gave no answer. "dirty" says whether a file
        is new or changed; that a notebook was run and saved does not count.
    """
    return {**_machine_and_code(root), "mode": "netns", "argv": [Path(sys.argv[0]).name, *sys.argv[1:]]}


@cache
def _machine_and_code(root: Path) -> dict[str, Any]:
    # A repository above root does not count: a copy of the project inside another repository has no commit of its own.
    # Without the filter for notebooks, which starts a Python for each that may have changed: `_is_change` looks itself.
    no_filter = "filter.nbstripout.clean="
    git = ("git", "--no-optional-locks", "-c", no_filter, "-c", f"safe.directory={root}", "-C", str(root))
    ours = _output(*git, "rev-parse", "--show-toplevel") == str(root)
    commit = _output(*git, "rev-parse", "HEAD") if ours else None
    changes = _output(*git, "status", "--porcelain", "--no-renames", "-z") if commit else None
    return {
        "commit": commit,
        "dirty": None if changes is None else any(_is_change(git, root, one) for one in changes.split("\0") if one),
        "version": _version("ids_repro"),
        "kernel": platform.release(),
        "compiler": (_output("gcc", "--version") or "").partition("\n")[0] or None,
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "ram_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in ("torch", "scikit-learn", "numpy")},
    }


def _is_change(git: tuple[str, ...], root: Path, entry: str) -> bool:
    """Return whether a file of `git status`, with its two letters, is more than a notebook that was run and saved."""
    path = entry[3:]
    if not path.endswith(".ipynb") or set(entry[:2]) - set(" M"):
        return True
    try:
        return cells((root / path).read_text()) != cells(_output(*git, "show", f"HEAD:{path}") or "")
    except (OSError, ValueError, KeyError, TypeError):  # it is no notebook any more
        return True


def cells(notebook: str) -> list[tuple[str, str, list[str] | None]]:
    """Return what of a notebook decides what it does: type, source and tags of its cells, without their outputs."""
    return [(c["cell_type"], "".join(c["source"]), c["metadata"].get("tags")) for c in json.loads(notebook)["cells"]]


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _output(*command: str) -> str | None:
    """Return what a command printed, None if it is not installed or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.rstrip()
    except (OSError, subprocess.SubprocessError):
        return None


def checkout_sha256(root: Path = ROOT, folders: Sequence[str] = ("ids_repro", "bpf")) -> str:
    """Return the SHA-256 of a checkout's Python and C: names and contents of all such files in some folders of it."""
    digest = hashlib.sha256()
    files = (path for folder in folders for path in (root / folder).rglob("*"))
    for path in sorted(path for path in files if path.suffix in (".py", ".c", ".h")):
        digest.update(bytes(path.relative_to(root)) + path.read_bytes())
    return digest.hexdigest()
