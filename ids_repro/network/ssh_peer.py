"""What runs at the far end of an ssh connection: it answers calls, or runs one program.

    python -m ids_repro.network.ssh_peer                          answers calls; see `serve`
    python -m ids_repro.network.ssh_peer TOKEN PROGRAM [ARG ...]  runs a program; see `run`

When the connection ends, however it ends, the first puts back what the calls changed, and the second kills its program.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence

import psutil

from ..config import UserError
from ..provenance import checkout_sha256
from ..require import require_programs

PROGRAMS = ("hping3", "ethtool", "ip", "setpriv", "taskset", "nice", "timeout")
# Not `__name__`, which is `__main__` at the far end.
MODULES = tuple(f"{__package__}.{name}" for name in ("facts", "tuning", "ssh_peer"))
_PR_SET_CHILD_SUBREAPER = 36


def _exit_when_told() -> None:
    """Let SIGHUP and SIGTERM end this process in an orderly way, so that `finally` blocks run."""
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(1))


def _reply(call: dict) -> dict:
    """Return the answer to a call: the value of the function, or what is wrong."""
    try:
        if call["module"] not in MODULES:
            raise UserError(f"functions of {call['module']} cannot be called over ssh")
        return {"value": getattr(importlib.import_module(call["module"]), call["function"])(*call["args"])}
    except UserError as error:
        return {"error": str(error)}
    except Exception as error:  # the near end shows it, whatever it is
        return {"error": f"{type(error).__name__}: {error}"}


def serve() -> None:
    """Answer calls until the input ends, then put back what they changed.

    Calls and answers are lines of JSON. A call has ``module`` (one of `MODULES`), ``function`` and ``args``. An answer
    has ``value``, or ``error``, a sentence. The first answer comes without a call; its value has ``sha256`` of this
    checkout and ``through``, the two addresses of the connection: the near end's and this end's.
    """
    from . import tuning  # here, because `run` must not wait for pyroute2

    _exit_when_told()
    answers = sys.stdout
    try:
        require_programs(*PROGRAMS, remedy="make system")
        near, _, here, _ = os.environ.get("SSH_CONNECTION", "- - - -").split()
        first = {"value": {"sha256": checkout_sha256(), "through": [near, here]}}
    except UserError as error:
        first = {"error": str(error)}
    try:
        print(json.dumps(first), file=answers, flush=True)
        for line in sys.stdin:
            print(json.dumps(_reply(json.loads(line))), file=answers, flush=True)
    finally:
        tuning.put_back_all()


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=5)


def run(argv: Sequence[str]) -> int:
    """Run a program until it ends, or until nobody can read its output any more.

    ssh leaves a remote program running when its own near end is killed. But sshd then closes its end of the program's
    output, and this process sees that at once. Input, output and exit code are the program's own.

    Parameters
    ----------
    argv : sequence of str
        The program and its arguments.

    Returns
    -------
    int
        The exit code; 128 plus the signal's number for a program that a signal ended.
    """
    # Children that the program leaves behind then become children of this process, which finds them at the end.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _exit_when_told()
    try:
        child = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *argv])
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)  # errors and hang-ups are always reported
        poll.register(os.pidfd_open(child.pid), select.POLLIN)
        poll.poll()
        if child.poll() is None:
            child.kill()
        code = child.wait()
        return code if code >= 0 else 128 - code
    finally:
        _kill(psutil.Process().children(recursive=True))


def send_signal(token: str, number: int) -> bool:
    """Send a signal to the program that runs under a token; after SIGKILL, wait until all of its processes have ended.

    Parameters
    ----------
    token : str
        The token that the program was started with.
    number : int
        The signal.

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
    sys.exit(run(sys.argv[2:]) if len(sys.argv) > 1 else serve())
