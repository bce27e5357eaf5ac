"""Give programs that break the constraints of Table I, and their alternatives, to the running kernel."""

from __future__ import annotations

import ctypes
import json
import re
import subprocess
import sys
from typing import Any, NamedTuple

from .. import parallel
from ..config import BPF, ROOT, UserError
from ..progress import show_progress
from ..require import FOR_BPF, require_capabilities
from . import verifier
from .bcc import import_bcc
from .bpf_syscall import TestRun, test_run

SOURCE = BPF / "constraints.bpf.c"
FRAME_BYTES = 64


class Case(NamedTuple):
    """A constraint of Table I as programs.

    Attributes
    ----------
    broken : str
        The -D flag, without "-DIDS_", of the program that does what user space may.
    alternative : str or None
        The flags of the program that one writes instead; None: there is none.
    """

    broken: str
    alternative: str | None


# By its name in published.json.
CASES = {
    "loop": Case("LOOP", "LOOP ALTERNATIVE"),
    "float": Case("FLOAT", "FLOAT ALTERNATIVE"),
    "global": Case("GLOBAL", "GLOBAL ALTERNATIVE"),
    "variadic": Case("VARIADIC", None),
    "thread": Case("THREAD", "THREAD ALTERNATIVE"),
    "bounds": Case("BOUNDS", "BOUNDS ALTERNATIVE"),
    "instructions": Case("INSTRUCTIONS=300000", "INSTRUCTIONS=100000"),
    "branches": Case("BRANCHES=8200", "BRANCHES=8000"),
    "stack": Case("STACK", "STACK ALTERNATIVE"),
    "tail_calls": Case("TAIL_CALLS", None),
}


def attempts() -> dict[str, dict[str, Any]]:
    """Compile and load every program of CASES, each in a process of its own: the compiler ends some of them.

    Returns
    -------
    dict
        By the name of the constraint: {"broken": ..., "alternative": ... or None}. Each has "refused_by" ("compiler",
        "verifier", or "" if it was loaded), "message", the reason in one line, and "tail_calls", the number that a test
        run made (of the case "tail_calls", else None).

    Raises
    ------
    UserError
        If this process may not load programs, or if BCC cannot be used or fails in a way that says nothing.
    """
    require_capabilities("trying the constraints of Table I", *FOR_BPF)
    import_bcc()  # what fails here is said in words
    flags = [flags for case in CASES.values() for flags in case if flags]
    tried = parallel.in_threads(_in_a_process, flags)
    made = dict(zip(flags, show_progress(tried, "trying the constraints", len(flags), unit="program"), strict=True))
    return {name: {what: made.get(flags) for what, flags in case._asdict().items()} for name, case in CASES.items()}


def _in_a_process(flags: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", __name__, flags], capture_output=True, text=True, cwd=ROOT, check=False
    )
    if not done.returncode:
        return json.loads(done.stdout)
    errors = [line.split("error: ", 1)[1] for line in done.stderr.splitlines() if "error: " in line]
    if not errors:
        raise UserError(f"BCC ended with {done.returncode} on {SOURCE} with {flags}: {done.stderr[-500:]}")
    reason = re.sub(r"^\S+: in function .*?\): ", "", errors[0])
    return {"refused_by": "compiler", "message": reason.strip(), "tail_calls": None}


def _attempt(flags: str) -> dict[str, Any]:
    """Compile and load a program; the compiler's errors go to standard error, and an exception or the exit follows."""
    package = import_bcc()
    bpf = package.BPF(src_file=bytes(SOURCE), cflags=[f"-DIDS_{flag}" for flag in flags.split()])
    fd, reason = verifier.load(package, bpf.module, b"program", package.BPF.XDP)
    if fd < 0:
        return {"refused_by": "verifier", "message": reason, "tail_calls": None}
    calls = _tail_calls(bpf, fd) if flags == CASES["tail_calls"].broken else None
    return {"refused_by": "", "message": "", "tail_calls": calls}


def _tail_calls(bpf: Any, fd: int) -> int:
    """Run a program that calls itself, once, and return how many of its calls were made."""
    bpf[b"again"][ctypes.c_int(0)] = ctypes.c_int(fd)
    frame = ctypes.create_string_buffer(FRAME_BYTES)
    at = ctypes.addressof(frame)
    test_run(TestRun(fd, 0, FRAME_BYTES, FRAME_BYTES, at, at, 1))
    return bpf[b"runs"][ctypes.c_int(0)].value - 1


if __name__ == "__main__":
    print(json.dumps(_attempt(sys.argv[1])))
