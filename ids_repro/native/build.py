"""Compile a C file of bpf/ for user space; the result is kept in build/ under a hash of its sources."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ..config import BPF, BUILD, UserError

# -fwrapv: int64 wraps as NumPy's does.
CFLAGS = ("-O2", "-fwrapv", "-Wall", "-Wextra", "-Wno-unknown-pragmas")


def build(source: str, output: str, flags: Sequence[str] = ()) -> Path:
    """Compile one C file of bpf/ into build/ and return the result's path; nothing is compiled twice.

    Parameters
    ----------
    source : str
        Path of the C file below bpf/.
    output : str
        Stem of the result; a hash of the sources and flags is added to it.
    flags : sequence of str
        Compiler flags after the common ones.

    Raises
    ------
    UserError
        Without a C compiler, or if it fails.
    """
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        raise UserError(f"no C compiler ({compiler}): run 'make system'")
    flags = [*CFLAGS, *flags]
    digest = hashlib.sha256(" ".join([compiler, *flags]).encode())
    for path in (BPF / source, *sorted(BPF.rglob("*.h"))):
        digest.update(path.read_bytes())
    target = BUILD / f"{output}-{digest.hexdigest()[:16]}"
    if not target.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(f".{os.getpid()}")
        run = subprocess.run([compiler, *flags, str(BPF / source), "-o", str(part)], capture_output=True, text=True)
        if run.returncode:
            raise UserError(f"{compiler} could not compile bpf/{source}: {run.stderr.strip()}")
        part.rename(target)
    return target
