"""Attach a loaded program to an interface of the current network namespace, by XDP or TC, and detach it again.

Other people's programs and filters stay as they are. What is taken off is known by its program, never by a name.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from ..config import UserError
from ..network import tuning
from ..network.facts import index_of
from ..network.setting_kinds import KINDS
from .bpf_syscall import attach_tcx, detach_tcx, open_program, tcx_programs
from .info import prog_info

# XDP_FLAGS_UPDATE_IF_NOEXIST: the kernel does not replace a program that is attached already. XDP_FLAGS_REPLACE: it
# takes off the program that is named, and no other.
NO_REPLACE, EXPECTED = 1, 1 << 4
XDP_FLAGS = {"xdp_skb": 1 << 1, "xdp_drv": 1 << 2}  # XDP_FLAGS_SKB_MODE, XDP_FLAGS_DRV_MODE
# The parents of the filters of a clsact qdisc, by the name of their hook, and the hooks of each mode.
PARENTS = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}
TC_HOOKS = {"tc": ("ingress",), "tc_both": ("ingress", "egress")}
NAME = "ids"  # of our filter
LIBXDPS = b"xsk_def_prog"  # the program that redirects packets to an AF_XDP socket
_BPF_ID = 11  # TCA_BPF_ID of linux/pkt_cls.h, which pyroute2 does not know


class Filter(NamedTuple):
    """A filter at TC: preference and protocol as the kernel packs them, and the id of a BPF filter's program."""

    info: int
    handle: int
    program: int | None


def attach(fd: int, iface: str, mode: str, expected: int | None = None) -> bool:
    """Attach a program by its file descriptor.

    At TC it takes the first place among the filters that are there, if that can be had. It passes a packet on to the
    filters behind it, so they see the same packets as before. Programs of TCX (Linux 6.6) stand before all filters. If
    there are any, ours becomes one too, the first.

    Parameters
    ----------
    fd : int
        File descriptor of the loaded program.
    iface : str
        Name of the interface.
    mode : {"xdp_drv", "xdp_skb", "tc", "tc_both"}
        Native XDP in the driver, generic XDP in the stack, the ingress of TC, or its ingress and egress, where the
        program sees both directions of flows.
    expected : int, optional
        Index of the interface that is meant, which may have been made again under its name, or renamed, meanwhile.

    Returns
    -------
    bool
        Whether this made a clsact qdisc, as `needs_clsact` said before.

    Raises
    ------
    UserError
        If there is no such interface or it is not the expected one, its driver has no native XDP, or an XDP program is
        there already; with the kernel's reason. The interface stays as it was.
    """
    with IPRoute(ext_ack=True) as ip:
        index = index_of(ip, iface)
        if expected not in (None, index):
            raise UserError(f"{iface} is another interface than it was a moment ago: look, and try again")
        made = "clsact" * needs_clsact(ip, index, TC_HOOKS.get(mode, ()))
        tuning.write_down(iface, "program", f"{mode} {prog_info(fd)['id']} {made}")
        try:
            if mode in TC_HOOKS:
                return _attach_tc(ip, index, fd, TC_HOOKS[mode])
            _set_xdp(ip, index, XDP_FLAGS[mode] | NO_REPLACE, fd)
        except (NetlinkError, OSError) as error:
            named = mode.replace("_", "-")  # as the option --hook
            raise UserError(f"{iface} does not take a {named} program: {_reason(error, iface, mode)}") from None
    return False


def detach(fd: int, iface: str, mode: str, made_clsact: bool = False, finished: bool = True) -> None:
    """Take a program off an interface, if both are there, and the clsact qdisc that `attach` made, once it is empty.

    Parameters
    ----------
    fd, iface, mode
        What `attach` was called with.
    made_clsact : bool
        What `attach` returned.
    finished : bool
        Whether `attach` returned. If so, and the program is there no longer, the qdisc is somebody else's now.
    """
    with IPRoute() as ip:
        for index in ip.link_lookup(ifname=iface):
            if mode in TC_HOOKS:
                _detach_tc(ip, index, fd, made_clsact, finished)
            else:
                with contextlib.suppress(NetlinkError):  # another program is there, or none
                    _set_xdp(ip, index, XDP_FLAGS[mode] | EXPECTED, -1, ("IFLA_XDP_EXPECTED_FD", fd))


def adopt(iface: str) -> list[str]:
    """Write down the program of libxdp's that DPDK has attached, so that it is taken off; return its mode and id."""
    found = [f"{mode} {number}" for mode, number in programs(iface) if _name(number) == LIBXDPS]
    for name in found:
        tuning.write_down(iface, "program", name, "none")
    return found


def take_off_adopted(iface: str) -> None:
    """Take off what `adopt` finds. It outlives the process that attached it."""
    for name in adopt(iface):
        _take_off(iface, name)


def programs(iface: str) -> set[tuple[str, int]]:
    """Return the BPF programs that see what an interface of this network namespace receives or sends.

    Parameters
    ----------
    iface : str
        Name of the interface.

    Returns
    -------
    set of (str, int)
        Mode ("xdp_drv", "xdp_skb" or "tc") and the kernel's id of each program.

    Raises
    ------
    UserError
        If there is no such interface.
    """
    with IPRoute() as ip:
        index = index_of(ip, iface)
        xdp = ip.link("get", index=index)[0].get_attr("IFLA_XDP")
        found = [(mode, xdp and xdp.get_attr(f"IFLA_{mode.upper()}_PROG_ID")) for mode in XDP_FLAGS]
        for hook in PARENTS:
            found += [("tc", one.program) for one in _filters(ip, index, hook)]
            found += [("tc", number) for number in tcx_programs(index, hook)]
    return {(mode, number) for mode, number in found if number}


def missing(iface: str, mode: str, number: int) -> list[str]:
    """Return the hooks of TC that a mode has, but where the program with this id stands no longer."""
    with IPRoute() as ip:
        index = index_of(ip, iface)
        return [
            hook
            for hook in TC_HOOKS.get(mode, ())
            if number not in {*tcx_programs(index, hook), *(one.program for one in _filters(ip, index, hook))}
        ]


def before(iface: str, number: int) -> int:
    """Return how many filters and programs of others stand before the TC program with this id."""
    with IPRoute() as ip:
        index = index_of(ip, iface)
        return sum(_before(ip, index, hook, number) for hook in PARENTS)


def _before(ip: IPRoute, index: int, hook: str, number: int) -> int:
    tcx, found = tcx_programs(index, hook), list(_filters(ip, index, hook))
    if number in tcx:
        return tcx.index(number)
    ours = [one.info >> 16 for one in found if one.program == number]
    return len(tcx) + len({one.info >> 16 for one in found if one.info >> 16 < min(ours)}) if ours else 0


def xdp_programs() -> dict[int, int]:
    """Return the id of each XDP program in this network namespace, and the index of its interface."""
    with IPRoute() as ip:
        found = [(link["index"], link.get_attr("IFLA_XDP")) for link in ip.get_links()]
    names = [f"IFLA_XDP_{mode[4:].upper()}_PROG_ID" for mode in XDP_FLAGS]
    return {xdp.get_attr(name): index for index, xdp in found if xdp for name in names if xdp.get_attr(name)}


def _qdiscs(ip: IPRoute, index: int) -> set[str]:
    return {one.get_attr("TCA_KIND") for one in ip.get_qdiscs(index=index)}


def needs_clsact(ip: IPRoute, index: int, hooks: tuple[str, ...]) -> bool:
    """Return whether one of TC's hooks lacks a qdisc for filters, and programs of TCX, which need none."""
    kinds = _qdiscs(ip, index)
    there = PARENTS if "clsact" in kinds else ("ingress",) if "ingress" in kinds else ()
    return any(hook not in there and not tcx_programs(index, hook) for hook in hooks)


def _filters(ip: IPRoute, index: int, hook: str) -> Iterator[Filter]:
    """Yield the filters at a hook. Netlink, because what tc prints as JSON is not always JSON."""
    for one in ip.get_filters(index=index, parent=PARENTS[hook]):
        options = one.get_attr("TCA_OPTIONS")
        if options is not None:  # else it is the head of a list of filters
            program = _program_of(options) if one.get_attr("TCA_KIND") == "bpf" else None
            yield Filter(one["info"], one["handle"], program)


def _program_of(options: dict) -> int | None:
    """Return the id of a BPF filter's program: pyroute2 gives an attribute that it does not know as bytes."""
    for name, value in options["attrs"]:
        if name == "UNKNOWN" and value["header"]["type"] == _BPF_ID:
            return struct.unpack_from("=I", value.data, value.offset + 4)[0]
    return None


def _reason(error: NetlinkError | OSError, iface: str, mode: str) -> str:
    """Return in words why the kernel refused to attach a program."""
    code, *said = error.args
    if code in (16, 17) and mode in XDP_FLAGS:  # EBUSY, EEXIST
        there = ", ".join(f"{what.replace('_', '-')} program {number}" for what, number in sorted(programs(iface)))
        return f"{there} is attached already (ip link show {iface})"
    if code == 95 and mode == "xdp_drv":  # EOPNOTSUPP
        return "its driver has no native XDP; --hook xdp-skb works with every driver"
    other = {
        "xdp_drv": "; change that, or use --hook xdp-skb",
        "tc_both": "; an ingress qdisc leaves room for --hook tc",
    }
    return f"the kernel says '{said[0] if said else error}'{other.get(mode, '')}"


def _set_xdp(ip: IPRoute, index: int, flags: int, fd: int, *more: tuple[str, int]) -> None:
    ip.link("set", index=index, xdp={"attrs": [("IFLA_XDP_FD", fd), ("IFLA_XDP_FLAGS", flags), *more]})


def _attach_tc(ip: IPRoute, index: int, fd: int, hooks: tuple[str, ...]) -> bool:
    made = needs_clsact(ip, index, hooks)
    if made:
        ip.tc("add", "clsact", index)
    try:
        for hook in hooks:
            if tcx_programs(index, hook):
                attach_tcx(fd, index, hook)
            else:
                _add_filter(ip, index, fd, hook)
    except (NetlinkError, OSError):
        _detach_tc(ip, index, fd, made)
        raise
    return made


def _add_filter(ip: IPRoute, index: int, fd: int, hook: str) -> None:
    """Add our filter before all others. Where somebody has place 1, take the first that is free."""
    taken = {one.info >> 16 for one in _filters(ip, index, hook)}
    place = min(taken, default=1) - 1 or next(number for number in count(1) if number not in taken) * bool(taken)
    place = {"parent": PARENTS[hook], "prio": place}  # place 0 lets the kernel choose
    ip.tc("add-filter", "bpf", index, fd=fd, name=NAME, classid=1, direct_action=True, **place)


def _detach_tc(ip: IPRoute, index: int, fd: int, made_clsact: bool, finished: bool = False) -> None:
    number, empty, found = int(prog_info(fd)["id"]), True, False
    for hook, parent in PARENTS.items():
        if number in tcx_programs(index, hook):
            detach_tcx(fd, index, hook)
            found = True
        for one in _filters(ip, index, hook):
            if one.program == number:
                found = True
                ip.tc("del-filter", "bpf", index, handle=one.handle, info=one.info, parent=parent)
            else:
                empty = False
    if made_clsact and empty and (found or not finished) and "clsact" in _qdiscs(ip, index):
        ip.tc("del", "clsact", index)


def _name(number: int) -> bytes:
    fd = open_program(number)
    try:
        return prog_info(fd)["name"]
    finally:
        os.close(fd)


def _is_attached(iface: str, name: str) -> str:
    mode, number, *_ = name.split()
    ours = ("tc" if mode in TC_HOOKS else mode, int(number))
    return "attached" if ours in programs(iface) else "none"


def _take_off(iface: str, name: str, _: str = "none") -> None:
    mode, number, *made = name.split()
    fd = open_program(int(number))
    try:
        detach(fd, iface, mode, "clsact" in made)
    finally:
        os.close(fd)


# A measured program outlives a process that is killed. So its mode and id are written down before it is attached, and
# whether its clsact qdisc was made for it. The next run takes off what has this id, and nothing else.
KINDS["program"] = (_is_attached, _take_off)
