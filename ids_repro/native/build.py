"""Compile a C file of bpf/ for user space and keep the result in build/ under a hash of its sources; find DPDK."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ..config import BPF, BUILD, UserError
from ..files import private_folder

# -fwrapv: an int64 wraps on overflow, as NumPy's does.
CFLAGS = ("-O2", "-fwrapv", "-Wall", "-Wextra", "-Wno-unknown-pragmas")
DPDK = ("eal", "ethdev", "mbuf", "mempool")  # the libraries that a receiver calls


def build(source: str, output: str, flags: Sequence[str] = (), sources: Path = BPF, folder: Path = BUILD) -> Path:
    """Compile one C file, unless the same sources were compiled before, and return the path of the result.

    Parameters
    ----------
    source : str
        Path of the C file below `sources`.
    output : str
        Stem of the result's name. A hash of the compiler, the flags, the file and every header is added to it.
    flags : sequence of str
        Compiler flags that follow CFLAGS, and libraries. The environment variable CC names the compiler; the default
        is cc.
    sources : Path
        The folder that holds the C file and all headers.
    folder : Path
        Where the result is written.

    Raises
    ------
    UserError
        If there is no C compiler, or if it fails.
    """
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        raise UserError(f"no C compiler ({compiler}): run 'make system'")
    flags = [*CFLAGS, *flags]
    digest = hashlib.sha256(" ".join([compiler, *flags]).encode())
    for path in (sources / source, *sorted(sources.rglob("*.h"))):
        digest.update(path.read_bytes())
    target = folder / f"{output}-{digest.hexdigest()[:16]}"
    if not target.exists():
        with private_folder(target) as part:
            command = [compiler, str(sources / source), *flags, "-o", str(part / output)]
            run = subprocess.run(command, capture_output=True, text=True)
            if run.returncode:
                raise UserError(f"{compiler} could not compile bpf/{source}: {run.stderr.strip()}")
            (part / output).replace(target)
    return target


def dpdk_flags(roots: Sequence[Path] = (BUILD / "dpdk", Path("/"))) -> list[str]:
    """Return the flags that compile a program with DPDK's headers and link it with the libraries of that version.

    Parameters
    ----------
    roots : sequence of Path
        Where /usr/include and /usr/lib of libdpdk-dev may be. `make system-dpdk` unpacks them into build/dpdk.

    Raises
    ------
    UserError
        If they are in none of these folders.
    """
    for about in (path for root in roots for path in root.glob("usr/lib/*/pkgconfig/libdpdk-libs.pc")):
        usr, folder = about.parents[3], about.parents[1]
        words = re.search(r"^Cflags: (.*)", about.read_text(), re.MULTILINE)[1].split()
        headers = [word.replace("-I", "-isystem").replace("${includedir}", str(usr / "include/dpdk")) for word in words]
        # The link librte_eal.so names the library of these headers, such as librte_eal.so.23, which apt has installed.
        return [*headers, *(f"-l:{(folder / f'librte_{name}.so').readlink()}" for name in DPDK)]
    raise UserError("DPDK is not installed: run 'make system-dpdk'")
