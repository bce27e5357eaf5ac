"""The lab's server host: web (Apache), DNS (dnsmasq), SSH (Dropbear) and FTP (pyftpdlib).

None of them is a service of the machine: the packages hold programs only, and each program runs in the server's
network namespace, with configuration, keys, files and users in one temporary directory.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .config import UserError
from .lab_traffic import TOGETHER
from .testbed import Host

USER = "alice"
START_S = 10.0

# In a mount namespace of its own the server sees our user list, and its login records go to a memory file system.
_PRIVATE = """\
mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/shadow" /etc/shadow &&
mount -t tmpfs tmpfs /var/log && mount -t tmpfs tmpfs /run && { "$@" & wait $!; }
"""

_APACHE = """\
ServerRoot {dir}
ServerName {address}
DefaultRuntimeDir {dir}
PidFile {dir}/apache.pid
Mutex file:{dir} default
ErrorLog {dir}/web.err
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
Listen {address}:80
User www-data
Group www-data
DocumentRoot {dir}/www
Timeout 20
KeepAlive On
KeepAliveTimeout 3
StartServers 2
ThreadsPerChild 32
MaxRequestWorkers 128
"""

_DNSMASQ = """\
no-hosts
no-resolv
no-poll
user=root
pid-file
bind-interfaces
listen-address={address}
log-facility=-
local=/lab.test/
local=/invalid/
mx-host=lab.test,mail.lab.test,10
txt-record=lab.test,"v=spf1 -all","{long_text}"
srv-host=_http._tcp.lab.test,web.lab.test,80
ptr-record={reverse}.in-addr.arpa,web.lab.test
{hosts}
"""

# The delay after a wrong password is pyftpdlib's class attribute; its command line has no option for it.
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

_SSH_CONFIG = """\
Host *
  IdentityFile {dir}/id
  IdentitiesOnly yes
  UserKnownHostsFile /dev/null
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking no
  LogLevel ERROR
"""


@dataclass(frozen=True)
class Login:
    """The one account of the lab's server.

    Parameters
    ----------
    user : str
        Its name.
    password : str
        Drawn anew for each recording.
    """

    user: str
    password: str


def _output(*argv: str | Path, **kwargs) -> str:
    return subprocess.run(list(map(str, argv)), check=True, capture_output=True, text=True, **kwargs).stdout.strip()


def write_files(directory: Path, address: str, seed: int) -> Login:
    """Write the servers' configuration, keys, files and user list.

    Parameters
    ----------
    directory : pathlib.Path
        An empty directory that every user may enter.
    address : str
        The server's address.
    seed : int
        Of the files' sizes and contents.
    """
    rng = np.random.default_rng(seed)
    home, www = directory / "home", directory / "www"
    (home / ".ssh").mkdir(parents=True)
    www.mkdir()
    for prefix, ending, sizes in (
        ("page", "html", np.geomspace(300, 9_000, 40)),
        ("part", "css", np.geomspace(200, 4_000, 8)),
        ("file", "bin", np.geomspace(3_000, 40_000, 6)),
    ):
        for number, size in enumerate(sizes, 1):
            (www / f"{prefix}{number}.{ending}").write_bytes(rng.bytes(int(size)))
    (directory / "apache.conf").write_text(_APACHE.format(dir=directory, address=address))
    hosts = [f"host-record=host{n}.lab.test,10.9.{n // 250}.{n % 250 + 1}" for n in range(1, 301)]
    hosts += [f"host-record=cdn{n}.lab.test,10.9.9.{n},fd00::{n}" for n in range(1, 21)]
    reverse, text = ".".join(reversed(address.split("."))), rng.bytes(100).hex()
    names = _DNSMASQ.format(address=address, reverse=reverse, long_text=text, hosts="\n".join(hosts))
    (directory / "dnsmasq.conf").write_text(names)
    (directory / "ssh_config").write_text(_SSH_CONFIG.format(dir=directory))
    _output("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", directory / "id")
    _output("dropbearkey", "-t", "ed25519", "-f", directory / "host_key")
    (home / ".ssh" / "authorized_keys").write_text((directory / "id.pub").read_text())
    return _write_users(directory, home)


def _write_users(directory: Path, home: Path) -> Login:
    """Give the server one user more than the machine has; Dropbear insists that the home is that user's own."""
    login = Login(USER, secrets.token_hex(6))
    uid = 64999
    hashed = _output("openssl", "passwd", "-6", "-stdin", input=login.password)
    (directory / "passwd").write_text(
        "root:x:0:0::/root:/bin/sh\n"
        + "".join(line + "\n" for line in Path("/etc/passwd").read_text().splitlines() if line.startswith("www-data:"))
        + f"{login.user}:x:{uid}:{uid}::{home}:/bin/sh\n"
    )
    (directory / "shadow").write_text(f"root:*:::::::\n{login.user}:{hashed}:::::::\n")
    (directory / "shadow").chmod(0o600)
    for path in (home, home / ".ssh", home / ".ssh" / "authorized_keys"):
        os.chown(path, uid, uid)
    return login


def _commands(directory: Path, address: str, login: Login) -> dict[str, tuple[int, Sequence[str]]]:
    """Name to port and command line of each server."""
    return {
        "web": (80, ["apache2", "-X", "-f", f"{directory}/apache.conf"]),
        "dns": (53, ["dnsmasq", "--keep-in-foreground", f"--conf-file={directory}/dnsmasq.conf"]),
        "ssh": (22, ["dropbear", "-F", "-E", "-m", "-r", f"{directory}/host_key", "-p", f"{address}:22", "-T", "3"]),
        # The distribution's Python: pyftpdlib comes from there, as every other program of the lab does.
        "ftp": (21, ["/usr/bin/python3", "-c", _FTP, address, login.user, login.password, f"{directory}/www"]),
    }


def _answers(address: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=1):
        return True
    return False


def _wait(name: str, process: subprocess.Popen, host: Host, port: int, log: Path) -> None:
    """Wait until a server answers; UserError with the last line it said if it does not."""
    until = time.monotonic() + START_S
    while not host.call(lambda: _answers(host.address, port)):
        if process.poll() is not None or time.monotonic() > until:
            said = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
            raise UserError(f"the lab's {name} server did not start: {said[-1]}; run 'make system-lab'")
        time.sleep(0.05)


@contextlib.contextmanager
def servers(host: Host, directory: Path, login: Login) -> Iterator[None]:
    """Run the four servers on a host until the block ends.

    Parameters
    ----------
    host : Host
        The server.
    directory : pathlib.Path
        Where `write_files` wrote.
    login : Login
        What `write_files` returned.

    Raises
    ------
    UserError
        If one does not start.
    """
    with contextlib.ExitStack() as stack:
        for name, (port, argv) in _commands(directory, host.address, login).items():
            log = directory / f"{name}.err"
            with log.open("w") as error:
                process = host.popen(
                    [*TOGETHER, "--mount", "sh", "-c", _PRIVATE, directory, *argv],
                    cwd=directory,
                    stdin=subprocess.DEVNULL,
                    stdout=error,
                    stderr=error,
                )
            stack.callback(process.wait)
            stack.callback(process.kill)
            _wait(name, process, host, port, log)
        yield
