"""Offloads that merge packets before a program at TC or in generic XDP sees them: look, turn off, put back.

A device's GRO or LRO joins the packets that it receives, up to 64 KB; the sending end of a veth pair does not cut what
its TSO leaves whole. Models learn from packets as they are on the wire. Native XDP sees packets before they are merged.
"""

from __future__ import annotations

import re
import socket
import warnings
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from pyroute2 import IPRoute

from ..config import UserError
from ..network.facts import ethtool, index_of
from ..network.setting_kinds import KINDS
from ..require import require_programs

RECEIVING = ("generic-receive-offload", "large-receive-offload", "rx-gro-hw")
SENDING = ("tcp-segmentation-offload", "tx-udp-segmentation")
HAND_ON = ("bridge", "bond", "team", "vlan", "macvlan", "ipvlan")  # kinds of devices that merge nothing themselves
LOOPBACK = 772  # ARPHRD_LOOPBACK of linux/if_arp.h
Setting = tuple[int, str, str]  # index of a device, name of an offload, and the device's MAC address


@dataclass(frozen=True)
class Offload:
    """An offload that merges packets and is on.

    Parameters
    ----------
    index : int
        Index of the device that has it.
    device, name : str
        Name of the device, and of the offload as ethtool spells it.
    fixed : bool
        Whether the driver can't turn it off.
    mac : str
        Address of the device. Another device may get the index of one that is gone.
    """

    index: int
    device: str
    name: str
    fixed: bool
    mac: str


def merging(iface: str, mode: str) -> list[Offload]:
    """Return the offloads that merge packets before a program on this interface sees them.

    They are those of the interface, and of devices of this network namespace that hand it their packets: the ports of
    a bridge or bond, the device below a VLAN, the other end of a veth pair. In native XDP there are none. Generic XDP
    keeps the interface itself from merging, but no other device.
    """
    if mode == "xdp_drv":
        return []
    require_programs("ethtool")
    links, sources = _sources(iface, mode)
    return [
        Offload(index, device, name, bool(fixed), links[index].get_attr("IFLA_ADDRESS") or "")
        for index, names in sources.items()
        for device in [links[index].get_attr("IFLA_IFNAME")]
        for name, fixed in re.findall(r"^([\w-]+): on( \[fixed\])?$", ethtool("-k", device), re.MULTILINE)
        if name in names
    ]


def _sources(iface: str, mode: str) -> tuple[dict, dict[int, tuple[str, ...]]]:
    """Return all links by index, and the devices whose packets reach an interface with the offloads that count."""
    with IPRoute() as ip:
        links = {link["index"]: link for link in ip.get_links()}
        start = index_of(ip, iface)
    found, left = {}, [start]
    while left:
        index = left.pop()
        link = links[index]
        kind = link.get(("linkinfo", "kind"))
        merges = kind not in HAND_ON and (index != start or mode != "xdp_skb")
        found[index] = RECEIVING * merges + SENDING * (link["ifi_type"] == LOOPBACK)
        other = None if _is_far(link) else link.get_attr("IFLA_LINK")
        below = [number for number, one in links.items() if one.get_attr("IFLA_MASTER") == index]
        if kind != "veth":
            below.append(other)
        elif other in links:
            found[other] = found.get(other, ()) + SENDING
        left += [number for number in below if number in links and number not in found]
    return links, found


def _is_far(link: dict) -> bool:
    """Return whether a device's other end, or the device below it, is in another network namespace."""
    return link.get_attr("IFLA_LINK_NETNSID") is not None


def notes(iface: str, mode: str, off: Collection[Setting]) -> list[str]:
    """Return sentences for the user: what merges packets before a program, and what is off meanwhile."""
    if mode == "xdp_drv":
        return []
    on, devices, said = merging(iface, mode), {}, []
    for one in on:
        devices.setdefault(one.device, []).append(one.name + " (its driver can't turn it off)" * one.fixed)
    if off:
        said.append(f"Off until detach: {', '.join(sorted({name for _, name, _ in off}))}.")
    if on:
        text = "; ".join(f"{device} has {', '.join(names)} on" for device, names in devices.items())
        remedy = "" if off else " (--offloads off turns that off until detach)"
        said.append(f"Packets are merged before the program sees them, unlike those that models learn: {text}{remedy}.")
    if mode == "tc_both":
        remedy = f"new connections send one at a time after 'ip link set {iface} gso_max_segs 1'"
        said.append(f"Packets that leave are seen before the kernel cuts them to the size of the wire; {remedy}.")
        said.append("Packets that are forwarded leave as the device that received them merged them ('ethtool -k').")
    links, sources = _sources(iface, mode)
    far = ", ".join(links[index].get_attr("IFLA_IFNAME") for index in sources if _is_far(links[index]))
    if far:
        said.append(f"What is behind {far} in another network namespace may merge packets too: see 'ethtool -k' there.")
    return said


def to_turn_off(iface: str, mode: str) -> list[Setting]:
    """Return the settings of `merging` that can be turned off."""
    return [(one.index, one.name, one.mac) for one in merging(iface, mode) if not one.fixed]


def turn_off(settings: Iterable[Setting]) -> None:
    """Turn offloads off. UserError if a device does not."""
    for index, name, _ in settings:
        KINDS["offload"][1](socket.if_indextoname(index), name, "off")


def put_back(settings: Iterable[Setting]) -> None:
    """Turn on what `turn_off` turned off.

    Warns
    -----
    UserWarning
        For each that does not go back. A device that is gone took its settings with it, also if another has its index.
    """
    read, write = KINDS["offload"]
    for index, name, *mac in reversed(list(settings)):
        device = _device(index, *mac)
        if device is None:
            continue
        try:
            if read(device, name) == "off":
                write(device, name, "on")
        except UserError as error:
            warnings.warn(f"{error}; 'ethtool -K {device} {name} on' turns it on", stacklevel=2)


def _device(index: int, mac: str | None = None) -> str | None:
    """Return the present name of a device; None if it is gone. Earlier versions did not write its address down."""
    with IPRoute() as ip:
        for link in ip.get_links():
            if link["index"] == index and mac in (None, link.get_attr("IFLA_ADDRESS") or ""):
                return link.get_attr("IFLA_IFNAME")
    return None
