"""A tunnel between two hosts: a tun device on each, whose packets threads of this process carry across."""

import contextlib
import fcntl
import os
import select
import struct
import threading
from collections.abc import Iterator

from ids_repro.network.hosts import Host

TUNSETIFF, TUNSETLINK = 0x400454CA, 0x400454CD  # linux/if_tun.h
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000


def open_tun(name: str, link: int | None = None) -> int:
    """Make a tun device in the present namespace, of a link type of linux/if_arp.h; it goes with the descriptor."""
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    if link is not None:
        fcntl.ioctl(fd, TUNSETLINK, link)
    return fd


def _carry(fds: tuple[int, int], ended: int) -> None:
    while True:
        ready, _, _ = select.select([*fds, ended], [], [])
        if ended in ready:
            return
        for fd in ready:
            with contextlib.suppress(OSError):  # the other end is down
                os.write(fds[fds[0] == fd], os.read(fd, 65_535))


@contextlib.contextmanager
def tunnel(addresses: dict[Host, str], name: str = "tun0") -> Iterator[None]:
    """Join two hosts by a tunnel whose ends have these addresses, while the block runs."""
    fds = tuple(host.call(open_tun, name) for host in addresses)
    ended, end = os.pipe()
    thread = threading.Thread(target=_carry, args=(fds, ended))
    try:
        for host, address in addresses.items():
            host.run(["ip", "addr", "add", f"{address}/24", "dev", name], check=True)
            host.run(["ip", "link", "set", name, "up"], check=True)
        thread.start()
        yield
        os.write(end, b"x")
        thread.join()
    finally:
        for fd in (*fds, ended, end):
            os.close(fd)
