"""Make hosts and links of network namespaces and veth pairs, and remove all of them at the end.

Every namespace made here has the prefix ``ids-``. A lock allows only one network at a time on a machine. A process
watches each run that has a network, and removes the network of a run that was killed. Were it killed too, the next
network removes every namespace with the prefix first.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil
from pyroute2 import IPRoute, netns

from ..config import ROOT, UserError
from ..require import require_programs, require_root
from .hosts import PREFIX, Host

SWITCH = "switch"
PATIENCE_S = 3.0
LOCK = Path(tempfile.gettempdir()) / "ids_repro.lock"


def leftovers() -> list[str]:
    """Return the names of the network namespaces that exist now and have our prefix."""
    return sorted(name for name in netns.listnetns() if name.startswith(PREFIX))


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


@contextlib.contextmanager
def alone(patience_s: float = 0.0) -> Iterator[None]:
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
    end = time.monotonic() + patience_s
    with LOCK.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    text = "another run uses the test network on this machine: wait for it or stop it"
                    raise UserError(text) from None
                time.sleep(0.1)
        yield


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
        If this process is not root, a program is missing, or another network exists.
    """
    require_root("the test network")
    require_programs("nsenter", "setpriv", "taskset")
    hosts = {name: Host(name, address) for name, address in addresses.items()}
    direct = len(hosts) == 2
    everyone = dict(hosts) if direct else hosts | {SWITCH: Host(SWITCH, "")}
    with alone(PATIENCE_S), _watched():
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
