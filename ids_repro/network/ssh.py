"""The client of a link between two machines, reached over ssh with the system's OpenSSH.

One connection carries everything. At its far end runs `ssh_peer`, from the client's checkout. It calls functions of
`facts`, `tuning` and itself, and puts back what they changed when the connection ends, however it ends.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import select
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from ..config import UserError
from ..locks import run_folder
from ..require import require_programs
from ..text import rounded
from . import ssh_peer
from .hosts import Host, pinned

OPTIONS = {
    "BatchMode": "yes",
    "ConnectTimeout": 10,
    "ServerAliveInterval": 5,  # with the next line: a client that does not answer is noticed after 15 s
    "ServerAliveCountMax": 3,
}
START_S, ANSWER_S = 30.0, 20.0
# Each message is one line, because the last line of what ssh says is shown to the user. sshd's PATH may lack sbin.
_ENTER = """\
[ "$(id -u)" = 0 ] || {{ echo "it needs root: use ssh://root@..." >&2; exit 3; }}
cd {folder} 2>/dev/null && [ -d ids_repro ] ||
    {{ echo "there is no checkout of this project in "{folder}": make one, or give --client-dir" >&2; exit 3; }}
[ -x .venv/bin/python ] ||
    {{ echo "there is no .venv in "{folder}": run 'make system venv' there" >&2; exit 3; }}
PATH=$PATH:/usr/sbin:/sbin; export PATH; exec .venv/bin/python -m {command}"""

T = TypeVar("T")


class Session:
    """A connection, and the `ssh_peer` at its far end that answers calls.

    Parameters
    ----------
    url : str
        ``ssh://user@host[:port]``.
    folder : str
        The project's checkout there.
    config : Path, optional
        A configuration file for ssh instead of the user's own.
    """

    def __init__(self, url: str, folder: str, config: Path | None = None) -> None:
        self.url, self.folder = url, folder
        self._ssh = ["setpriv", "--pdeathsig", "KILL", "ssh", *(["-F", str(config)] if config else [])]
        self._control = run_folder() / "ssh"
        options = OPTIONS | {"ControlPath": self._control}
        self._ssh += [f"-o{name}={value}" for name, value in options.items()]
        self._control.unlink(missing_ok=True)  # left by a run that was killed
        self._master = subprocess.Popen(
            [*self._ssh, "-oControlMaster=yes", url, self._remote()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # so that Ctrl-C ends only this process, which still has to put things back
        )

    def _remote(self, *argv: str) -> str:
        """Return the shell command that starts an `ssh_peer` at the far end."""
        return _ENTER.format(folder=shlex.quote(self.folder), command=shlex.join([ssh_peer.__name__, *argv]))

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the command line that runs a program at the far end, over this connection and over no other.

        Parameters
        ----------
        argv : sequence of str
            A token for `ssh_peer.send_signal`, the program and its arguments.
        """
        return [*self._ssh, "-oControlMaster=no", "-oProxyCommand=false", self.url, self._remote(*argv)]

    def answer(self, patience_s: float = ANSWER_S) -> object:
        """Return the value of the next answer.

        Parameters
        ----------
        patience_s : float
            How long to wait for it [s].

        Raises
        ------
        UserError
            If the answer is an error, the connection is lost, or no answer comes.
        """
        ready = select.select([self._master.stdout], [], [], patience_s)[0]
        line = self._master.stdout.readline() if ready else b""
        if not line:
            raise UserError(self._why(patience_s if not ready else None))
        answer = json.loads(line)
        if "error" in answer:
            raise UserError(answer["error"])
        return answer["value"]

    def ask(self, function: Callable[..., T], *args: object) -> T:
        """Call a function at the far end and return its value.

        Parameters
        ----------
        function : callable
            A function of one of `ssh_peer.MODULES`.
        *args : object
            Its arguments. They and the value pass through JSON, which makes tuples lists.

        Raises
        ------
        UserError
            If the function raises an error, the connection is lost, or no answer comes.
        """
        call = {"module": function.__module__, "function": function.__name__, "args": args}
        try:
            self._master.stdin.write(json.dumps(call).encode() + b"\n")
        except OSError:
            raise UserError(self._why(None)) from None
        return self.answer()

    def _why(self, silent_s: float | None) -> str:
        """Return what is wrong, in one sentence: silence for so many seconds or, if None, the connection's end."""
        if silent_s is not None:
            return f"{self.url} did not answer within {rounded(silent_s, '.0f')} s"
        self._master.wait()
        said = self._master.stderr.read().decode(errors="replace").strip().splitlines() or ["the connection was lost"]
        advice = f" (does 'ssh {self.url}' work without a password?)" if self._master.returncode == 255 else ""
        return f"{self.url}: {said[-1].strip()}{advice}"

    def close(self) -> None:
        """End the connection, after waiting until the far end has put back what was changed there."""
        self._master.stdin.close()
        try:
            self._master.wait(timeout=ANSWER_S)
        except subprocess.TimeoutExpired:
            self._master.kill()
            self._master.wait()
        self._control.unlink(missing_ok=True)


class _Process(subprocess.Popen):
    """A local ssh that passes its signals on to the program at its far end."""

    def __init__(self, argv: Sequence[str], session: Session, token: str, **kwargs) -> None:
        self._session, self._token = session, token
        super().__init__(argv, start_new_session=True, **kwargs)  # so that Ctrl-C does not end it, as with the session

    def send_signal(self, sig: int) -> None:
        """Send a signal to the program at the far end, and wait for an ssh that is just starting or ending."""
        # The far end is asked even if the local ssh was killed: Dropbear does not close the program's output then.
        ended = self.poll()
        while ended is None or ended < 0:
            try:
                if self._session.ask(ssh_peer.send_signal, self._token, int(sig)) or ended is not None:
                    break
            except UserError:  # the connection is lost, so the program's own `ssh_peer` ends it
                super().send_signal(signal.SIGKILL)
                break
            ended = self.poll()


@dataclass(frozen=True)
class SshHost(Host):
    """A machine at the far end of a `Session`.

    Parameters
    ----------
    name, address, iface : str
        See `Host`.
    session : Session
        The connection.
    """

    session: Session | None = None

    @property
    def python(self) -> str:
        """The interpreter of the checkout there."""
        return ".venv/bin/python"

    def command(self, argv: Sequence[str], cpu: int | str | None = None, token: str = "") -> list[str]:
        """Return the command line that runs a program there; see `Host.command`.

        Parameters
        ----------
        argv : sequence of str
            The program and its arguments.
        cpu : int, str or None
            The CPUs to run on; see `pinned`.
        token : str
            The token for `ssh_peer.send_signal`; a random one if it is empty.
        """
        return self.session.command([token or secrets.token_hex(8), *pinned(argv, cpu)])

    def popen(self, argv: Sequence[str], cpu: int | str | None = None, **kwargs) -> subprocess.Popen:
        """Start a program there. Its pipes and its signals pass through, and it ends when this process does."""
        token = secrets.token_hex(8)
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        return _Process(self.command(argv, cpu, token), self.session, token, **kwargs)

    def run(self, argv: Sequence[str], cpu: int | str | None = None, **kwargs) -> subprocess.CompletedProcess:
        """Run a program there and wait for its end; see `Host.run`."""
        if "input" not in kwargs:
            kwargs.setdefault("stdin", subprocess.DEVNULL)
        return super().run(argv, cpu, **kwargs)

    def call(self, function: Callable[..., T], *args: object) -> T:
        """Call a function there; see `Session.ask`."""
        return self.session.ask(function, *args)


@contextlib.contextmanager
def connected(url: str, folder: str, config: Path | None = None) -> Iterator[tuple[Session, dict]]:
    """Connect to a client and check what it has; end the connection when the block ends.

    Parameters
    ----------
    url, folder, config
        See `Session`.

    Yields
    ------
    session : Session
        The connection.
    about : dict
        ``sha256`` of the client's checkout; ``through``, the two addresses of the connection as the client sees them:
        this machine's and its own.

    Raises
    ------
    UserError
        If there is no connection, root, checkout or program; it names what is missing and the remedy.
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
