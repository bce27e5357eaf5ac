"""Attach a loaded program to an interface of the current network namespace, by XDP or TC, and detach it again."""

from __future__ import annotations

import json
import subprocess

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from ..config import UserError
from ..network.facts import has_clsact, index_of

NO_REPLACE = 1  # XDP_FLAGS_UPDATE_IF_NOEXIST: the kernel does not replace a program that is attached already
XDP_FLAGS = {"xdp_skb": 1 << 1, "xdp_drv": 1 << 2}  # XDP_FLAGS_SKB_MODE, XDP_FLAGS_DRV_MODE
# The parents of the filters of a clsact qdisc, by the name of their hook, and the hooks of each mode.
PARENTS = {"ingress": "ffff:fff2", "egress": "ffff:fff3"}
TC_HOOKS = {"tc": ("ingress",), "tc_both": ("ingress", "egress")}
NAME = "ids"  # of our filter


def attach(fd: int, iface: str, mode: str) -> None:
    """Attach a program by its file descriptor.

    Parameters
    ----------
    fd : int
        File descriptor of the loaded program.
    iface : str
        Name of the interface.
    mode : {"xdp_drv", "xdp_skb", "tc", "tc_both"}
        Native XDP in the driver, generic XDP in the stack, the ingress of TC, or its ingress and egress, where the
        program sees both directions of flows.

    Raises
    ------
    UserError
        If there is no such interface, its driver has no native XDP, or a program or a clsact qdisc is there already.
        The interface stays as it was.
    """
    with IPRoute() as ip:
        index = index_of(ip, iface)
        try:
            if mode in TC_HOOKS:
                _attach_tc(ip, index, fd, TC_HOOKS[mode])
            else:
                _set_xdp(ip, index, fd, XDP_FLAGS[mode] | NO_REPLACE)
        except NetlinkError as error:
            raise UserError(f"{iface} does not take a {mode} program: {_reason(error, iface, mode)}") from None


def detach(iface: str, mode: str) -> None:
    """Detach what `attach` attached, and do nothing if the interface no longer exists.

    Parameters
    ----------
    iface : str
        Name of the interface.
    mode : {"xdp_drv", "xdp_skb", "tc", "tc_both"}
        The mode that `attach` was called with.
    """
    with IPRoute() as ip:
        for index in ip.link_lookup(ifname=iface):
            if mode in TC_HOOKS:
                _detach_tc(ip, index, iface)
            else:
                _set_xdp(ip, index, -1, XDP_FLAGS[mode])


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
        xdp = ip.link("get", index=index_of(ip, iface))[0].get_attr("IFLA_XDP")
    ids = {mode: xdp and xdp.get_attr(f"IFLA_{mode.upper()}_PROG_ID") for mode in XDP_FLAGS}
    rules = [rule for hook in PARENTS for rule in _filters(iface, hook)]
    found = [*ids.items(), *(("tc", rule["options"].get("prog", {}).get("id")) for rule in rules)]
    return {(mode, number) for mode, number in found if number}


def has_empty_clsact(iface: str) -> bool:
    """Return whether an interface has a clsact qdisc without any filter.

    A process that is killed between the two steps of `attach` leaves one behind.
    """
    return has_clsact(iface) and not any(_filters(iface, hook) for hook in PARENTS)


def _tc(*argv: str) -> str:
    # tc rather than pyroute2, because pyroute2 does not report the id of a filter's program.
    return subprocess.run(["tc", *argv], capture_output=True, text=True).stdout


def _filters(iface: str, where: str) -> list[dict]:
    """Return the filters at TC's "ingress" or "egress"; none if the interface has no such hook."""
    return [rule for rule in json.loads(_tc("-j", "filter", "show", "dev", iface, where) or "[]") if "options" in rule]


def _reason(error: NetlinkError, iface: str, mode: str) -> str:
    """Return in words why the kernel refused to attach a program."""
    if error.code in (16, 17):  # EBUSY, EEXIST
        there = ", ".join(f"{what} program {number}" for what, number in sorted(programs(iface))) or "a clsact qdisc"
        return f"{there} is attached already (ip link show {iface}; tc filter show dev {iface} ingress)"
    if error.code == 95:  # EOPNOTSUPP
        return "its driver has no native XDP; xdp_skb works with every driver" if mode == "xdp_drv" else "not supported"
    return str(error)


def _set_xdp(ip: IPRoute, index: int, fd: int, flags: int) -> None:
    ip.link("set", index=index, xdp={"attrs": [("IFLA_XDP_FD", fd), ("IFLA_XDP_FLAGS", flags)]})


def _attach_tc(ip: IPRoute, index: int, fd: int, where: tuple[str, ...]) -> None:
    ip.tc("add", "clsact", index)
    try:
        for hook in where:
            parent = PARENTS[hook]
            ip.tc("add-filter", "bpf", index, parent=parent, fd=fd, name=NAME, classid=1, direct_action=True)
    except NetlinkError:
        ip.tc("del", "clsact", index)
        raise


def _detach_tc(ip: IPRoute, index: int, iface: str) -> None:
    """Delete the whole qdisc, or only our filter if somebody else has added filters to it."""
    rules = [(hook, rule) for hook in PARENTS for rule in _filters(iface, hook)]
    ours = [(hook, rule) for hook, rule in rules if rule["options"].get("bpf_name") == NAME]
    if len(rules) > len(ours):
        for hook, rule in ours:
            place = ("protocol", rule["protocol"], "pref", str(rule["pref"]), "handle", rule["options"]["handle"])
            _tc("filter", "del", "dev", iface, hook, *place, "bpf")
    else:
        ip.tc("del", "clsact", index)
