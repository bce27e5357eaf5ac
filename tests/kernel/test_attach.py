"""A program is attached in every mode and detached without a trace, also after an error."""

import socket

import pytest
from loaded_programs import program
from machine_state import attachments, interfaces, until
from made_models import BLOCKED
from pyroute2 import IPRoute

from ids_repro.config import UserError
from ids_repro.kernel import attach
from ids_repro.kernel.bpf_syscall import attach_tcx, tcx_programs
from ids_repro.kernel.info import prog_info
from ids_repro.sweep.link_netns import two_namespaces

pytestmark = [pytest.mark.root, pytest.mark.bpf]


@pytest.fixture
def on():
    """Yield the link between two namespaces that is measured."""
    with two_namespaces() as made:
        yield made


MODES = {"xdp_drv": "xdp", "xdp_skb": "xdp", "tc": "tc", "tc_both": "tc_both"}


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("mode", MODES)
def test_an_attached_filter_drops_attacks_lets_the_rest_through_and_goes_without_a_trace(on, mode):
    loaded, own = program(MODES[mode], "dt", action="filter"), interfaces()
    with on.server.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as receiver:
        receiver.bind((on.server.address, 0))
        receiver.setblocking(False)
        port = receiver.getsockname()[1]
        loaded.reset()
        sender = on.client.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with sender, loaded.attached(on.server, mode):
            assert len(attachments(on.server)) == 1
            assert interfaces() == own
            on.hold_server()
            for n in range(20):
                sender.sendto(bytes([n]), (on.server.address, port if n % 2 else BLOCKED))
            assert until(lambda: loaded.verdicts().sum() >= 20)  # the first wait for the server's MAC address
        assert loaded.verdicts().tolist()[:2] == [10, 10]
        assert [receiver.recv(100)[0] for _ in range(10)] == list(range(1, 20, 2))
        with pytest.raises(BlockingIOError):
            receiver.recv(100)
    assert attachments(on.server) == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("what", [ValueError, KeyboardInterrupt])
def test_it_is_detached_after_an_exception_too(on, mode, what):
    with pytest.raises(what), program(MODES[mode], "dt", action="filter").attached(on.server, mode):
        assert len(attachments(on.server)) == 1
        raise what
    assert attachments(on.server) == []


@pytest.mark.parametrize(("hook", "mode"), [("xdp", "tc"), ("tc", "xdp_drv"), ("tc", "xdp_skb")])
def test_an_interface_that_refuses_a_program_keeps_nothing_of_it(on, hook, mode):
    with (
        pytest.raises(UserError, match=f"does not take a {mode.replace('_', '-')} program"),
        program(hook, "dt", action="filter").attached(on.server, mode),
    ):
        pass
    assert attachments(on.server) == []


def clsact(on) -> list[str]:
    """Return the queueing disciplines for filters that the server's interface has."""
    text = on.server.run(["tc", "qdisc", "show", "dev", "eth0"], capture_output=True, text=True, check=True).stdout
    return [line.split()[1] for line in text.splitlines() if line.split()[1] in ("clsact", "ingress")]


def tc(on, *argv: str) -> None:
    on.server.run(["tc", *argv], check=True)


def send(on, n: int = 10) -> None:
    """Send datagrams to the server, and wait until they have arrived."""
    before = on.counters()
    with on.client.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
        for _ in range(n):
            sender.sendto(b"x", (on.server.address, BLOCKED))
    assert until(lambda: on.counters()["received_interface"] >= before["received_interface"] + n)


@pytest.mark.parametrize("kind", ["clsact", "ingress"])
def test_a_qdisc_that_somebody_made_stays_after_an_attach_that_worked_and_one_that_was_refused(on, kind):
    tc(on, "qdisc", "add", "dev", "eth0", kind)
    loaded = program("tc")
    loaded.reset()
    with loaded.attached(on.server, "tc"):
        assert on.server.call(attach.programs, "eth0") == {("tc", prog_info(loaded.fd)["id"])}
        send(on)
        assert loaded.counts()["packets"] >= 10
    with pytest.raises(UserError, match="does not take a tc program"), program("xdp").attached(on.server, "tc"):
        pass
    assert (clsact(on), on.server.call(attach.programs, "eth0")) == ([kind], set())


def netlink(on, do):
    """Call a function with a netlink socket in the server's namespace and the index of its interface."""

    def call():
        with IPRoute() as ip:
            return do(ip, socket.if_nametoindex("eth0"))

    return on.server.call(call)


U32 = ("protocol", "ip", "u32", "match", "ip", "src", "192.0.2.1/32", "flowid", "1:1")
FILTERS = {  # of others, by what is special about them: preferences and arguments of tc, and what ours gets
    "others": ({7: U32, 9: U32}, 6, 0),
    "the first place is taken": ({1: U32, 2: U32, 4: U32}, 3, 2),
    "tc prints no JSON": ({5: ("bpf", "bytecode", "1,6 0 0 0,", "flowid", "1:1")}, 4, 0),
}


@pytest.mark.parametrize("what", FILTERS)
def test_filters_of_others_stay_and_see_the_packets_that_ours_passes(on, what):
    filters, preference, before = FILTERS[what]
    tc(on, "qdisc", "add", "dev", "eth0", "clsact")
    for place, one in filters.items():
        tc(on, "filter", "add", "dev", "eth0", "ingress", "pref", str(place), *one)
    shown = ["tc", "filter", "show", "dev", "eth0", "ingress"]
    there = on.server.run(shown, capture_output=True).stdout
    ours, theirs = program("tc"), program("tc", "dt")  # theirs is behind all
    about = {"parent": attach.PARENTS["ingress"], "fd": theirs.fd, "name": '"\\', "classid": 1, "prio": 99}
    netlink(on, lambda ip, index: ip.tc("add-filter", "bpf", index, **about))
    with ours.attached(on.server, "tc"):
        text = on.server.run(shown, capture_output=True, text=True).stdout
        assert f"pref {preference} bpf chain 0 handle 0x1 flowid :1 ids direct-action" in text
        assert on.server.call(attach.before, "eth0", int(prog_info(ours.fd)["id"])) == before
        ours.reset()
        theirs.reset()
        send(on)
        assert ours.counts()["packets"] == theirs.counts()["packets"] >= 10
    tc(on, "filter", "del", "dev", "eth0", "ingress", "pref", "99")
    assert on.server.run(shown, capture_output=True).stdout == there != b""


def test_a_program_of_tcx_that_stands_before_filters_stays_and_ours_sees_packets_before_it(on):
    ours, theirs = program("tc"), program("tc", "dt", action="sink")
    index = on.server.call(socket.if_nametoindex, "eth0")
    on.server.call(attach_tcx, theirs.fd, index, "ingress")
    numbers = [int(prog_info(one.fd)["id"]) for one in (ours, theirs)]
    for one in (ours, theirs):
        one.reset()
    with ours.attached(on.server, "tc"):
        assert on.server.call(tcx_programs, index, "ingress") == numbers
        assert on.server.call(attach.programs, "eth0") == {("tc", number) for number in numbers}
        send(on)
        assert ours.counts()["packets"] == theirs.counts()["packets"] >= 10
    assert on.server.call(tcx_programs, index, "ingress") == numbers[1:]
    assert clsact(on) == []


def test_at_both_sides_of_tc_each_side_is_taken_as_it_is(on):
    """At the egress a program of TCX stands, at the ingress a filter; the qdisc is not ours."""
    tc(on, "qdisc", "add", "dev", "eth0", "clsact")
    tc(on, "filter", "add", "dev", "eth0", "ingress", "pref", "1", *U32)
    ours, theirs = program("tc_both"), program("tc", "dt")
    index = on.server.call(socket.if_nametoindex, "eth0")
    on.server.call(attach_tcx, theirs.fd, index, "egress")
    numbers = [int(prog_info(one.fd)["id"]) for one in (ours, theirs)]
    with ours.attached(on.server, "tc_both"):
        assert on.server.call(tcx_programs, index, "egress") == numbers
        assert on.server.call(tcx_programs, index, "ingress") == []
        assert on.server.call(attach.programs, "eth0") == {("tc", number) for number in numbers}
        assert on.server.call(attach.before, "eth0", numbers[0]) == 1
    assert on.server.call(attach.programs, "eth0") == {("tc", numbers[1])}
    assert clsact(on) == ["clsact"]


def test_both_sides_of_tc_beside_an_ingress_qdisc_are_refused_and_nothing_is_left(on):
    tc(on, "qdisc", "add", "dev", "eth0", "ingress")
    said = "does not take a tc-both program: the kernel says 'Exclusivity flag on, cannot modify'; .*--hook tc"
    with pytest.raises(UserError, match=said), program("tc_both").attached(on.server, "tc_both"):
        pass
    assert (clsact(on), on.server.call(attach.programs, "eth0")) == (["ingress"], set())


def test_a_program_that_took_the_place_of_ours_stays(on):
    ours, theirs = program("xdp"), program("xdp", "dt")
    with ours.attached(on.server, "xdp_skb"):
        xdp = {"attrs": [("IFLA_XDP_FD", theirs.fd), ("IFLA_XDP_FLAGS", 2)]}
        netlink(on, lambda ip, index: ip.link("set", index=index, xdp=xdp))
        left = {("xdp_skb", prog_info(theirs.fd)["id"])}
        assert on.server.call(attach.programs, "eth0") == left
    assert on.server.call(attach.programs, "eth0") == left


def test_native_xdp_that_the_kernel_refuses_is_told_in_its_own_words_with_a_remedy(on):
    loaded = program("xdp")
    on.client.run(["ip", "link", "set", "eth0", "mtu", "9000"], check=True)
    said = "does not take a xdp-drv program: the kernel says '(veth: )?Peer MTU is too large to set XDP'; .*xdp-skb"
    with pytest.raises(UserError, match=said), loaded.attached(on.server, "xdp_drv"):
        pass
    on.client.run(["ip", "link", "set", "eth0", "mtu", "1500"], check=True)
    on.client.run(["ethtool", "-L", "eth0", "tx", "2"], check=True)
    on.server.run(["ethtool", "-L", "eth0", "rx", "1"], check=True)
    said = "the kernel says '.*number of rx queues not less than peer tx queues'; change that, or use --hook xdp-skb"
    with pytest.raises(UserError, match=said), loaded.attached(on.server, "xdp_drv"):
        pass
    with loaded.attached(on.server, "xdp_skb"):
        assert len(attachments(on.server)) == 1
