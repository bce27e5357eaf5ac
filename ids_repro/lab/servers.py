"""Run the servers of the lab: Apache, the web application, dnsmasq, Dropbear (SSH) and pyftpdlib (FTP).

None of them becomes a service of this machine. Their packages start no daemon, and each program runs in a host's
network namespace, with its configuration, keys, documents and users in one temporary directory.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from ..config import UserError
from ..network.hosts import Host
from .activity import TOGETHER
from .files import APP_PORT, Login

START_S = 10.0
# The beginning of a host's name to the servers that run there.
OFFERS = {
    "inside": ("app", "web", "dns", "ssh", "ftp"),
    "outside": ("app", "web", "dns", "ssh", "ftp"),
    "client": ("web", "ssh"),
}

# A server runs in its own mount namespace. There it sees our user list, and its login records stay in memory.
_PRIVATE = """\
mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/shadow" /etc/shadow &&
mount -t tmpfs tmpfs /var/log && mount -t tmpfs tmpfs /run && { "$@" & wait $!; }
"""

# pyftpdlib's command line cannot set the delay after a wrong password, so this program does.
_FTP = """\
import sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer
address, user, password, folder = sys.argv[1:]
FTPHandler.authorizer = DummyAuthorizer()
FTPHandler.authorizer.add_user(user, password, folder)
FTPHandler.auth_failed_timeout = 1
FTPServer((address, 21), FTPHandler).serve_forever()
"""


def _commands(directory: Path, host: Host, login: Login) -> dict[str, tuple[str, int, Sequence[str]]]:
    """Return the address, port and command line of each server that a host may run, by name."""
    own, address = directory / host.name, host.address
    # The distribution's Python, because it has pyftpdlib. All programs of the lab come from the distribution.
    python = "/usr/bin/python3"
    account = (login.user, login.password)
    return {
        "app": ("127.0.0.1", APP_PORT, [python, "-I", Path(__file__).with_name("web_app.py"), APP_PORT, *account]),
        "web": (address, 80, ["apache2", "-X", "-f", own / "apache.conf"]),
        "dns": (address, 53, ["dnsmasq", "--keep-in-foreground", f"--conf-file={own}/dnsmasq.conf"]),
        "ssh": (
            address,
            22,
            ["dropbear", "-F", "-E", "-m", "-r", f"{directory}/host_key", "-p", f"{address}:22", "-T", "3"],
        ),
        "ftp": (address, 21, [python, "-c", _FTP, address, *account, f"{directory}/www"]),
    }


def _answers(address: str, port: int) -> bool:
    """Return whether something accepts TCP connections."""
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=1):
        return True
    return False


def _wait(name: str, process: subprocess.Popen, answers: Callable[[], bool], log: Path) -> None:
    """Wait until a server answers. If it does not, raise a UserError with the last line of its log."""
    until = time.monotonic() + START_S
    while not answers():
        if process.poll() is not None or time.monotonic() > until:
            said = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
            raise UserError(f"the lab's {name} server did not start: {said[-1]}; run 'make system-lab'")
        time.sleep(0.05)


@contextlib.contextmanager
def servers(hosts: Iterable[Host], directory: Path, login: Login) -> Iterator[None]:
    """Run the servers that `OFFERS` names for each host, until the block ends.

    Parameters
    ----------
    hosts : iterable of Host
        The hosts; those that `OFFERS` does not name run no server.
    directory : pathlib.Path
        Where `files.write_files` wrote its files.
    login : Login
        The account that `files.write_files` returned.

    Raises
    ------
    UserError
        If a server does not start.
    """
    started = []
    with contextlib.ExitStack() as stack:
        for host in hosts:
            names = next((names for begin, names in OFFERS.items() if host.name.startswith(begin)), ())
            commands = _commands(directory, host, login)
            for name in names:
                address, port, argv = commands[name]
                log = directory / host.name / f"{name}.err"
                process = _start(host, directory, argv, log)
                stack.callback(process.wait)
                stack.callback(process.kill)
                started.append((name, process, partial(host.call, partial(_answers, address, port)), log))
        for server in started:
            _wait(*server)
        yield


def _start(host: Host, directory: Path, argv: Sequence[object], log: Path) -> subprocess.Popen:
    """Start a server in its own mount namespace, with our user list; its output goes to its log."""
    with log.open("w") as error:
        return host.popen(
            [*TOGETHER, "--mount", "sh", "-c", _PRIVATE, directory, *argv],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=error,
            stderr=error,
        )
