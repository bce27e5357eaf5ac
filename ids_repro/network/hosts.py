"""A host is a network namespace or this machine; commands and functions run on it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from pyroute2 import netns

from ..config import UserError

PREFIX = "ids-"
FIRST = -20  # niceness of what is measured
# `nice` ranks processes only within one session, and autogroup (sched(7)) gives all sessions equal shares of a CPU. So
# a measured program gets a session of its own, and that session gets the highest priority.
GO_FIRST = f'{{ echo {FIRST} > /proc/self/autogroup; }} 2>/dev/null; exec nice -n {FIRST} taskset -c "$0" "$@"'
T = TypeVar("T")


def in_netns(name: str | int | None, function: Callable[..., T], *args: object) -> T:
    """Call a function inside a network namespace and return its value.

    The function runs in a new thread, so the caller's own namespace never changes. This also lets pyroute2 work under
    Jupyter, where the caller's thread already runs an event loop.

    Parameters
    ----------
    name : str, int or None
        Name or file descriptor of the namespace; None is this process's own.
    function : callable
        What to call.
    *args : object
        Its arguments.

    Raises
    ------
    UserError
        If there is no namespace of that name, also because somebody removed it meanwhile.
    """

    def enter() -> T:
        try:
            if name is not None:
                netns.setns(name, flags=0)  # which otherwise makes one that is missing
        except FileNotFoundError:
            raise UserError(f"there is no network namespace {name}: was it removed meanwhile?") from None
        return function(*args)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(enter).result()


def pinned(argv: Sequence[str], cpu: int | str | None) -> list[str]:
    """Return a command line that runs a program on certain CPUs, with the highest priority there.

    Parameters
    ----------
    argv : sequence of str
        The program and its arguments.
    cpu : int, str or None
        A CPU or a list of CPUs as taskset writes it, such as "0,2-3". None pins nothing and leaves the priority alone.
    """
    return [*([] if cpu is None else ["setsid", "sh", "-c", GO_FIRST, str(cpu)]), *map(str, argv)]


def held(argv: Sequence[str], cpus: str) -> list[str]:
    """Return a command line that runs a program on certain CPUs, with the usual priority, in a session of its own.

    Parameters
    ----------
    argv : sequence of str
        The program and its arguments.
    cpus : str
        A list of CPUs as taskset writes it.
    """
    return ["setsid", "taskset", "-c", cpus, *map(str, argv)]


@dataclass(frozen=True)
class Host:
    """A network namespace with one interface.

    Parameters
    ----------
    name : str
        Short name, such as ``client``.
    address : str
        IPv4 address of the interface, without the prefix length.
    iface : str
        Name of the interface.
    """

    name: str
    address: str
    iface: str = "eth0"

    @property
    def ns(self) -> str | None:
        """Name of the network namespace; None is this process's own."""
        return PREFIX + self.name

    @property
    def python(self) -> str:
        """The Python interpreter on this host that has the project's packages."""
        return sys.executable

    def command(self, argv: Sequence[str], cpu: int | str | None = None) -> list[str]:
        """Return the command line that runs a program on this host.

        The program is killed when this process dies (setpriv --pdeathsig). So a load generator stops even after
        kill -9.

        Parameters
        ----------
        argv : sequence of str
            The program and its arguments.
        cpu : int, str or None
            The CPUs to run on; see `pinned`.
        """
        enter = [] if self.ns is None else ["nsenter", f"--net=/run/netns/{self.ns}"]
        return ["setpriv", "--pdeathsig", "KILL", *enter, *pinned(argv, cpu)]

    def popen(self, argv: Sequence[str], cpu: int | str | None = None, **kwargs) -> subprocess.Popen:
        """Start a program on this host; see `command`. Keyword arguments go to subprocess.Popen."""
        return subprocess.Popen(self.command(argv, cpu), **kwargs)

    def run(self, argv: Sequence[str], cpu: int | str | None = None, **kwargs) -> subprocess.CompletedProcess:
        """Run a program on this host and wait for its end; see `command`. Keyword arguments go to subprocess.run."""
        return subprocess.run(self.command(argv, cpu), **kwargs)

    def call(self, function: Callable[..., T], *args: object) -> T:
        """Call a Python function inside this host's network namespace and return its value; see `in_netns`."""
        return in_netns(self.ns, function, *args)


class ThisMachine(Host):
    """The machine that runs this process, with an interface that the user named."""

    ns = None
