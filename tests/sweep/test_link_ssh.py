"""A sweep runs over ssh between two machines, and puts all their settings back.

The machines are network namespaces here: the client runs an sshd, the server runs the sweep. Each has a second
interface, mgmt, for the ssh connection. The client's interface p0 leads to a bridge on the server.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from machine_state import alive, load_processes, until
from project_copy import Project

from ids_repro import config, locks, records
from ids_repro.kernel.info import prog_info
from ids_repro.kernel.program import Program
from ids_repro.kernel.variants import Variant
from ids_repro.network.hosts import Host
from ids_repro.network.namespaces import network

pytestmark = [pytest.mark.root, pytest.mark.quiet, pytest.mark.bpf]
MGMT = {"client": "10.78.0.1", "server": "10.78.0.2"}
URL = "ssh://root@10.78.0.1"
NETWORK = """
set -e
ip link add mgmt type veth peer mgmt netns ids-client
ip link add p1 type veth peer p0 netns ids-client
ip link add br0 type bridge
ip link set p1 master br0
ip link add nowhere type veth peer name nowhere-peer
ip tuntap add dev tun0 mode tun
for name in mgmt p1 br0 nowhere nowhere-peer; do ip link set $name up; done
ip addr add 10.78.0.2/24 dev mgmt
ip addr add 10.80.0.2/24 dev br0
ip addr add 10.81.0.2/24 dev nowhere
for name in mgmt p0; do ip -n ids-client link set $name up; done
ip -n ids-client addr add 10.78.0.1/24 dev mgmt
ip -n ids-client addr add 10.80.0.1/24 dev p0
"""
# The sshd runs in a mount namespace of its own. There it sees a list of users whose root accepts the test's key.
SSHD = """
mount --bind "$0/passwd" /etc/passwd && mount -t tmpfs tmpfs /var/log &&
exec dropbear -F -E -m -s -r "$0/host_key" -p 10.78.0.1:22
"""
CONFIG = "IdentityFile {0}/key\nStrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\n"
PRELUDE = """
import json, signal, subprocess, sys, time
from ids_repro.config import UserError
from ids_repro.kernel import program as kernel
from ids_repro.kernel.variants import Variant
from ids_repro.network import ssh as remote
from ids_repro.sweep.link_ssh import TwoMachines, two_machines
from ids_repro.sweep.sender import Sender
URL, CONFIG, FOLDER = sys.argv[1:4]
ENDS = {"client": URL, "client_iface": "eth0", "server_iface": "eth0", "ssh_config": CONFIG, "client_dir": FOLDER}
"""
LOAD = """
with (
    two_machines(TwoMachines(**ENDS, target="10.77.0.3")) as on,
    kernel.Program(Variant(action="sink")) as program,
    program.attached(on.server, "xdp_drv"),
):
    on.hold_server()
    with Sender(on).running(20, generator=GENERATOR, flows="one", interval_us=0, rate_pps=100_000):
        print("ready", flush=True)
        time.sleep(60)
"""
ONCE = """
with two_machines(TwoMachines(**ENDS, target="10.77.0.3")) as on:
    print(on.held)
"""
POLL = """
import contextlib
from ids_repro.models.model_file import load_model
from ids_repro.sweep.methods import METHODS
from ids_repro.sweep.receivers import Receivers
with (
    two_machines(TwoMachines(**ENDS, target="10.77.0.3")) as on,
    contextlib.ExitStack() as stack,
    Receivers(load_model("binary", 0), on, stack).running(METHODS["dpdk_nn_fused"]),
):
    print("ready", flush=True)
    time.sleep(60)
"""
# Prints every setting of a machine that a sweep may change.
SETTINGS = """
for name in eth0 p0 br0; do
    [ -d /sys/class/net/$name ] || continue
    ethtool -k $name; ip link show $name; tc qdisc show dev $name; cat /sys/class/net/$name/threaded
    cat /sys/class/net/$name/queues/rx-*/rps_cpus
    cat /sys/class/net/$name/napi_defer_hard_irqs /sys/class/net/$name/gro_flush_timeout
done
ip neigh show nud permanent
ip route
"""


def inside(name: str, script: str) -> str:
    """Run a shell script in a host's namespace, with the /sys that belongs to it, and return what it prints."""
    return subprocess.run(
        ["ip", "netns", "exec", f"ids-{name}", "sh", "-c", script], check=True, capture_output=True, text=True
    ).stdout


class Machines:
    """The two machines. The sweep runs from a copy of the project."""

    def __init__(self, project: Project, folder: Path) -> None:
        self.project, self.folder = project, folder

    def popen(self, *argv: str | Path, **kwargs) -> subprocess.Popen:
        """Start the copy's Python on the server. It sees another /run/ids_repro, so not the lock of the tests."""
        (self.folder / "run").mkdir(mode=0o700, exist_ok=True)
        apart = ["sh", "-c", 'mount --bind "$0" /run/ids_repro && exec "$@"', self.folder / "run"]
        enter = ["ip", "netns", "exec", "ids-server", *apart]
        return self.project.popen(*enter, sys.executable, *argv, **kwargs)

    def script(self, text: str, **kwargs) -> subprocess.Popen:
        """Start a script on the server."""
        return self.popen("-c", PRELUDE + text, URL, self.folder / "config", self.project.root, **kwargs)

    def output(self, text: str) -> str:
        """Run a script on the server and return what it prints."""
        with self.script(text) as process:
            out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        return out

    def sweep(self, *argv: str) -> tuple[int, str, list[dict]]:
        """Run the sweep command over ssh and return its exit code, its output and its records."""
        before = len(records.read(self.project.root / "data/results/sweep.jsonl"))
        there = ("--client", URL, "--ssh-config", self.folder / "config")
        with self.popen("-m", "ids_repro", "sweep", *there, *argv) as process:
            out, err = process.communicate(timeout=90)
        return process.returncode, out + err, records.read(self.project.root / "data/results/sweep.jsonl")[before:]

    def settings(self) -> list[str]:
        """Return all settings of both machines that a sweep may change, line by line."""
        return [f"{name}: {line}" for name in MGMT for line in inside(name, SETTINGS).splitlines()]


@contextmanager
def sshd(folder: Path) -> Iterator[None]:
    """Run an sshd on the client that accepts the key in `folder` for root."""
    home = folder / "home"
    (home / ".ssh").mkdir(mode=0o700, parents=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
    subprocess.run(["dropbearkey", "-t", "ed25519", "-f", folder / "host_key"], check=True, capture_output=True)
    (home / ".ssh/authorized_keys").write_text((folder / "key.pub").read_text())
    (folder / "passwd").write_text(f"root:x:0:0:root:{home}:/bin/sh\n")
    (folder / "config").write_text(CONFIG.format(folder))
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", "ids-client"]
        + ["unshare", "--mount", "sh", "-c", SSHD, folder],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert until(lambda: ":22 " in inside("client", "ss -ltn")), process.stderr.read()
        yield
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def here(project, models) -> list[dict]:
    """Records of a sweep between namespaces, made before the two machines: only one network may exist at a time."""
    project.add_profile("ssh", trial_s=0.3)
    with (project.root / "ids_repro/config.py").open("a") as file:
        file.write('PROFILES["slow"] = replace(PROFILES["ssh"], name="slow", intervals_us=(10,))\n')
    project.save(models)
    (project.root / ".venv").symlink_to(config.ROOT / ".venv")
    done = project.cli("sweep", "--profile", "ssh", "--methods", "xdp_drv_nn_fused,rawsock1_nn_fused")
    assert done.returncode == 0, done.stderr
    return records.read(project.root / "data/results/sweep.jsonl")


@pytest.fixture(scope="module")
def machines(here, project, tmp_path_factory) -> Iterator[Machines]:
    """The two machines, with an sshd on the client."""
    folder = tmp_path_factory.mktemp("two")
    folder.chmod(0o755)
    with network({"client": "10.77.0.1", "server": "10.77.0.2"}):
        inside("server", NETWORK)
        with sshd(folder):
            yield Machines(project, folder)


@pytest.fixture(autouse=True)
def put_back(machines):
    """Check that after each test both machines are as they were."""
    before = machines.settings()
    yield
    assert machines.settings() == before
    assert load_processes() == []
    assert [one for run in (locks.RUN, machines.folder / "run") for one in run.glob("*.jsonl")] == []


def kinds(value: object) -> object:
    """Return the names and types in a record, without its values."""
    if isinstance(value, dict):
        return {name: kinds(item) for name, item in value.items()}
    return [kinds(item) for item in value] if isinstance(value, list) else type(value)


def test_a_record_over_ssh_differs_from_one_over_namespaces_in_its_provenance_only(machines, here):
    ends = ("--client-iface", "eth0", "--server-iface", "eth0", "--target", "10.77.0.3")
    code, said, made = machines.sweep(*ends, "--profile", "ssh", "--methods", "xdp_drv_nn_fused,rawsock1_nn_fused")
    assert (code, len(made)) == (0, 4), said
    for ssh, netns in zip(made, [record for record in here if record["status"] == "ok"], strict=True):
        raw, other = ssh["raw"], netns["raw"]
        assert all(ssh[name] == netns[name] for name in ("kind", "asked", "status", "reason"))
        assert kinds(raw) == kinds(other)
        assert all(raw[name] == other[name] for name in ("server_cpu", "workers"))
        assert all(re.fullmatch(r"NAPI thread \d+ on CPU \d+", held) for held in (raw["held"], other["held"]))
        assert raw["sent_packets"] == raw["received_packets"] + sum(raw["dropped_packets"].values())
        assert 1 / 3 < raw["sent_packets"] / raw["duration_s"] * other["duration_s"] / other["sent_packets"] < 3
        assert (ssh["provenance"]["mode"], netns["provenance"]["mode"]) == ("ssh", "netns")
        assert set(ssh["provenance"]) - set(netns["provenance"]) == {"link"}


def test_without_native_xdp_its_trials_fail_and_the_rest_goes_on(machines):
    # Flooded, a bridge's backlog would lose packets that no interface counts.
    ends = ("--client-iface", "p0", "--server-iface", "br0", "--profile", "slow")
    code, said, made = machines.sweep(*ends, "--methods", "xdp_drv_flow,tc_nn_fused")
    failed, ok = ([r for r in made if r["asked"]["method"] == method] for method in ("xdp_drv_flow", "tc_nn_fused"))
    assert {record["status"] for record in ok} == {"ok"}, said
    assert {record["raw"]["held"] for record in ok} == {f"RPS on CPU {max(os.sched_getaffinity(0))}"}
    assert {record["status"] for record in failed} == {"failed"}
    assert all(
        "br0 does not take a xdp-drv program: its driver has no native XDP" in record["reason"] for record in failed
    )
    assert "no native XDP" in said
    assert "10.80.0.2, its own address, with resets" in said
    assert code == 1


REFUSED = {
    "is no ssh://user@host": {"client": "http://10.78.0.1"},
    "ssh://root@10.78.0.1:23: ssh: connect to host 10.78.0.1 port 23: Connection refused": {"client": f"{URL}:23"},
    "there is no checkout of this project in /nonexistent": {"client_dir": "/nonexistent"},
    "bring both to one commit": {"client_dir": "OTHER"},
    "client: there is no interface 'eth9'": {"client_iface": "eth9"},
    "server: there is no interface 'eth9'": {"server_iface": "eth9"},
    "tun0 of the server carries no Ethernet frames": {"server_iface": "tun0"},
    "the ssh connection itself goes through mgmt of the server": {"client_iface": "mgmt", "server_iface": "mgmt"},
    "the ssh connection itself goes through mgmt of the client": {"client_iface": "mgmt"},
    "nowhere of the server is set down: run 'ip link set nowhere up'": {"server_iface": "nowhere", "down": "nowhere"},
    "the client does not send to 10.99.0.1 through eth0": {"target": "10.99.0.1"},
    "does not arrive at nowhere of the server": {"server_iface": "nowhere", "target": "10.77.0.9"},
    "needs two CPUs, one for what is measured and one for the sweep": {"cpus": [0]},
}
TRY_EACH = """
import os
for changes in json.loads(sys.stdin.read()):
    cpus, down = changes.pop("cpus", os.sched_getaffinity(0)), changes.pop("down", "lo")
    everything = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    subprocess.run(["ip", "link", "set", down, "down"], check=True)
    try:
        with two_machines(TwoMachines(**{**ENDS, **changes})) as on:
            print("it was not refused")
    except UserError as error:
        print(error)
    subprocess.run(["ip", "link", "set", down, "up"], check=True)
    os.sched_setaffinity(0, everything)
"""


def test_what_the_set_up_lacks_is_named_with_its_machine(machines, tmp_path):
    other = Project(tmp_path / "other")
    (other.root / ".venv").symlink_to(config.ROOT / ".venv")
    (other.root / "ids_repro/config.py").write_text(
        "# another commit\n" + (config.ROOT / "ids_repro/config.py").read_text()
    )
    cases = [{k: str(other.root) if v == "OTHER" else v for k, v in changes.items()} for changes in REFUSED.values()]
    process = machines.script(TRY_EACH, stdin=subprocess.PIPE)
    out, err = process.communicate(json.dumps(cases), timeout=120)
    assert err == ""
    for expected, said in zip(REFUSED, out.splitlines(), strict=True):
        assert expected in said


PIPES = """
with remote.connected(URL, FOLDER, CONFIG) as (session, about):
    host = remote.SshHost("client", "", "eth0", session)
    done = host.run(["sh", "-c", "cat; echo no >&2; exit 7"], input="through", capture_output=True, text=True)
    waits = host.popen(
        ["sh", "-c", "trap 'echo asked; exit 5' TERM; echo on; while :; do sleep 0.01; done"],
        cpu=1, stdout=subprocess.PIPE, text=True,
    )
    waits.stdout.readline()
    waits.terminate()
    asked = waits.communicate(timeout=5)[0]
    forks = host.popen(["sh", "-c", "setsid sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
    pid = int(forks.stdout.readline())
    forks.kill()
    forks.communicate(timeout=5)
    status = host.run(["cat", "/proc/self/status"], cpu=1, capture_output=True, text=True).stdout
    print(json.dumps([done.stdout, done.stderr, done.returncode, asked, waits.returncode, pid, status]))
"""


def test_pipes_exit_codes_and_signals_pass_through(machines):
    out, err, code, asked, asked_code, grandchild, status = json.loads(machines.output(PIPES))
    assert (out, err, code) == ("through", "no\n", 7)
    assert (asked, asked_code) == ("asked\n", 5)
    assert not alive(grandchild)
    assert "Cpus_allowed_list:\t1\n" in status


def started(machines, generator: str) -> subprocess.Popen:
    """Start a process on the server that holds the link, with an XDP program attached and load from the client."""
    process = machines.script(f"GENERATOR = {generator!r}" + LOAD)
    assert process.stdout.readline() == "ready\n", process.communicate()
    assert ("hping3" in load_processes()) == (generator == "hping3")
    return process


def test_a_second_run_is_refused_and_ctrl_c_puts_everything_back_on_both_machines(machines):
    before = machines.settings()
    process = started(machines, "live_frames")
    during = machines.settings()
    for line in (
        "client: tcp-segmentation-offload: off",
        "server: generic-receive-offload: on",
        "client: 10.77.0.3 dev eth0 lladdr",
        "server: 10.77.0.1 dev eth0 lladdr",
        "server: 198.18.0.0/15 via 10.77.0.1 dev eth0",
        "client: blackhole 198.18.0.0/15",
    ):
        assert any(now.startswith(line) for now in during)
        assert not any(then.startswith(line) and "eth0" in then for then in before)
    with machines.script(ONCE) as second:
        assert "another run uses the test network" in second.communicate()[1]
    assert "load_agent" in load_processes()
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends Ctrl-C to every process of the foreground job
    process.communicate(timeout=10)
    assert machines.settings() == before


def test_kill_9_ends_the_load_on_the_client_and_the_next_run_puts_everything_back(machines):
    before = machines.settings()
    process = started(machines, "hping3")
    process.kill()
    process.communicate()
    assert until(lambda: load_processes() == [], patience_s=2)
    assert "xdp" in inside("server", "ip link show eth0")
    assert machines.output(ONCE).endswith(f" on CPU {max(os.sched_getaffinity(0))}\n")
    assert machines.settings() == before


@pytest.fixture
def dpdk(project):
    """Give the copy of the project DPDK's headers."""
    (project.root / "build").mkdir(exist_ok=True)
    (project.root / "build/dpdk").symlink_to(config.BUILD / "dpdk")
    yield
    (project.root / "build/dpdk").unlink()


def test_what_polls_is_measured_over_ssh_too(machines, dpdk):
    ends = ("--client-iface", "eth0", "--server-iface", "eth0", "--target", "10.77.0.3")
    code, said, made = machines.sweep(*ends, "--profile", "slow", "--methods", "afxdp_busy_nn_fused,dpdk_nn_fused")
    assert (code, len(made)) == (0, 2), said
    assert all(record["raw"]["received_packets"] > 1000 for record in made)


def test_after_kill_9_of_a_run_with_dpdk_the_next_one_takes_off_its_program_and_puts_everything_back(machines, dpdk):
    before = machines.settings()
    process = machines.script(POLL)
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    assert "xsk_def_prog" in inside("server", "ip link show eth0")
    process.kill()
    process.communicate()
    assert until(lambda: load_processes() == [], patience_s=2)
    assert "xsk_def_prog" in inside("server", "ip link show eth0"), "it outlives its process"
    machines.output(ONCE)
    assert machines.settings() == before


def test_after_kill_9_an_xdp_program_of_somebody_else_stays_and_is_told(machines):
    process = started(machines, "live_frames")
    process.kill()
    process.communicate()
    inside("server", "ip link set dev eth0 xdp off")
    with Program(Variant()) as other, other.attached(Host("server", ""), "xdp_drv"):
        with machines.script(ONCE) as second:
            said = second.communicate()[1]
        assert "eth0 has an XDP program that the run did not attach, so it stays" in said
        assert "eth0 has an XDP program already: 'ip link set dev eth0 xdp off'" in said
        assert f"prog/xdp id {prog_info(other.fd)['id']} " in inside("server", "ip link show eth0")
    # A veth turns its segmentation offload on only while its peer has no XDP program. So the killed run's client may
    # have left it off, and the second run was refused before it came to that. The next one puts it back.
    machines.output(ONCE)


def test_a_client_that_goes_away_is_named(machines):
    script = (
        ONCE
        + """
    session = on.client.session
    session._master.kill()
    try:
        on.check()
    except UserError as error:
        print(error)
"""
    )
    assert "client: ssh://root@10.78.0.1: the connection was lost" in machines.output(script)
