"""A host is a network namespace, or this machine: how commands and functions run on it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from pyroute2 import netns

PREFIX = "ids-"
FIRST = -20  # niceness of what is measured
# Among the processes of one session niceness counts, but sessions share a CPU as equals (sched_autogroup), and a kernel
# thread stands beside whole sessions. So it gets a session of its own, and that one is first.
GO_FIRST = f'{{ echo {FIRST} > /proc/self/autogroup; }} 2>/dev/null; exec nice -n {FIRST} taskset -c "$0" "$@"'
T = TypeVar("T")


def in_netns(name: str | None, function: Callable[..., T], *args: object) -> T:
    """Call a function inside a network namespace (None: this process's own) and return its value.

    It runs in a thread of its own: the caller's namespace never changes, and pyroute2 works under Jupyter too, whose
    own thread already runs an event loop.
    """

    def enter() -> T:
        if name is not None:
            netns.setns(name)
        return function(*args)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(enter).result()


def pinned(argv: Sequence[str], cpu: int | str | None) -> list[str]:
    """Command line held to a CPU, or a list of them, as taskset writes it; None leaves it free.

    What is given CPUs also goes before the machine's other work there: it is what is measured.
    """
    return [*([] if cpu is None else ["setsid", "sh", "-c", GO_FIRST, str(cpu)]), *map(str, argv)]


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
        """The interpreter there that has this project's packages."""
        return sys.executable

    def command(self, argv: Sequence[str], cpu: int | str | None = None) -> list[str]:
        """Return the command line that runs ``argv`` on this host, held to a CPU (or a list, as taskset writes it).

        The process dies with this one (setpriv --pdeathsig), so that even a kill -9 ends the load it generates.
        """
        enter = [] if self.ns is None else ["nsenter", f"--net=/run/netns/{self.ns}"]
        return ["setpriv", "--pdeathsig", "KILL", *enter, *pinned(argv, cpu)]

    def popen(self, argv: Sequence[str], cpu: int | str | None = None, **kwargs) -> subprocess.Popen:
        """Start a program on this host; see `command`. Keyword arguments go to subprocess.Popen."""
        return subprocess.Popen(self.command(argv, cpu), **kwargs)

    def run(self, argv: Sequence[str], cpu: int | str | None = None, **kwargs) -> subprocess.CompletedProcess:
        """Run a program on this host to its end; see `command`. Keyword arguments go to subprocess.run."""
        return subprocess.run(self.command(argv, cpu), **kwargs)

    def call(self, function: Callable[..., T], *args: object) -> T:
        """Call a Python function inside this host's network namespace; see `in_netns`."""
        return in_netns(self.ns, function, *args)


class ThisMachine(Host):
    """This machine itself, with an interface that its user named."""

    ns = None
