"""A program on an interface outlives the process that attached it; others look, swap and detach; nothing is left.

This covers ids_repro.live.program too: every command opens the program by its pins.

The commands of ids_repro.cli.live run here as users run them.
"""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from machine_state import attachments, heed_signals, until
from made_models import BLOCKED
from pyroute2 import IPRoute

from ids_repro import config
from ids_repro.cli import main
from ids_repro.data import packets
from ids_repro.kernel import attach
from ids_repro.kernel.info import prog_info
from ids_repro.kernel.program import Program
from ids_repro.kernel.variants import Variant
from ids_repro.live import attached, pins, suspicious
from ids_repro.models.model_file import read_model
from ids_repro.network import facts
from ids_repro.network.hosts import Host

pytestmark = [pytest.mark.root, pytest.mark.bpf]
OPEN = 7777  # a port that the tree calls normal
COMMAND = (sys.executable, "-m", "ids_repro")


def apart(host: Host, *argv: object) -> subprocess.CompletedProcess:
    """Run a command on a host, in another process."""
    return host.run([*COMMAND, *map(str, argv)], cwd=config.ROOT, capture_output=True, text=True, timeout=60)


def statuses(ids, until_sum: int | None = None) -> dict:
    """Return the status of the one attached program, after it has counted so many verdicts."""
    found: list[dict] = []

    def look() -> bool:
        found[:] = json.loads(ids("status", "--json")[1])
        return until_sum is None or sum(found[0]["verdicts"].values()) >= until_sum

    assert until(look), found
    return found[0]


def test_attached_by_one_process_it_is_seen_swapped_and_detached_by_others(server, files, send):
    def status() -> dict:
        (found,) = json.loads(apart(server, "status", "--json").stdout)
        return found

    done = apart(server, "attach", "eth0", "--model", files["binary"], "--classifier", "dt", "--flows", 1024)
    assert (done.returncode, done.stderr) == (0, "")
    send(OPEN)
    send(BLOCKED)
    found = status()
    assert (found["mode"], found["action"], found["flows"], found["flows_max"]) == ("xdp_drv", "count", 2, 1024)
    assert (found["packets"], found["reasons"]["ok"]) == (sum(found["reasons"].values()), 20)
    assert found["verdicts"] == {"Normal": 10, "Attack": 10}
    assert [model["sha256"] for model in found["models"]] == [read_model(files["binary"]).sha256()]
    assert apart(server, "swap", "eth0", "--model", files["harmless"]).returncode == 0
    send(BLOCKED)
    found = status()
    assert found["generation"] == 1
    assert found["verdicts"] == {"Normal": 20, "Attack": 10}
    assert [model["verdicts"] for model in found["models"]] == [
        {"Normal": 10, "Attack": 10},
        {"Normal": 10, "Attack": 0},
    ]
    assert apart(server, "detach", "eth0").stdout == "eth0: detached\n"
    assert json.loads(apart(server, "status", "--json").stdout) == []


@pytest.mark.parametrize("hook", ["xdp-skb", "tc"])
def test_on_every_hook_a_filter_drops_what_its_present_model_calls_an_attack(ids, server, files, send, hook):
    with server.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as receiver:
        receiver.bind((server.address, BLOCKED))
        receiver.settimeout(5)
        options = ("--classifier", "dt", "--hook", hook, "--action", "filter", "--yes-drop")
        assert ids("attach", "eth0", "--model", files["binary"], *options)[0] == 0
        try:
            send(BLOCKED)
            assert statuses(ids, 10)["verdicts"] == {"Normal": 0, "Attack": 10}
            assert ids("swap", "eth0", "--model", files["harmless"], "--yes-drop")[0] == 0
            send(BLOCKED, 3)
            assert [receiver.recv(100) for _ in range(3)] == [b"payload"] * 3
            receiver.setblocking(False)
            with pytest.raises(BlockingIOError):
                receiver.recv(100)
            assert statuses(ids)["verdicts"] == {"Normal": 3, "Attack": 10}
        finally:
            ids("detach", "eth0")


def test_a_net_of_seven_classes_in_the_papers_arithmetic(ids, files, send):
    assert ids("attach", "eth0", "--model", files["multi"], "--arithmetic", "q16")[0] == 0
    send(OPEN)
    found = statuses(ids, 10)
    assert tuple(found["verdicts"]) == config.CLASSES
    assert f"{'Web attack':>14}" in ids("status", "eth0")[1]
    code, said = ids("swap", "eth0", "--model", files["binary"])
    assert code == 2
    assert "tells 2 classes apart, the program on eth0 7: detach it, then attach with this model" in said
    assert statuses(ids)["models"] == found["models"]
    ids("detach", "eth0")


@pytest.mark.parametrize("arithmetic", ["fused", "q16"])
def test_a_net_of_another_shape_is_attached_and_only_one_of_its_shape_takes_its_place(ids, files, send, arithmetic):
    assert ids("attach", "eth0", "--model", files["own"], "--arithmetic", arithmetic)[0] == 0
    send(OPEN)
    found = statuses(ids, 10)
    assert sum(found["verdicts"].values()) == 10
    code, said = ids("swap", "eth0", "--model", files["binary"])
    shapes = "its net has hidden layers of 16-16 neurons, that of the program on eth0 24-8: detach it, then attach this"
    assert code == 2 and shapes in said
    assert statuses(ids)["models"] == found["models"]
    assert ids("swap", "eth0", "--model", files["own"])[0] == 0
    ids("detach", "eth0")


@pytest.fixture
def blocking(ids, files):
    """A tree on the server's interface that blocks a port."""
    assert ids("attach", "eth0", "--model", files["binary"], "--classifier", "dt")[0] == 0
    yield
    ids("detach", "eth0")


@pytest.mark.usefixtures("blocking")
def test_a_tree_takes_the_place_of_another_whatever_the_shape_of_their_nets(ids, files):
    assert ids("swap", "eth0", "--model", files["own"])[0] == 0


@pytest.mark.usefixtures("blocking")
def test_a_second_attach_says_what_is_there_and_changes_nothing(ids, server, files):
    before = statuses(ids), attachments(server)
    code, said = ids("attach", "eth0", "--model", files["multi"], "--hook", "tc")
    assert code == 2
    assert "eth0 has a program of ids_repro (dt, xdp-drv) already: swap its model, or detach it first" in said
    assert (statuses(ids), attachments(server)) == before


@pytest.mark.usefixtures("blocking")
def test_a_program_of_another_version_is_only_detached(ids, server, files):
    (folder,) = pins.all_folders()
    pins.rewrite(folder, pins.about(folder) | {"version": "older"})
    before = pins.about(folder), attachments(server)
    for argv in (("status", "eth0"), ("swap", "eth0", "--model", files["binary"])):
        code, said = ids(*argv)
        assert code == 2
        assert "of another version of ids_repro: detach it and attach it again" in said
    code, said = ids("attach", "eth0", "--model", files["binary"])
    assert code == 2 and "eth0 has a program of another version of ids_repro already: detach it first" in said
    assert (pins.about(folder), attachments(server)) == before


def test_attach_says_how_much_memory_its_flow_table_takes_before_it_takes_it(ids, files):
    code, said = ids("attach", "eth0", "--model", files["binary"], "--flows", "1048576")
    assert code == 0
    assert said.splitlines()[0] == "eth0: a flow table for 1,048,576 flows, which takes 83.9 MB of memory"
    assert "decides now" in said.splitlines()[1]
    ids("detach", "eth0")


@pytest.mark.usefixtures("blocking")
def test_status_under_traffic_tells_the_kernels_time_per_packet_and_ctrl_c_ends_it_well(server, send):
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            send(OPEN, 100)

    argv = server.command([*COMMAND, "status", "eth0", "--watch", "--json"])
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(argv, cwd=config.ROOT, preexec_fn=heed_signals, **pipes) as watching:
        sending = threading.Thread(target=load)
        sending.start()
        try:
            looks = [json.loads(watching.stdout.readline())[0] for _ in range(2)]
        finally:
            stop.set()
            sending.join()
            watching.send_signal(signal.SIGINT)
        assert (watching.wait(10), watching.stderr.read()) == (0, "")
    assert looks[0]["packets"] < looks[1]["packets"]
    assert all(look["models"][0]["verdicts"] == look["verdicts"] for look in looks)  # it adds up under traffic too
    assert all(20 < look["ns_per_packet"] < 100_000 and look["packets_per_s"] > 100 for look in looks)


@pytest.mark.usefixtures("blocking")
@pytest.mark.parametrize("json", ["", "--json"])
def test_a_watch_ends_well_when_its_reader_has_enough(server, json):
    command = f"set -o pipefail; {' '.join(COMMAND)} status eth0 --watch {json} | head -n 1"
    done = server.run(["bash", "-c", command], cwd=config.ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.count("\n") == 1


def test_suspects_are_told_as_lines_and_written_as_a_pcap(ids, server, files, send, tmp_path):
    options = ("--classifier", "dt", "--action", "redirect", "--yes-drop")
    assert ids("attach", "eth0", "--model", files["binary"], *options)[0] == 0
    try:
        send(OPEN)
        send(BLOCKED, 5)
        _, said = ids("samples", "eth0", "--count", 2)
        end = f"> {server.address}:{BLOCKED}  {14 + 20 + 8 + 7} bytes"
        told = said.splitlines()
        assert len(told) == 2
        assert all(line.endswith(end) and "  Attack (gen. 0)  udp 10.98.0.1:" in line for line in told)
        begin_ns = time.time_ns()
        assert ids("samples", "eth0", "--count", 3, "--out", tmp_path / "out.pcap")[0] == 0
        capture = packets.read(tmp_path / "out.pcap")
        assert capture.rows["dport"].tolist() == [BLOCKED] * 3
        assert (np.abs(capture.rows["ts_ns"].astype(np.int64) - begin_ns) < 60e9).all()
        with server.call(attached.find, "eth0") as one:
            ids("detach", "eth0")
            assert list(suspicious.take(one)) == []  # and so ends by itself
    finally:
        if attachments(server):
            ids("detach", "eth0")


@pytest.mark.parametrize(("hook", "other"), [("ingress", "egress"), ("egress", "ingress")])
def test_status_tells_at_which_side_of_tc_somebody_took_the_program_off(ids, server, files, hook, other):
    assert ids("attach", "eth0", "--model", files["binary"], "--hook", "tc-both")[0] == 0
    try:
        assert statuses(ids)["missing"] == []
        assert "took it off" not in ids("status")[1]
        server.run(["tc", "filter", "del", "dev", "eth0", hook], check=True)
        assert statuses(ids)["missing"] == [hook]
        assert f"\nsomebody took it off at {hook}: detach it and attach it again\n" in ids("status")[1]
        server.run(["tc", "filter", "del", "dev", "eth0", other], check=True)
        assert "no interface has a program" in ids("status")[1]
        assert [one["kind"] for one in attachments(server)] == ["clsact"], "whose it is now, nobody knows"
    finally:
        ids("detach", "eth0")
        server.run(["tc", "qdisc", "del", "dev", "eth0", "clsact"], capture_output=True)


@pytest.mark.usefixtures("blocking")
def test_suspects_of_a_program_that_keeps_none(ids):
    code, said = ids("samples", "eth0")
    assert (code, "attach a detector, or --action redirect" in said) == (2, True)


@pytest.mark.parametrize("mode", ["xdp_drv", "xdp_skb"])
def test_somebody_elses_xdp_program_stays(ids, server, files, mode):
    with Program(Variant("xdp")) as theirs, theirs.attached(server, mode):
        before = attachments(server)
        code, said = ids("attach", "eth0", "--model", files["binary"], "--classifier", "dt")
        assert (code, f"{mode.replace('_', '-')} program" in said, "is attached already" in said) == (2, True, True)
        assert attachments(server) == before
        assert "eth0 has no program of ids_repro" in ids("detach", "eth0")[1]
        assert attachments(server) == before


def test_at_tc_there_is_room_beside_somebody_elses_program(ids, server, files, send):
    with Program(Variant("tc")) as theirs, theirs.attached(server, "tc"):
        before = server.call(attach.programs, "eth0")
        assert ids("attach", "eth0", "--model", files["binary"], "--classifier", "dt", "--hook", "tc")[0] == 0
        send(OPEN)
        assert statuses(ids, 10)["packets"] == theirs.counts()["packets"]
        assert len(server.call(attach.programs, "eth0")) == 2
        assert ids("detach", "eth0")[0] == 0
        assert server.call(attach.programs, "eth0") == before


def test_a_filter_that_others_added_later_stays_when_ours_goes(ids, server, files):
    def add(fd: int) -> None:
        with IPRoute() as ip:
            index = facts.index_of(ip, "eth0")
            ip.tc("add-filter", "bpf", index, parent=attach.PARENTS["ingress"], fd=fd, name="theirs", classid=1, prio=7)

    ids("attach", "eth0", "--model", files["binary"], "--classifier", "dt", "--hook", "tc")
    try:
        with Program(Variant("tc")) as theirs:
            number = int(prog_info(theirs.fd)["id"])
            server.call(add, theirs.fd)
            assert len(server.call(attach.programs, "eth0")) == 2
            assert ids("detach", "eth0")[0] == 0
            assert server.call(attach.programs, "eth0") == {("tc", number)}
    finally:
        server.run(["tc", "qdisc", "del", "dev", "eth0", "clsact"])


BAD = {
    "no such interface": (("eth7",), "there is no interface 'eth7' here: use one of lo, eth0"),
    "no native XDP": (
        ("lo",),
        "lo does not take a xdp-drv program: its driver has no native XDP; --hook xdp-skb works",
    ),
    "no flow table": (("lo", "--flows", 0), "--flows is 0: use a power of two from 1,024 to 4,194,304"),
    "no power of two": (("lo", "--flows", 1000), "--flows is 1000: use a power of two"),
    "too many flows": (("lo", "--flows", 1 << 23), "--flows is 8388608: use a power of two"),
}


@pytest.mark.parametrize("what", BAD)
def test_an_attach_that_fails_leaves_nothing(ids, files, what):
    argv, message = BAD[what]
    code, said = ids("attach", *argv, "--model", files["binary"])
    assert (code, message in said) == (2, True)
    assert not pins.FOLDER.exists()


def test_an_attach_that_cannot_say_what_it_did_leaves_nothing(server, files):
    argv = [*COMMAND, "attach", "eth0", "--model", str(files["binary"])]
    with Path("/dev/full").open("w") as full:
        done = server.run(argv, cwd=config.ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 2 and "standard output" in done.stderr
    assert json.loads(apart(server, "status", "--json").stdout) == []


def test_a_model_file_that_is_not_there(ids, tmp_path):
    assert "there is no such file" in ids("attach", "eth0", "--model", tmp_path / "none.npz")[1]


def test_attach_and_swap_need_neither_pytorch_nor_scikit_learn(server, files):
    code = f"""
import sys
from ids_repro.cli import main
model = {str(files["binary"])!r}
print(main(["attach", "eth0", "--model", model]), main(["swap", "eth0", "--model", model]), main(["detach", "eth0"]))
print(main(["models", "show", model]), {{"torch", "sklearn", "joblib"}} & set(sys.modules))
"""
    done = server.run([sys.executable, "-c", code], cwd=config.ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert (lines[-1], "0 0 0" in lines) == ("0 set()", True)


@pytest.mark.parametrize("command", ["attach", "swap"])
def test_a_file_that_could_run_code_is_refused_and_changes_nothing(ids, files, tmp_path, command):
    old = tmp_path / "binary-0.joblib"
    old.write_bytes(np.array([{"model": None}], object).dumps())  # a pickle, as models were once kept
    code, said = ids(command, "eth0", "--model", old)
    assert code == 2 and said.count("\n") == 1
    assert f"{old}: cannot be read as a model" in said and "run notebooks 02 and 03 again" in said
    assert not pins.FOLDER.exists()


KILLS = {
    "before it attaches XDP": ("xdp_drv", "hooks.attach = kill"),
    "between TC's qdisc and its filter": (
        "tc",
        "hooks._attach_tc = lambda ip, i, *_: kill(ip.tc('add', 'clsact', i))",
    ),
}


@pytest.mark.parametrize(("when", "then"), list(zip(KILLS, ("attach", "detach"), strict=True)))
def test_what_an_attach_leaves_that_was_killed_is_removed_by_the_next_command(ids, server, files, when, then):
    mode, patch = KILLS[when]
    code = f"""
import os, pathlib, signal
from ids_repro.live import attached as live
from ids_repro.kernel import attach as hooks
from ids_repro.kernel import variants
kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
{patch}
live.attach("eth0", pathlib.Path({str(files["binary"])!r}), {mode!r}, variants.Variant(classifier="dt"))
"""
    done = server.run([sys.executable, "-c", code], cwd=config.ROOT)
    assert done.returncode == -signal.SIGKILL
    assert len(pins.all_folders()) == 1
    assert attachments(server) == [] if mode == "xdp_drv" else len(attachments(server)) == 1
    if then == "attach":
        hook = mode.replace("_", "-")
        assert ids("attach", "eth0", "--model", files["binary"], "--classifier", "dt", "--hook", hook)[0] == 0
        assert ids("detach", "eth0") == (0, "eth0: detached\n")
    else:
        assert "its program was gone already" in ids("detach", "eth0")[1]


@pytest.mark.parametrize("then", ["status", "detach"])
def test_pins_of_an_interface_that_vanished_are_removed(ids, server, files, then):
    server.run(["ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"], check=True)
    ids("attach", "v0", "--model", files["binary"], "--classifier", "dt")
    server.run(["ip", "link", "del", "v0"], check=True)
    assert len(pins.all_folders()) == 1
    assert ids(then, *["v0"] * (then == "detach"))[0] == 0
    assert not pins.FOLDER.exists()


def test_a_program_that_was_taken_off_by_hand_is_forgotten(ids, server, files):
    ids("attach", "eth0", "--model", files["binary"], "--classifier", "dt")
    server.run(["ip", "link", "set", "eth0", "xdp", "off"], check=True)
    assert "no program of ids_repro" in ids("status", "eth0")[1]


def test_an_interface_that_was_renamed_keeps_its_program(ids, server, files):
    server.run(["ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"], check=True)
    ids("attach", "v0", "--model", files["binary"], "--classifier", "dt")
    server.run(["ip", "link", "set", "v0", "name", "w0"], check=True)
    assert statuses(ids)["iface"] == "w0"
    assert ids("detach", "w0") == (0, "w0: detached\n")
    server.run(["ip", "link", "del", "w0"], check=True)


def test_interfaces_of_one_name_in_two_namespaces_are_apart_and_a_namespace_that_vanished_leaves_nothing(
    ids, hosts, files
):
    other = Host("other", "10.97.0.1")
    subprocess.run(["ip", "netns", "add", other.ns], check=True)
    try:
        for host in (other, hosts["server"]):
            argv = ["attach", "lo", "--model", str(files["binary"]), "--classifier", "dt", "--hook", "xdp-skb"]
            assert host.call(main, argv) == 0
        ids("status")
        assert len(pins.all_folders()) == 2
        assert ids("detach", "lo")[0] == 0
        assert other.call(attached.attached) == ["lo"]
    finally:
        subprocess.run(["ip", "netns", "del", other.ns], check=True)
    assert until(lambda: ids("status")[0] == 0 and not pins.FOLDER.exists())


def test_ip_netns_exec_which_hides_pins_is_refused_with_the_way_that_works(server):
    argv = ["ip", "netns", "exec", server.ns, *COMMAND, "status"]
    done = subprocess.run(argv, cwd=config.ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"enter the network namespace with 'nsenter --net=/run/netns/{server.ns}' instead" in done.stderr


def test_programs_of_an_interface_are_told_by_hook_and_id(server):
    with (
        Program(Variant("xdp")) as xdp,
        Program(Variant("tc")) as tc,
        xdp.attached(server, "xdp_skb"),
        tc.attached(server, "tc"),
    ):
        ids = {mode: prog_info(one.fd)["id"] for mode, one in (("xdp_skb", xdp), ("tc", tc))}
        assert server.call(attach.programs, "eth0") == set(ids.items())
    assert server.call(attach.programs, "eth0") == set()


def send_from(hosts, ports) -> None:
    """Send a datagram from one socket of the client, so in one flow per port, to each port of the server."""
    with hosts["client"].call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
        for port in ports:
            with contextlib.suppress(ConnectionRefusedError):
                sender.sendto(b"payload", (hosts["server"].address, port))


@pytest.mark.parametrize("hook", ["xdp-drv", "tc"])
def test_a_detector_filters_flagged_flows_only_and_tells_why(ids, server, files, hosts, hook):
    assert ids("attach", "eth0", "--model", files["detector"], "--action", "filter", "--hook", hook)[0] == 0
    try:
        send_from(hosts, [OPEN] * 5 + [BLOCKED] * 4)
        send_from(hosts, [BLOCKED])
        found = statuses(ids, 10)
        assert found["classifier"] == "dt" and found["verdicts"] == {"Normal": 5, "Attack": 5}
        assert sum(found["flagged"].values()) == found["flagged"]["Brute force"] == 2  # class 1 of Table III
        assert set(found["flagged"]) == set(config.CLASSES) - {"Normal"} == set(found["flagged_per_min"])
        _, said = ids("samples", "eth0", "--count", 2)
        assert said.count("\n") == said.count("  Brute force (score 100, gen. 0)  udp 10.98.0.1:") == 2
        assert "flagged Brute force" in ids("status", "eth0")[1]
    finally:
        ids("detach", "eth0")


def test_a_flow_stays_flagged_when_the_model_is_swapped_and_counts_belong_to_generations(ids, server, files, send):
    assert ids("attach", "eth0", "--model", files["detector"])[0] == 0
    try:
        send(BLOCKED, 3)
        statuses(ids, 3)
        assert ids("swap", "eth0", "--model", files["sleeping"])[0] == 0
        send(BLOCKED, 2)  # the same flow, which the new model would not flag
        found = statuses(ids, 5)
        assert [model["verdicts"] for model in found["models"]] == [{"Normal": 0, "Attack": n} for n in (3, 2)]
        assert sum(found["flagged"].values()) == 1
        for name, words in (
            ("binary", "is no detector, but the program on eth0 is built for one"),
            ("false alarms", ""),
        ):
            code, said = ids("swap", "eth0", "--model", files[name])
            assert (code == 2) == bool(words) and words in said
    finally:
        ids("detach", "eth0")


@pytest.mark.parametrize("action", ["filter", "redirect"])
def test_a_model_that_would_cut_off_normal_traffic_is_refused(ids, server, files, action):
    for name, words in (
        ("binary", "this model is no detector. It has no threshold"),
        ("false alarms", "7.4% of normal flows were"),
    ):
        code, said = ids("attach", "eth0", "--model", files[name], "--action", action)
        assert code == 2 and words in said and "--yes-drop" in said
    assert ids("attach", "eth0", "--model", files["false alarms"], "--action", action, "--yes-drop")[0] == 0
    ids("detach", "eth0")
    assert ids("attach", "eth0", "--model", files["detector"], "--action", action)[0] == 0
    code, said = ids("swap", "eth0", "--model", files["false alarms"])
    assert code == 2 and "7.4% of normal flows" in said
    ids("detach", "eth0")


def attach_and_wait(server, files, seconds: float, **kwargs) -> subprocess.Popen:
    """Start an attach that waits so long for Enter; return when the program is attached."""
    argv = [*COMMAND, "attach", "eth0", "--model", files["detector"], "--action", "filter", "--confirm", seconds]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = server.popen(argv, cwd=config.ROOT, text=True, preexec_fn=heed_signals, **pipes, **kwargs)
    assert "a flow table for" in process.stdout.readline() and "decides now" in process.stdout.readline()
    return process


@pytest.mark.parametrize("answer", ["\n", ""])
def test_a_filter_stays_only_if_somebody_confirms_it(ids, server, files, answer):
    process = attach_and_wait(server, files, 30 if answer else 1)
    assert len(attachments(server)) == 1
    out, _ = process.communicate(answer, timeout=60)
    assert ("confirmed, it stays" if answer else "nobody confirmed it, so it is detached") in out
    assert (process.returncode, len(attachments(server))) == ((0, 1) if answer else (1, 0))
    if answer:
        assert ids("detach", "eth0")[0] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_while_nobody_has_confirmed_detaches(server, files, number):
    process = attach_and_wait(server, files, 60)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == 130 and attachments(server) == []


def test_what_a_killed_process_left_unconfirmed_is_taken_off_by_the_next_command(ids, server, files):
    process = attach_and_wait(server, files, 1)
    process.kill()
    process.communicate()
    assert len(attachments(server)) == 1
    assert until(lambda: json.loads(ids("status", "--json")[1]) == [])
    assert attachments(server) == []


def test_a_program_taken_off_while_status_looks_for_it_is_no_error(ids, monkeypatch):
    monkeypatch.setattr(attached, "attached", lambda: ["eth0"])  # what it returned before somebody detached
    assert ids("status", "--json") == (0, "[]\n")
    assert ids("status", "eth0")[0] == 2


@pytest.mark.parametrize("seconds", ["-1", "nan", "1e9"])
def test_a_time_to_confirm_that_is_none_is_refused(ids, server, files, seconds):
    code, said = ids("attach", "eth0", "--model", files["detector"], "--confirm", seconds)
    assert code == 2 and "--confirm is" in said


def test_the_net_of_a_detector_has_one_arithmetic(ids, server, files):
    code, said = ids("attach", "eth0", "--model", files["detector"], "--classifier", "nn", "--arithmetic", "q16")
    assert code == 2 and "arithmetic log2 only" in said
    assert ids("attach", "eth0", "--model", files["detector"], "--classifier", "nn")[0] == 0
    (found,) = json.loads(ids("status", "--json")[1])
    assert (found["arithmetic"], found["flagged"]) == ("log2", {"Attack": 0})
    ids("detach", "eth0")
