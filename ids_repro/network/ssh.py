"""The client at the other end of an ssh connection, with the system's OpenSSH; run there, the program that serves it.

One connection carries everything. Its own program is this module, on the client's checkout: it calls functions of
`machine`, `settings` and `watch` as it is told, and puts back what they changed when the connection ends, however.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import secrets
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from ..config import UserError
from ..provenance import checkout_sha256
from ..require import require_programs
from . import facts, ssh_peer, tuning
from .hosts import Host, pinned

CONTROL = tuning.RUN / "ids_repro.ssh"
OPTIONS = {
    "BatchMode": "yes",
    "ConnectTimeout": 10,
    "ServerAliveInterval": 5,  # a client that is gone is noticed in 15 s
    "ServerAliveCountMax": 3,
    "ControlPath": CONTROL,
}
START_S, ANSWER_S = 30.0, 20.0
PROGRAMS = ("hping3", "ethtool", "ip", "setpriv", "taskset", "nice", "timeout")
MODULES = tuple(module.__name__ for module in (facts, tuning, ssh_peer))
# Says what is missing in one line, so that it can be shown as it is. sshd's PATH may lack sbin.
_ENTER = """\
[ "$(id -u)" = 0 ] || {{ echo "it needs root: use ssh://root@..." >&2; exit 3; }}
cd {folder} 2>/dev/null && [ -d ids_repro ] ||
    {{ echo "there is no checkout of this project in "{folder}": make one, or give --client-dir" >&2; exit 3; }}
[ -x .venv/bin/python ] ||
    {{ echo "there is no .venv in "{folder}": run 'make system venv' there" >&2; exit 3; }}
PATH=$PATH:/usr/sbin:/sbin; export PATH; exec .venv/bin/python -m {command}"""

T = TypeVar("T")


class Session:
    """A connection and the program that serves it.

    Parameters
    ----------
    url : str
        ``ssh://user@host[:port]``.
    folder : str
        The project's checkout there.
    config : Path, optional
        A configuration for ssh instead of the user's own.
    """

    def __init__(self, url: str, folder: str, config: Path | None = None) -> None:
        self.url, self.folder = url, folder
        self._ssh = ["setpriv", "--pdeathsig", "KILL", "ssh", *(["-F", str(config)] if config else [])]
        self._ssh += [f"-o{name}={value}" for name, value in OPTIONS.items()]
        CONTROL.unlink(missing_ok=True)  # of a run that was killed
        self._master = subprocess.Popen(
            [*self._ssh, "-oControlMaster=yes", url, _ENTER.format(folder=shlex.quote(folder), command=__name__)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for this process: it still has to put things back
        )

    def command(self, argv: Sequence[str]) -> list[str]:
        """Command line that runs a `watch` with these arguments over this connection, and over no other."""
        remote = _ENTER.format(folder=shlex.quote(self.folder), command=f"{ssh_peer.__name__} {shlex.join(argv)}")
        return [*self._ssh, "-oControlMaster=no", "-oProxyCommand=false", self.url, remote]

    def answer(self, patience_s: float = ANSWER_S) -> object:
        """Return the next answer, or raise the UserError that it is."""
        ready = select.select([self._master.stdout], [], [], patience_s)[0]
        line = self._master.stdout.readline() if ready else b""
        if not line:
            raise UserError(self._why(patience_s if not ready else None))
        answer = json.loads(line)
        if "error" in answer:
            raise UserError(answer["error"])
        return answer["value"]

    def ask(self, function: Callable[..., T], *args: object) -> T:
        """Call a function of `MODULES` on the client; arguments and value as JSON knows them."""
        call = {"module": function.__module__, "function": function.__name__, "args": args}
        try:
            self._master.stdin.write(json.dumps(call).encode() + b"\n")
        except OSError:
            raise UserError(self._why(None)) from None
        return self.answer()

    def _why(self, silent_s: float | None) -> str:
        """What is wrong with the connection, in one sentence."""
        if silent_s is not None:
            return f"{self.url} did not answer within {silent_s:.0f} s"
        self._master.wait()
        said = self._master.stderr.read().decode(errors="replace").strip().splitlines() or ["the connection was lost"]
        advice = f" (does 'ssh {self.url}' work without a password?)" if self._master.returncode == 255 else ""
        return f"{self.url}: {said[-1].strip()}{advice}"

    def close(self) -> None:
        """End the connection; what was changed there is put back before this returns."""
        self._master.stdin.close()
        try:
            self._master.wait(timeout=ANSWER_S)
        except subprocess.TimeoutExpired:
            self._master.kill()
            self._master.wait()
        CONTROL.unlink(missing_ok=True)


class _Process(subprocess.Popen):
    """A local ssh whose signals go to the program at its other end."""

    def __init__(self, argv: Sequence[str], session: Session, token: str, **kwargs) -> None:
        self._session, self._token = session, token
        super().__init__(argv, start_new_session=True, **kwargs)  # Ctrl-C is for who started it, as with the session

    def send_signal(self, sig: int) -> None:
        # Asked even when the local ssh was killed: not every sshd closes the program's output then (Dropbear does not).
        ended = self.poll()
        while ended is None or ended < 0:
            try:
                if self._session.ask(ssh_peer.send_signal, self._token, int(sig)) or ended is not None:
                    break
            except UserError:  # without a connection, the program at its other end is ended by its watch
                super().send_signal(signal.SIGKILL)
                break
            ended = self.poll()  # it is just starting, or just ending


@dataclass(frozen=True)
class SshHost(Host):
    """A machine at the other end of a `Session`."""

    session: Session | None = None

    @property
    def python(self) -> str:
        """The interpreter of the checkout there."""
        return ".venv/bin/python"

    def command(self, argv: Sequence[str], cpu: int | str | None = None, token: str = "") -> list[str]:
        """Return the command line that runs ``argv`` there; see `Host.command`."""
        return self.session.command([token or secrets.token_hex(8), *pinned(argv, cpu)])

    def popen(self, argv: Sequence[str], cpu: int | str | None = None, **kwargs) -> subprocess.Popen:
        """Start a program there; its pipes and its signals pass through, and it ends when this process does."""
        token = secrets.token_hex(8)
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        return _Process(self.command(argv, cpu, token), self.session, token, **kwargs)

    def run(self, argv: Sequence[str], cpu: int | str | None = None, **kwargs) -> subprocess.CompletedProcess:
        """Run a program there to its end; see `Host.run`."""
        if "input" not in kwargs:
            kwargs.setdefault("stdin", subprocess.DEVNULL)
        return super().run(argv, cpu, **kwargs)

    def call(self, function: Callable[..., T], *args: object) -> T:
        """Call a function of `MODULES` there; arguments and value as JSON knows them."""
        return self.session.ask(function, *args)


@contextlib.contextmanager
def connected(url: str, folder: str, config: Path | None = None) -> Iterator[tuple[Session, dict]]:
    """Connect to a client and check what it has.

    Yields
    ------
    session : Session
    about : dict
        ``sha256`` of its checkout, ``through``: the ends of the connection as it sees them (ours, its own).

    Raises
    ------
    UserError
        If there is no connection, root, checkout or program, naming what is missing and the remedy.
    """
    parts = urlsplit(url)
    if parts.scheme != "ssh" or not parts.hostname or parts.path.strip("/"):
        raise UserError(f"--client {url!r} is no ssh://user@host[:port]")
    require_programs("ssh", remedy="apt-get install openssh-client")
    session = Session(url, folder, config)
    try:
        yield session, session.answer(START_S)
    finally:
        session.close()


def _reply(call: dict) -> dict:
    try:
        if call["module"] not in MODULES:
            raise UserError(f"{call['module']} is not served")
        return {"value": getattr(importlib.import_module(call["module"]), call["function"])(*call["args"])}
    except UserError as error:
        return {"error": str(error)}
    except Exception as error:  # whatever it is, it is the other end's to show
        return {"error": f"{type(error).__name__}: {error}"}


def serve() -> None:
    """Answer calls, one a line, until nobody asks any more; then put everything back."""
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(1))
    answers = sys.stdout
    try:
        require_programs(*PROGRAMS, remedy="make system")
        ours, _, its, _ = os.environ.get("SSH_CONNECTION", "- - - -").split()
        first = {"value": {"sha256": checkout_sha256(), "through": [ours, its]}}
    except UserError as error:
        first = {"error": str(error)}
    try:
        print(json.dumps(first), file=answers, flush=True)
        for line in sys.stdin:
            print(json.dumps(_reply(json.loads(line))), file=answers, flush=True)
    finally:
        tuning.put_back_all()


if __name__ == "__main__":
    serve()
