"""Find the kernel headers that BCC compiles with, or make one tree of the two that the distribution installs.

Some running kernels have no headers of their own (cloud and Firecracker kernels). Our programs include only UAPI
headers, so the headers of another kernel version serve as well. Distributions split headers into two packages: one
holds what all flavours of a release share (Debian's ``-common``), the other what the build of one flavour generated.
``BCC_KERNEL_SOURCE`` names a single folder, so this module makes one that links to the entries of both.
"""

from __future__ import annotations

import platform
import re
from pathlib import Path

from ..config import BUILD, UserError
from ..files import private_folder

# What ``uname -m`` calls an architecture, and what the kernel's source calls it.
ARCHITECTURES = {"x86_64": "x86", "aarch64": "arm64"}


def _release(tree: Path) -> str:
    """Return the part of a tree's name after ``headers-``, without ``-common``.

    The shared half's is the beginning of the generated half's: on Debian ``6.1.0-56`` of ``6.1.0-56-amd64``, on Ubuntu
    ``6.8.0-40`` of ``6.8.0-40-generic``.
    """
    return tree.name.split("headers-", 1)[1].replace("-common", "")


def _version(tree: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", _release(tree)))


def _newest(sources: Path, arch: str) -> tuple[Path, Path] | None:
    """Return the newest complete pair of trees of kernel headers: the one for all architectures and the generated one.

    A tree that holds both halves is returned as both. None is returned if there is no complete pair.
    """
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
            # Take the longest name: 6.1.0-56-rt-amd64 belongs to 6.1.0-56-rt, not to 6.1.0-56.
            return max(halves, key=lambda half: len(_release(half))), tree
    return None


def _link(target: Path, include: str, halves: tuple[Path, Path]) -> None:
    """Fill a folder ``include`` with links to the entries of both halves; the second half wins where both have one."""
    entries = {
        entry.name: entry for half in halves if (half / include).is_dir() for entry in (half / include).iterdir()
    }
    (target / include).mkdir(parents=True)
    for name, entry in entries.items():
        (target / include / name).symlink_to(entry)


def kernel_source(
    sources: Path = Path("/usr/src"), modules: Path = Path("/lib/modules"), build: Path = BUILD
) -> Path | None:
    """Return the folder that ``BCC_KERNEL_SOURCE`` must name, and make it if it is missing.

    Parameters
    ----------
    sources : Path
        Where distributions install header trees.
    modules : Path
        Where distributions install modules and, as ``<release>/build``, a link to the headers of that kernel.
    build : Path
        The only folder that is written to: the merged tree becomes ``kernel-headers/<release>`` in it.

    Returns
    -------
    Path or None
        None if the running kernel's own headers are installed, because BCC finds those by itself.

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
    if not merged.is_dir():
        _merge(merged, halves, arch)
    return merged


def _merge(merged: Path, halves: tuple[Path, Path], arch: str) -> None:
    """Make the merged tree under a temporary name and rename it, so that no process ever sees half of it."""
    with private_folder(merged) as unfinished:
        _link(unfinished, "include", halves)
        _link(unfinished, f"arch/{arch}/include", halves)
        try:
            unfinished.rename(merged)
        except OSError:
            # A folder cannot be renamed to the name of one with entries. If there is one, another process has just made
            # the same tree.
            if not merged.is_dir():
                raise
