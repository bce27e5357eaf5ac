"""A setting is written down before it changes, and goes back at the end, to the same interface only.

Covers also: ids_repro.network.setting_kinds.
"""

import json
import warnings

import pytest
from loaded_programs import program
from machine_state import attachments

from ids_repro.config import UserError
from ids_repro.kernel import attach
from ids_repro.kernel.info import prog_info
from ids_repro.network import facts, setting_kinds, tuning
from ids_repro.network.namespaces import network

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nothing_left")]
TWO = {"one": "10.99.0.1", "two": "10.99.0.2"}
GRO = ("offload", "generic-receive-offload")
SOURCES = "198.18.0.0/15"


@pytest.fixture
def hosts():
    with network(TWO) as made:
        yield made


@pytest.fixture
def host(hosts, tmp_path):
    """A host, whose eth0 also stands in a folder that takes the place of /sys/class/net.

    The test's threads see this process's /sys, which does not show the namespace's eth0.
    """
    net = tmp_path / "net/eth0"
    net.mkdir(parents=True)
    (net / "address").write_text(hosts["one"].call(facts.state, "eth0")["mac"])
    return hosts["one"]


@pytest.fixture
def begin(host, tmp_path):
    """A function that begins to change the settings of the host's eth0, and writes them down in `tmp_path`."""
    return lambda: host.call(tuning.begin, "eth0", tmp_path, tmp_path / "net")


def gro(host) -> str:
    """Whether the host's interface has GRO on."""
    return host.call(setting_kinds.offload, "eth0", GRO[1])


def written(folder) -> list[dict]:
    """Lines of the state file."""
    return [json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]


def test_a_setting_is_in_the_file_before_it_changes_and_is_put_back_at_the_end(host, begin, tmp_path):
    begin()
    host.call(tuning.change, "eth0", *GRO, "on")
    host.call(tuning.change, "eth0", *GRO, "off")
    host.call(tuning.change, "eth0", *GRO, "on")
    assert [line["old"] for line in written(tmp_path) if line["kind"] == "offload"] == ["off"]
    assert gro(host) == "on"
    host.call(tuning.put_back, "eth0")
    assert (gro(host), written(tmp_path)) == ("off", [])


@pytest.mark.parametrize("to", ["10.99.0.2", "blackhole"])
@pytest.mark.parametrize("before", [None, "10.99.0.7", "blackhole"])
def test_a_route_leads_where_it_did_before(host, begin, before, to):
    def route() -> str | None:
        return host.call(setting_kinds.KINDS["route"][0], "eth0", SOURCES)

    if before:
        host.call(setting_kinds.KINDS["route"][1], "eth0", SOURCES, before)
    assert route() == before
    begin()
    host.call(tuning.change, "eth0", "route", SOURCES, to)
    assert route() == to
    leads = host.run(["ip", "route", "get", "198.19.1.2"], capture_output=True)
    assert (leads.returncode == 0) == (to != "blackhole")
    host.call(tuning.put_back, "eth0")
    assert route() == before


def test_a_setting_that_the_interface_does_not_take_is_named(host, begin):
    begin()
    with pytest.raises(UserError, match="eth0 does not turn large-receive-offload on"):
        host.call(tuning.change, "eth0", "offload", "large-receive-offload", "on")
    host.call(tuning.put_back, "eth0")


@pytest.mark.parametrize("broken", ["", '{"iface": "et'])
def test_what_a_killed_run_left_is_put_back_whatever_its_last_line_is(host, begin, tmp_path, broken):
    begin()
    host.call(tuning.change, "eth0", *GRO, "on")
    tuning._open.pop("eth0").file.close()  # as when its process is killed
    (path,) = tmp_path.glob("*.jsonl")
    path.write_text(path.read_text() + broken)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        host.call(tuning.put_back_leftovers, tmp_path)
    assert (gro(host), written(tmp_path)) == ("off", [])


@pytest.mark.bpf
def test_what_does_not_go_back_is_told_and_goes_back_when_it_can(host, hosts, begin, tmp_path):
    """A veth cannot turn its segmentation offload on while its peer has an XDP program."""
    tso, peer = "tcp-segmentation-offload", hosts["two"]
    begin()
    host.call(tuning.change, "eth0", "offload", tso, "off")
    tuning._open.pop("eth0").file.close()
    fd = program("xdp").fd
    peer.call(attach.attach, fd, "eth0", "xdp_drv")
    for _ in range(2):
        with pytest.warns(UserWarning, match=f"eth0: offload {tso} could not be put back to on"):
            host.call(tuning.put_back_leftovers, tmp_path)
        assert [line["name"] for line in written(tmp_path)] == [tso]
    peer.call(attach.detach, fd, "eth0", "xdp_drv")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        host.call(tuning.put_back_leftovers, tmp_path)
    assert (host.call(setting_kinds.offload, "eth0", tso), written(tmp_path)) == ("on", [])


def test_another_interface_of_the_same_name_is_left_alone(host, begin, tmp_path):
    begin()
    host.call(tuning.change, "eth0", *GRO, "on")
    tuning._open.pop("eth0").file.close()
    host.run(["ip", "link", "set", "eth0", "address", "02:00:00:00:00:01"], check=True)
    host.call(tuning.put_back_leftovers, tmp_path)
    assert (gro(host), written(tmp_path)) == ("on", [])


def test_an_interface_with_an_xdp_program_is_refused(host, begin, monkeypatch):
    found = host.call(facts.state, "eth0")
    monkeypatch.setattr(tuning, "state", lambda iface: found | {"xdp": 1})
    with pytest.raises(UserError, match="eth0 has an XDP program already: 'ip link set dev eth0 xdp off'"):
        begin()


MODES = {"xdp_drv": "xdp", "xdp_skb": "xdp", "tc": "tc", "tc_both": "tc_both"}


def attach_and_die(host, begin, mode: str) -> int:
    """Attach a program to an interface whose settings change, then go on as after a kill; return its descriptor."""
    begin()
    fd = program(MODES[mode]).fd
    host.call(attach.attach, fd, "eth0", mode)
    tuning._open.pop("eth0").file.close()
    return fd


def said_by_the_next_run(host, tmp_path) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        host.call(tuning.put_back_leftovers, tmp_path)
    assert written(tmp_path) == []
    return [str(one.message) for one in caught]


@pytest.mark.bpf
@pytest.mark.parametrize("mode", MODES)
def test_the_program_of_a_killed_run_is_taken_off_with_the_clsact_that_was_made_for_it(host, begin, tmp_path, mode):
    attach_and_die(host, begin, mode)
    assert len(attachments(host)) == 1
    assert (said_by_the_next_run(host, tmp_path), attachments(host)) == ([], [])


@pytest.mark.bpf
@pytest.mark.parametrize("mode", MODES)
def test_what_others_attached_meanwhile_stays_and_is_told(host, begin, tmp_path, mode):
    ours = attach_and_die(host, begin, mode)
    theirs = program(MODES[mode], "dt").fd
    if mode in attach.XDP_FLAGS:  # there is room for one
        host.call(attach.detach, ours, "eth0", mode)
    host.call(attach.attach, theirs, "eth0", mode)
    (said,) = said_by_the_next_run(host, tmp_path)
    assert "stays" in said and "dev eth0" in said
    left = {("tc" if mode in attach.TC_HOOKS else mode, int(prog_info(theirs)["id"]))}
    assert host.call(attach.programs, "eth0") == left


@pytest.mark.bpf
def test_a_clsact_that_was_there_before_stays(host, begin, tmp_path):
    host.run(["tc", "qdisc", "add", "dev", "eth0", "clsact"], check=True)
    attach_and_die(host, begin, "tc")
    assert said_by_the_next_run(host, tmp_path) == []
    assert [one["kind"] for one in attachments(host)] == ["clsact"]
    assert host.call(attach.programs, "eth0") == set()


@pytest.mark.bpf
def test_a_clsact_that_others_made_after_a_run_was_killed_stays_and_is_told(host, begin, tmp_path):
    ours = attach_and_die(host, begin, "tc")
    host.call(attach.detach, ours, "eth0", "tc", True)
    assert attachments(host) == []
    host.run(["tc", "qdisc", "add", "dev", "eth0", "clsact"], check=True)
    (said,) = said_by_the_next_run(host, tmp_path)
    assert "the clsact qdisc of eth0 stays" in said and "'tc qdisc del dev eth0 clsact' removes it" in said
    assert [one["kind"] for one in attachments(host)] == ["clsact"]
