"""Attach a loaded program to an interface of the current network namespace, and take it off again: XDP and TC."""

from __future__ import annotations

import json
import subprocess

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from ..config import UserError
from ..network.facts import has_clsact, index_of

NO_REPLACE = 1  # XDP_FLAGS_UPDATE_IF_NOEXIST: somebody else's program stays
XDP_FLAGS = {"xdp_skb": 1 << 1, "xdp_drv": 1 << 2}
INGRESS, NAME = "ffff:fff2", "ids"


def attach(fd: int, iface: str, mode: str) -> None:
    """Attach a program by its file descriptor.

    Parameters
    ----------
    fd : int
    iface : str
    mode : {"xdp_drv", "xdp_skb", "tc"}
        Native XDP in the driver, generic XDP in the stack, or the ingress of TC.

    Raises
    ------
    UserError
        If there is no such interface, its driver has no native XDP, or a program is there already; nothing is changed.
    """
    with IPRoute() as ip:
        index = index_of(ip, iface)
        try:
            if mode == "tc":
                _attach_tc(ip, index, fd)
            else:
                _set_xdp(ip, index, fd, XDP_FLAGS[mode] | NO_REPLACE)
        except NetlinkError as error:
            raise UserError(f"{iface} does not take a {mode} program: {_reason(error, iface, mode)}") from None


def detach(iface: str, mode: str) -> None:
    """Take off what `attach` put there; an interface that is gone has taken it along."""
    with IPRoute() as ip:
        for index in ip.link_lookup(ifname=iface):
            if mode == "tc":
                _detach_tc(ip, index, iface)
            else:
                _set_xdp(ip, index, -1, XDP_FLAGS[mode])


def programs(iface: str) -> set[tuple[str, int]]:
    """Mode and id of each BPF program that gets what an interface of this network namespace receives."""
    with IPRoute() as ip:
        xdp = ip.link("get", index=index_of(ip, iface))[0].get_attr("IFLA_XDP")
    ids = {mode: xdp and xdp.get_attr(f"IFLA_{mode.upper()}_PROG_ID") for mode in XDP_FLAGS}
    found = [*ids.items(), *(("tc", rule["options"].get("prog", {}).get("id")) for rule in _filters(iface, "ingress"))]
    return {(mode, number) for mode, number in found if number}


def has_empty_clsact(iface: str) -> bool:
    """Is it there without any filter, as an attachment leaves it that was killed half way?"""
    return has_clsact(iface) and not _filters(iface, "ingress") and not _filters(iface, "egress")


def _tc(*argv: str) -> str:
    # not pyroute2, which reads no program's id
    return subprocess.run(["tc", *argv], capture_output=True, text=True).stdout


def _filters(iface: str, where: str) -> list[dict]:
    """The filters at TC's ingress or egress; none if there is no such place."""
    return [rule for rule in json.loads(_tc("-j", "filter", "show", "dev", iface, where) or "[]") if "options" in rule]


def _reason(error: NetlinkError, iface: str, mode: str) -> str:
    if error.code in (16, 17):  # EBUSY, EEXIST
        there = ", ".join(f"{what} program {number}" for what, number in sorted(programs(iface))) or "a clsact qdisc"
        return f"{there} is attached already (ip link show {iface}; tc filter show dev {iface} ingress)"
    if error.code == 95:  # EOPNOTSUPP
        return "its driver has no native XDP; xdp_skb works with every driver" if mode == "xdp_drv" else "not supported"
    return str(error)


def _set_xdp(ip: IPRoute, index: int, fd: int, flags: int) -> None:
    ip.link("set", index=index, xdp={"attrs": [("IFLA_XDP_FD", fd), ("IFLA_XDP_FLAGS", flags)]})


def _attach_tc(ip: IPRoute, index: int, fd: int) -> None:
    ip.tc("add", "clsact", index)
    try:
        ip.tc("add-filter", "bpf", index, parent=INGRESS, fd=fd, name=NAME, classid=1, direct_action=True)
    except NetlinkError:
        ip.tc("del", "clsact", index)
        raise


def _detach_tc(ip: IPRoute, index: int, iface: str) -> None:
    """Delete our filter, and the qdisc unless others have put filters there since."""
    rules = {where: _filters(iface, where) for where in ("ingress", "egress")}
    ours = [rule for rule in rules["ingress"] if rule["options"].get("bpf_name") == NAME]
    if sum(map(len, rules.values())) > len(ours):
        for rule in ours:
            place = ("protocol", rule["protocol"], "pref", str(rule["pref"]), "handle", rule["options"]["handle"])
            _tc("filter", "del", "dev", iface, "ingress", *place, "bpf")
    else:
        ip.tc("del", "clsact", index)
