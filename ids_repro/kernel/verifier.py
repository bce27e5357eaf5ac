"""Load a compiled program, and say in words why the kernel's verifier refuses one."""

from __future__ import annotations

import ctypes
import os
from typing import Any

LOG_BYTES = 1 << 16
LOG_ERRORS = 4  # of linux/bpf_verifier.h, BPF_LOG_STATS: what was wrong and the totals, not every instruction
TOTALS = ("verification time", "stack depth", "processed ")  # how the lines begin that follow the reason
# Words of the verifier, and the limit that was broken (Table I).
LIMITS = {
    "too large. Processed": "instructions: the verifier follows at most 1,000,000 of them",
    "jumps is too complex": "branches: at most 8,192 may wait until the verifier follows them",
    "program too large": "instructions: a program has at most 1,000,000",
    "jump out of range": "instructions: a jump reaches at most 32,767 of them far",
    "stack": "stack: a program has 512 bytes",
}


def load(package: Any, module: int, name: bytes, kind: int) -> tuple[int, str]:
    """Load a function that BCC compiled.

    Parameters
    ----------
    package : module
        The package bcc.
    module : int
        ``module`` of a ``bcc.BPF``.
    name : bytes
        The function's name.
    kind : int
        The program's type, such as ``bcc.BPF.XDP``.

    Returns
    -------
    fd : int
        File descriptor of the program, negative if it was refused.
    reason : str
        The last line that the verifier says of what was wrong; if it says nothing, what the system call says.
    """
    lib, log = package.lib, ctypes.create_string_buffer(LOG_BYTES)
    start, size = lib.bpf_function_start(module, name), lib.bpf_function_size(module, name)
    licence, version = lib.bpf_module_license(module), lib.bpf_module_kern_version(module)
    about = kind, name, start, size, licence, version
    fd = lib.bcc_func_load(module, *about, LOG_ERRORS, log, LOG_BYTES, None, ctypes.c_uint(-1))
    if fd >= 0:
        return fd, ""
    errno, said = ctypes.get_errno(), log.value.decode(errors="replace").splitlines()
    said = [line for line in said if line and not line.startswith(TOTALS)]
    return fd, said[-1].strip() if said else os.strerror(errno)


def limit(reason: str) -> str:
    """Return which limit of BPF the verifier's words name, in our words; nothing if they name none."""
    return next((words for said, words in LIMITS.items() if said in reason), "")
