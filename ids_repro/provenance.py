"""Where and with what code and versions a number was made."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from . import config
from .config import BPF


def provenance() -> dict[str, Any]:
    """Return where and with what this process runs: code, machine and versions; no host name.

    The expensive part is made once a process, so it says what the code was when the process first asked.
    """
    return {**_machine_and_code(), "mode": "netns", "argv": [Path(sys.argv[0]).name, *sys.argv[1:]]}


@lru_cache(maxsize=1)
def _machine_and_code() -> dict[str, Any]:
    # Asked of git in config.ROOT only: a copy of the project inside some other repository has no commit of its own.
    git = ("git", "-c", f"safe.directory={config.ROOT}", "-C", str(config.ROOT))
    ours = _output(*git, "rev-parse", "--show-toplevel") == str(config.ROOT)
    commit = _output(*git, "rev-parse", "HEAD") if ours else None
    changes = _output(*git, "status", "--porcelain") if commit else None
    return {
        "commit": commit,
        "dirty": None if changes is None else bool(changes),
        "version": _version("ids_repro"),
        "kernel": platform.release(),
        "compiler": (_output("gcc", "--version") or "").partition("\n")[0] or None,
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "ram_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in ("torch", "scikit-learn", "numpy")},
    }


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
    """Return what a command printed, or None when it is not installed or failed."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def checkout_sha256() -> str:
    """Return the SHA-256 of this checkout's Python and C: names and contents of the files of ids_repro/ and bpf/."""
    digest = hashlib.sha256()
    for path in sorted([*(config.ROOT / "ids_repro").rglob("*.py"), *BPF.rglob("*.[ch]")]):
        digest.update(bytes(path.relative_to(config.ROOT)) + path.read_bytes())
    return digest.hexdigest()
