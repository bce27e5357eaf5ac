"""Hosts and links made of network namespaces and veth pairs, and nothing of them left afterwards.

Everything made here carries the prefix ``ids-``. Only one network exists at a time on a machine (a lock says so),
so whatever carries the prefix when a network starts was left by a run that was killed, and is removed first.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil
from pyroute2 import IPRoute, netns

from ..config import UserError

PREFIX = "ids-"
SWITCH = "switch"
FIRST = -20  # niceness of what is measured
# Among the processes of one session niceness counts, but sessions share a CPU as equals (sched_autogroup), and a kernel
# thread stands beside whole sessions. So it gets a session of its own, and that one is first.
GO_FIRST = f'{{ echo {FIRST} > /proc/self/autogroup; }} 2>/dev/null; exec nice -n {FIRST} taskset -c "$0" "$@"'
LOCK = Path(tempfile.gettempdir()) / "ids_repro.lock"

T = TypeVar("T")


def require_root(what: str) -> None:
    """Raise UserError unless this process is root.

    Parameters
    ----------
    what : str
        What needs it, as the subject of the sentence.
    """
    if os.geteuid() != 0:
        raise UserError(
            f"{what} needs root (network namespaces and BPF): run it with sudo. Notebooks 01 to 03 and 06, "
            "extract, train and the user-space parity run without."
        )


def require_programs(*programs: str, remedy: str = "make system") -> None:
    """Raise UserError naming the first program that is not installed, and the command that installs it."""
    for program in programs:
        if shutil.which(program) is None:
            raise UserError(f"the program {program!r} is not installed: run '{remedy}'")


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


def leftovers() -> list[str]:
    """Names of the network namespaces with our prefix that exist now."""
    return sorted(name for name in netns.listnetns() if name.startswith(PREFIX))


def _processes_in(name: str) -> list[psutil.Process]:
    """Processes whose network namespace is the named one."""
    inode = Path(f"/run/netns/{name}").stat().st_ino
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError):
            if process.pid != os.getpid() and Path(f"/proc/{process.pid}/ns/net").stat().st_ino == inode:
                found.append(process)
    return found


def remove(names: Sequence[str]) -> None:
    """Kill every process inside these network namespaces, then remove the namespaces and so their devices."""
    for name in names:
        processes = _processes_in(name)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(processes, timeout=5)
        netns.remove(name)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Hold the one lock of this machine, released by the kernel however this process ends.

    Raises
    ------
    UserError
        While another run holds it.
    """
    with LOCK.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError("another run uses the test network on this machine: wait for it or stop it") from None
        yield


def _set_up(host: Host, address: bool = True) -> None:
    """Bring up lo and eth0, give eth0 its address, and silence IPv6 so that only asked-for packets flow."""
    Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
    with IPRoute() as ip:
        ip.link("set", index=ip.link_lookup(ifname="lo")[0], state="up")
        for index in ip.link_lookup(ifname="eth0") if address else ():
            ip.addr("add", index=index, address=host.address, prefixlen=24)
            ip.link("set", index=index, state="up")


def _join(left: Host, right: Host) -> None:
    """Join two hosts directly: a veth pair named eth0 on both sides."""
    left.call(lambda: _veth("eth0", "eth0", right.ns))


def _veth(name: str, peer: str, peer_ns: str) -> None:
    with IPRoute() as ip:
        ip.link("add", ifname=name, kind="veth", peer={"ifname": peer, "net_ns_fd": peer_ns})


def _bridge(hosts: Sequence[Host]) -> None:
    """Join hosts through a bridge, br0, in the current namespace; its ports are named after the hosts."""
    with IPRoute() as ip:
        ip.link("add", ifname="br0", kind="bridge")
        bridge = ip.link_lookup(ifname="br0")[0]
        ip.link("set", index=bridge, state="up")
        for host in hosts:
            ip.link("add", ifname=host.name, kind="veth", peer={"ifname": "eth0", "net_ns_fd": host.ns})
            ip.link("set", index=ip.link_lookup(ifname=host.name)[0], master=bridge, state="up")


def clean_up(patience_s: float = 10.0) -> None:
    """Remove what a dead run left, once no live run holds the network; a live one cleans up after itself.

    Parameters
    ----------
    patience_s : float
        How long to wait for a run that is ending.
    """
    end = time.monotonic() + patience_s
    while os.geteuid() == 0 and leftovers():
        with contextlib.suppress(UserError), alone():
            remove(leftovers())
        if time.monotonic() > end:
            return
        time.sleep(0.1)


@contextlib.contextmanager
def network(addresses: Mapping[str, str]) -> Iterator[dict[str, Host]]:
    """Make hosts, joined directly if they are two and through a bridge (host ``switch``) if they are more.

    Parameters
    ----------
    addresses : mapping of str to str
        Host name to IPv4 address in one /24.

    Yields
    ------
    dict of str to Host
        The hosts by name; with three or more also ``switch``, whose ``br0`` sees every frame.

    Raises
    ------
    UserError
        Without root, or while another network exists.
    """
    require_root("the test network")
    require_programs("nsenter", "setpriv", "taskset")
    hosts = {name: Host(name, address) for name, address in addresses.items()}
    direct = len(hosts) == 2
    everyone = dict(hosts) if direct else hosts | {SWITCH: Host(SWITCH, "")}
    with alone():
        remove(leftovers())
        try:
            for host in everyone.values():
                netns.create(host.ns)
            if direct:
                _join(*hosts.values())
            else:
                everyone[SWITCH].call(lambda: _bridge(list(hosts.values())))
            for host in everyone.values():
                host.call(lambda host=host: _set_up(host, address=host.name != SWITCH))
            yield everyone
        finally:
            remove(leftovers())
