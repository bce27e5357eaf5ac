"""A program is attached in every mode and detached without a trace, also after an error."""

import socket

import pytest
from loaded_programs import program
from machine_state import attachments, interfaces
from made_models import BLOCKED

from ids_repro.config import UserError
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
            before = on.counters()
            for n in range(20):
                sender.sendto(bytes([n]), (on.server.address, port if n % 2 else BLOCKED))
            sent = on.counters()["sent"] - before["sent"]
            while loaded.counts()["packets"] < sent:
                pass
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
        pytest.raises(UserError, match=f"does not take a {mode} program"),
        program(hook, "dt", action="filter").attached(on.server, mode),
    ):
        pass
    assert attachments(on.server) == []
