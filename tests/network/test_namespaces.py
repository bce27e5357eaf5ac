"""The test network joins its hosts and leaves nothing behind, however it ends.

Covers also: ids_repro.network.hosts, and the measured link of ids_repro.sweep.link_netns.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from machine_state import alive, heed_signals, until

from ids_repro.config import UserError
from ids_repro.network import facts
from ids_repro.network.hosts import Host
from ids_repro.network.namespaces import clean_up, leftovers, network
from ids_repro.sweep.link_netns import two_namespaces

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nothing_left")]
TWO = {"one": "10.99.0.1", "two": "10.99.0.2"}
HOLD = """
import time
from ids_repro.network.namespaces import network
with network({"one": "10.99.0.1", "two": "10.99.0.2"}) as hosts:
    print(hosts["one"].popen(["sleep", "60"]).pid, flush=True)
    time.sleep(60)
"""


def reaches(source: Host, target: Host) -> bool:
    """Send a datagram from one host to another and wait for it."""
    with target.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as receiver:
        receiver.bind((target.address, 7000))
        receiver.settimeout(3)
        with source.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
            sender.sendto(b"hello", (target.address, 7000))
        data, (address, _) = receiver.recvfrom(100)
    return (data, address) == (b"hello", source.address)


def names(host: Host) -> list[str]:
    """Interfaces of a host."""
    return sorted(host.call(lambda: [name for _, name in socket.if_nameindex()]))


def hold() -> tuple[subprocess.Popen, int]:
    """Start a process that holds a network with a running child."""
    argv = [sys.executable, "-c", HOLD]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, preexec_fn=heed_signals)
    child = int(process.stdout.readline())
    assert until(lambda: psutil.Process(child).name() == "sleep")  # setpriv, nsenter and taskset come before it
    return process, child


def test_two_hosts_reach_each_other_over_eth0():
    with network(TWO) as hosts:
        assert leftovers() == ["ids-one", "ids-two"]
        assert reaches(hosts["one"], hosts["two"])
        assert reaches(hosts["two"], hosts["one"])
        assert {name: names(host) for name, host in hosts.items()} == dict.fromkeys(TWO, ["eth0", "lo"])


def test_three_hosts_reach_each_other_through_a_switch_that_sees_every_frame():
    with network(TWO | {"three": "10.99.0.3"}) as hosts:
        assert names(hosts["switch"]) == ["br0", "lo", "one", "three", "two"]
        assert all(reaches(hosts[a], hosts[b]) for a, b in (("one", "two"), ("two", "three"), ("three", "one")))


def test_a_command_runs_inside_its_host_on_its_cpu():
    with network(TWO) as hosts:
        status = hosts["one"].run(["cat", "/proc/self/status"], cpu=1, capture_output=True, text=True).stdout
        assert "Cpus_allowed_list:\t1\n" in status
        inside = hosts["one"].run(["readlink", "/proc/self/ns/net"], capture_output=True, text=True).stdout
        assert inside.strip() != str(Path("/proc/self/ns/net").readlink())


def test_the_callers_network_stays_its_own():
    own = Path("/proc/self/ns/net").readlink()
    with network(TWO) as hosts:
        assert hosts["one"].call(lambda: Path("/proc/thread-self/ns/net").readlink()) != own
        assert Path("/proc/thread-self/ns/net").readlink() == own


@pytest.mark.parametrize("what", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_after(what):
    with pytest.raises(what), network(TWO):
        raise what


def test_nothing_is_left_of_a_network_that_could_not_be_made():
    with pytest.raises(Exception, match=r"(?i)address|invalid|illegal"), network(TWO | {"two": "10.99.0.999"}):
        pass


def test_every_process_inside_is_killed_grandchildren_too():
    with network(TWO) as hosts:
        child = hosts["one"].popen(["sleep", "60"])
        shell = hosts["two"].run(["sh", "-c", "setsid sleep 60 >&2 & echo $!"], stdout=subprocess.PIPE, text=True)
        assert alive(child.pid)
        assert alive(int(shell.stdout))
    assert not alive(child.pid)
    assert not alive(int(shell.stdout))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_killed_leaves_nothing(number):
    process, child = hold()
    process.send_signal(number)
    assert process.wait() == -number
    assert until(lambda: not alive(child), patience_s=1)
    assert until(lambda: leftovers() == [], patience_s=5)


def test_a_network_can_be_made_at_once_after_a_kill():
    process, _ = hold()
    process.kill()
    process.wait()
    with network({"three": "10.99.0.1", "four": "10.99.0.2"}):
        assert leftovers() == ["ids-four", "ids-three"]


def kill_with_the_watcher(process):
    """Kill a run that has a network, and the process that would remove the network."""
    for one in [*psutil.Process(process.pid).children(), process]:
        one.kill()
    process.wait()
    assert leftovers() == ["ids-one", "ids-two"]


def test_the_next_network_removes_what_nobody_else_did():
    process, child = hold()
    kill_with_the_watcher(process)
    assert until(lambda: not alive(child), patience_s=1)
    with network({"three": "10.99.0.1", "four": "10.99.0.2"}):
        assert leftovers() == ["ids-four", "ids-three"]


def test_a_file_of_somebodys_beside_the_namespaces_stays():
    notes = Path("/run/netns/ids-notes")
    notes.parent.mkdir(exist_ok=True)
    notes.write_text("mine")
    try:
        assert leftovers() == []
        clean_up()
        assert notes.read_text() == "mine"
    finally:
        notes.unlink()


def test_clean_up_removes_what_a_killed_run_left():
    process, _ = hold()
    kill_with_the_watcher(process)
    clean_up()
    assert leftovers() == []


def test_a_second_network_is_refused_and_the_first_is_not_disturbed():
    process, child = hold()
    try:
        with pytest.raises(UserError, match="another run uses the test network"), network(TWO):
            pass
        clean_up(patience_s=0.2)
        assert leftovers() == ["ids-one", "ids-two"]
        assert alive(child)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=10)


@pytest.fixture
def foreign():
    """A namespace of somebody else whose name begins like ours, with a process in it."""
    subprocess.run(["ip", "netns", "add", "ids-two"], check=True)
    process = subprocess.Popen(["nsenter", "--net=/run/netns/ids-two", "sleep", "60"])
    assert until(lambda: psutil.Process(process.pid).name() == "sleep")
    yield process
    assert process.poll() is None
    process.kill()
    process.wait()
    subprocess.run(["ip", "netns", "delete", "ids-two"], check=True)


def test_a_namespace_of_somebody_else_stays_with_its_processes(foreign):
    assert leftovers() == []
    clean_up()
    with network({"three": "10.99.0.1", "four": "10.99.0.2"}):
        assert leftovers() == ["ids-four", "ids-three"]
    assert alive(foreign.pid) and Path("/run/netns/ids-two").exists()


@pytest.mark.usefixtures("foreign")
def test_a_namespace_of_somebody_else_that_is_in_the_way_is_named():
    with pytest.raises(UserError, match="ids-two was not made by ids_repro.*'ip netns delete ids-two'"), network(TWO):
        pass
    assert leftovers() == []


@pytest.mark.parametrize("step", ["unshare", "ifalias", "os.open", "mount", "created"])
def test_a_kill_at_any_step_leaves_no_namespace_without_the_mark(step):
    """The process kills itself instead of taking the step; the next network removes what there is."""
    code = "from ids_repro.network import namespaces as n\nn._make('ids-two')"
    patch = {
        "unshare": "n.ctypes.CDLL = kill",
        "ifalias": "n.IPRoute.link = kill",
        "os.open": "n.netns._create.__globals__['os'] = type('os', (), vars(os) | {'open': kill})",
        "mount": "n.netns._create.__globals__['os'] = type('os', (), vars(os) | {'close': kill})",
        "created": "",
    }[step]
    head, call = code.split("\n")
    kill = "import os, signal\nkill = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run([sys.executable, "-c", f"{head}\n{kill}\n{patch}\n{call}\nkill()"])
    assert done.returncode == -signal.SIGKILL
    assert Path("/run/netns/ids-two").exists() == (step in ("mount", "created"))
    with network(TWO):
        assert leftovers() == ["ids-one", "ids-two"]


def test_two_runs_with_other_temporary_folders_share_the_lock(tmp_path):
    process, child = hold()
    code = 'from ids_repro.network.namespaces import network\nwith network({"five": "10.99.0.5"}): pass'
    try:
        argv, there = [sys.executable, "-c", code], os.environ | {"TMPDIR": str(tmp_path)}
        done = subprocess.run(argv, env=there, capture_output=True, text=True)
        words = f"another run uses the test network on this machine (process {process.pid}, {sys.executable} -c "
        assert words in done.stderr and done.returncode == 1
        assert alive(child)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=10)


def test_it_works_where_an_event_loop_runs_as_in_jupyter():
    async def inside() -> bool:
        with network(TWO) as hosts:
            return reaches(hosts["one"], hosts["two"])

    assert asyncio.run(inside())


def test_the_measured_link_is_silent_until_something_is_sent():
    with two_namespaces() as on:
        before = on.counters()
        assert not until(lambda: on.counters() != before, patience_s=0.5)
        on.client.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", (on.target, 9)))
        assert until(lambda: on.counters()["received_interface"] > before["received_interface"])
        after = on.counters()
        assert [after[name] - before[name] for name in ("sent", "dropped_link", "dropped_interface")] == [1, 0, 0]


@pytest.mark.quiet  # threads of the kernel are in the machine's own PID namespace
def test_the_measured_link_holds_the_servers_napi_thread_to_the_servers_cpu():
    with two_namespaces() as on:
        threads = facts.napi_threads() - on.foreign
        assert [os.sched_getaffinity(pid) for pid in threads] == [{on.server_cpu}]
        assert on.client_cpu != on.server_cpu


@pytest.mark.root
def test_a_namespace_that_was_removed_is_named_and_not_made_again():
    with network(TWO) as hosts:
        subprocess.run(["ip", "netns", "delete", "ids-one"], check=True)
        with pytest.raises(UserError, match="there is no network namespace ids-one: was it removed meanwhile?"):
            hosts["one"].call(os.getpid)
        assert leftovers() == ["ids-two"]


def test_a_missing_program_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UserError, match="'nsenter' is not installed: run 'make system'"), network(TWO):
        pass
