"""Where BCC finds kernel headers: those of the running kernel, or one tree made of the distribution's two.

Packet programs include UAPI headers only, so headers of another version serve where the running kernel has none (cloud
and Firecracker kernels). Distributions split them: one package holds what all flavours share (Debian's ``-common``),
the other what its build generated. ``BCC_KERNEL_SOURCE`` takes one folder: links merge the two in one.
"""

from __future__ import annotations

import platform
import re
import shutil
import tempfile
from pathlib import Path

from ..config import BUILD, UserError

# What `uname -m` says -> the kernel's name of the architecture.
ARCHITECTURES = {"x86_64": "x86", "aarch64": "arm64"}


def _release(tree: Path) -> str:
    """The part of a tree's name after ``headers-``; the same beginning marks two halves of one release.

    Debian: ``6.1.0-56-amd64`` and ``6.1.0-56`` (of ``-common``). Ubuntu: ``6.8.0-40-generic`` and ``6.8.0-40``.
    """
    return tree.name.split("headers-", 1)[1].replace("-common", "")


def _version(tree: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", _release(tree)))


def _newest(sources: Path, arch: str) -> tuple[Path, Path] | None:
    """The newest pair (shared half, generated half) under ``sources``; one tree that holds both is its own pair."""
    trees = sorted(sources.glob("linux-*headers-*"), key=_version, reverse=True)
    shared = [tree for tree in trees if (tree / "include/linux/kconfig.h").is_file()]
    for tree in trees:
        if (
            not (tree / "include/generated/autoconf.h").is_file()
            or not (tree / f"arch/{arch}/include/generated").is_dir()
        ):
            continue
        halves = [half for half in shared if f"{_release(tree)}-".startswith(f"{_release(half)}-")]
        if halves:
            # The longest: 6.1.0-56-rt-amd64 belongs to 6.1.0-56-rt, not to 6.1.0-56.
            return max(halves, key=lambda half: len(_release(half))), tree
    return None


def _link(target: Path, include: str, halves: tuple[Path, Path]) -> None:
    """Make the folder ``include`` of links to both halves' entries; what the second half has comes before the first."""
    entries = {
        entry.name: entry for half in halves if (half / include).is_dir() for entry in (half / include).iterdir()
    }
    (target / include).mkdir(parents=True)
    for name, entry in entries.items():
        (target / include / name).symlink_to(entry)


def kernel_source(
    sources: Path = Path("/usr/src"), modules: Path = Path("/lib/modules"), build: Path = BUILD
) -> Path | None:
    """Find what ``BCC_KERNEL_SOURCE`` has to be, and make it if need be.

    Parameters
    ----------
    sources : Path
        Where distributions install header trees.
    modules : Path
        Where they install modules and, as ``<release>/build``, a link to the headers of that kernel.
    build : Path
        The only folder written to: the merged tree is ``kernel-headers/<release>`` in it. It is made once, under a
        temporary name, so that a process never sees half of it.

    Returns
    -------
    Path or None
        None if the running kernel's own headers are installed: BCC finds those by itself.

    Raises
    ------
    UserError
        If no headers are installed.
    """
    if (modules / platform.release() / "build/include").is_dir():
        return None
    arch = ARCHITECTURES.get(platform.machine(), platform.machine())
    halves = _newest(sources, arch)
    if halves is None:
        raise UserError(
            "BCC needs kernel headers and none are installed: run 'make system' (it installs linux-headers-amd64 or "
            "-arm64 on Debian, linux-headers-generic on Ubuntu)"
        )
    merged = build / "kernel-headers" / _release(halves[1])
    if merged.is_dir():
        return merged
    merged.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=merged.parent))
    try:
        _link(unfinished, "include", halves)
        _link(unfinished, f"arch/{arch}/include", halves)
        unfinished.chmod(0o755)
        unfinished.rename(merged)
    except OSError:
        # Another process was faster (a folder with entries cannot be renamed over), and its tree is the same.
        if not merged.is_dir():
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return merged
