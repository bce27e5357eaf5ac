"""Make hosts and links of network namespaces and veth pairs, and remove all of them at the end.

Every namespace made here has the prefix ``ids-``, and its lo has a mark before it has a name. Only what has the mark is
ever removed. A lock allows only one network at a time on a machine. A process watches each run that has a network, and
removes the network of a run that was killed. Were it killed too, the next network removes what it left first.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil
from pyroute2 import IPRoute, netns

from .. import locks
from ..config import ROOT, UserError
from ..require import require_programs, require_root
from .hosts import PREFIX, Host, in_netns

SWITCH = "switch"
PATIENCE_S = 3.0
NAMES = Path("/run/netns")
MARK = "test network of ids_repro"  # the alias of lo
_CLONE_NEWNET = 0x40000000


def leftovers() -> list[str]:
    """Return the names of the network namespaces that were made here and exist now."""
    return sorted(name for name in netns.listnetns() if name.startswith(PREFIX) and _is_ours(name))


def _is_ours(name: str) -> bool:
    """Return whether a namespace has our mark, or an empty file has its name: then whoever made it was killed."""
    try:
        found = (NAMES / name).stat()
        if found.st_dev == NAMES.stat().st_dev:  # else a namespace is mounted there
            return stat.S_ISREG(found.st_mode) and found.st_size == 0
        with (NAMES / name).open("rb") as file:
            return in_netns(file.fileno(), _mark) == MARK
    except OSError:
        return False


def _mark() -> str | None:
    with IPRoute() as ip:
        return ip.link("get", index=1)[0].get_attr("IFLA_IFALIAS")


def _make(name: str) -> None:
    """Make a network namespace. A kill at any moment leaves none without the mark."""

    def make() -> None:  # in a thread, which leaves this process's own namespace
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "no network namespace could be made")
        with IPRoute() as ip:
            ip.link("set", index=1, ifalias=MARK)
        netns.attach(name, "thread-self")

    in_netns(None, make)


def _processes_in(name: str) -> list[psutil.Process]:
    """Return the processes in a network namespace, without this one."""
    inode = Path(f"/run/netns/{name}").stat().st_ino
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError):
            if process.pid != os.getpid() and Path(f"/proc/{process.pid}/ns/net").stat().st_ino == inode:
                found.append(process)
    return found


def remove(names: Sequence[str]) -> None:
    """Kill every process inside these network namespaces, then remove the namespaces and with them their devices."""
    for name in names:
        processes = _processes_in(name)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(processes, timeout=5)
        netns.remove(name)


def _require_free(names: Sequence[str]) -> None:
    for name in sorted(set(names) & set(netns.listnetns())):
        raise UserError(
            f"the network namespace {name} was not made by ids_repro, which needs this name: remove it with "
            f"'ip netns delete {name}' if nobody uses it"
        )


def alone(patience_s: float = 0.0) -> contextlib.AbstractContextManager[None]:
    """Hold this machine's lock on the test network. The kernel releases it when this process ends, even by kill -9.

    Parameters
    ----------
    patience_s : float
        How long to wait for the process that removes the network of a killed run [s].

    Raises
    ------
    UserError
        If another run holds the lock.
    """
    NAMES.mkdir(exist_ok=True)
    return locks.held(NAMES, "another run uses the test network on this machine", patience_s)


@contextlib.contextmanager
def _watched() -> Iterator[None]:
    """Run a process that removes our namespaces if this process is killed: when its input ends without a word."""
    code = f"import sys\nif not sys.stdin.read():\n    from {__name__} import clean_up\n    clean_up()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    argv = [sys.executable, "-c", code]
    # In a session of its own, it gets no signal that is meant for this process and its children.
    with subprocess.Popen(argv, cwd=ROOT, text=True, start_new_session=True, **pipes) as watcher:
        try:
            yield
        finally:
            watcher.stdin.write("removed")


def _set_up(host: Host, address: bool = True) -> None:
    """Bring up lo and eth0, give eth0 its address, and turn IPv6 off, because it would send packets of its own."""
    Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
    with IPRoute() as ip:
        ip.link("set", index=ip.link_lookup(ifname="lo")[0], state="up")
        for index in ip.link_lookup(ifname="eth0") if address else ():
            ip.addr("add", index=index, address=host.address, prefixlen=24)
            ip.link("set", index=index, state="up")


def _join(left: Host, right: Host) -> None:
    """Join two hosts directly with a veth pair; both of its ends are named eth0."""
    left.call(lambda: _veth("eth0", "eth0", right.ns))


def _veth(name: str, peer: str, peer_ns: str) -> None:
    """Make a veth pair with one end in the current namespace and the other in ``peer_ns``."""
    with IPRoute() as ip:
        ip.link("add", ifname=name, kind="veth", peer={"ifname": peer, "net_ns_fd": peer_ns})


def _bridge(hosts: Sequence[Host]) -> None:
    """Join hosts through a bridge named br0 in the current namespace; each port has the name of its host."""
    with IPRoute() as ip:
        ip.link("add", ifname="br0", kind="bridge")
        bridge = ip.link_lookup(ifname="br0")[0]
        ip.link("set", index=bridge, state="up")
        for host in hosts:
            ip.link("add", ifname=host.name, kind="veth", peer={"ifname": "eth0", "net_ns_fd": host.ns})
            ip.link("set", index=ip.link_lookup(ifname=host.name)[0], master=bridge, state="up")


def clean_up(patience_s: float = 10.0) -> None:
    """Remove what a killed run left. Do nothing while a live run holds the network, because that run removes its own.

    Parameters
    ----------
    patience_s : float
        How long to wait for a run that is ending [s].
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
    """Make hosts, and remove them when the block ends.

    Two hosts are joined directly; more hosts are joined through a bridge on a host of its own, ``switch``.

    Parameters
    ----------
    addresses : mapping of str to str
        Host name to IPv4 address; all addresses are in one /24.

    Yields
    ------
    dict of str to Host
        The hosts by name. With three or more there is also ``switch``, whose ``br0`` sees every frame.

    Raises
    ------
    UserError
        If this process is not root, a program is missing, another network exists, or a name that is needed is taken.
    """
    require_root("the test network")
    require_programs("nsenter", "setpriv", "taskset")
    hosts = {name: Host(name, address) for name, address in addresses.items()}
    direct = len(hosts) == 2
    everyone = dict(hosts) if direct else hosts | {SWITCH: Host(SWITCH, "")}
    with alone(PATIENCE_S), _watched():
        remove(leftovers())
        _require_free([host.ns for host in everyone.values()])
        try:
            for host in everyone.values():
                _make(host.ns)
            if direct:
                _join(*hosts.values())
            else:
                everyone[SWITCH].call(lambda: _bridge(list(hosts.values())))
            for host in everyone.values():
                host.call(lambda host=host: _set_up(host, address=host.name != SWITCH))
            yield everyone
        finally:
            remove(leftovers())
