"""Runs a program for someone at the other end of an ssh connection, and ends it when the connection ends.

    python -m ids_repro.network.ssh_peer TOKEN PROGRAM [ARG ...]

ssh leaves a remote program running when its own end is killed. But sshd then closes its end of the program's output,
which this process sees at once. Input, output and exit code are the program's own.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence

import psutil

_PR_SET_CHILD_SUBREAPER = 36


def _end(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=5)


def run(argv: Sequence[str]) -> int:
    """Run a program until it ends, or until nobody can read its output any more; returns its exit code."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # so that what it leaves behind is found below
    child = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *argv])
    try:
        for number in (signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, lambda *_: sys.exit(1))
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)  # errors and hang-ups are always reported
        poll.register(os.pidfd_open(child.pid), select.POLLIN)
        poll.poll()
        if child.poll() is None:
            child.kill()
        code = child.wait()
        return code if code >= 0 else 128 - code
    finally:
        _end(psutil.Process().children(recursive=True))


def send_signal(token: str, number: int) -> bool:
    """Send a signal to the program that runs under this token, and after SIGKILL wait until nothing of it runs.

    Returns
    -------
    bool
        Whether there is such a program.
    """
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess):
            if token not in process.cmdline()[:4] or not process.children():
                continue
            process.children()[0].send_signal(number)
            if number == signal.SIGKILL:
                psutil.wait_procs([process], timeout=5)
            return True
    return False


if __name__ == "__main__":
    sys.exit(run(sys.argv[2:]))
