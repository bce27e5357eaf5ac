"""Receivers agree on every verdict; one that is too slow has its losses counted; one that dies fails its trial only."""

import contextlib
import os
import socket
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from machine_state import alive, until

from ids_repro import config, records
from ids_repro.data.features import FEATURES
from ids_repro.data.packets import Capture
from ids_repro.kernel import attach
from ids_repro.kernel.program import Program
from ids_repro.kernel.variants import Variant
from ids_repro.models.int_mlp_log2 import quantize_log2
from ids_repro.models.model import Model
from ids_repro.models.scaling import MinMax
from ids_repro.native import library
from ids_repro.native.layouts import Q, layer_shapes
from ids_repro.sweep.link import LEFT_TO_POLLS
from ids_repro.sweep.link_netns import two_namespaces
from ids_repro.sweep.methods import METHODS, Method
from ids_repro.sweep.receivers import Receivers, raw_socket_cpus
from ids_repro.sweep.run import run_sweep
from ids_repro.sweep.sender import Sender

pytestmark = [pytest.mark.root, pytest.mark.quiet, pytest.mark.bpf, pytest.mark.usefixtures("nothing_left")]
HPING3 = {"intervals_us": (0,), "rates_pps": ()}
LIVE_FRAMES = {"intervals_us": (), "rates_pps": (50_000,)}


def profile(traffic: dict, trial_s: float, repeats: int) -> config.Profile:
    """Return a profile of one rate."""
    no = {"churn_pps": (), "replay_pps": (), "resolution": 0}
    return config.profile("smoke", trial_s=trial_s, repeats=repeats, **no, **traffic)


def processes(name: str) -> list[psutil.Process]:
    """Return the processes of a program, or of a module of ids_repro.sweep."""
    module = f"ids_repro.sweep.{name}"
    running = psutil.process_iter(["name", "cmdline"])
    return [p for p in running if p.info["name"].startswith(name) or module in (p.info["cmdline"] or ())]


@pytest.mark.parametrize(
    ("method", "program", "place"),
    [
        ("rawsock1_nn_fused", "rawsock", "socket"),
        ("afxdp_nn_fused", "afxdp", "ring"),
        ("afxdp_busy_nn_fused", "afxdp", "ring"),
        ("dpdk_nn_fused", "dpdk", "ring"),
    ],
)
def test_what_a_receiver_is_too_slow_for_is_counted_where_it_was_lost(tmp_path, models, method, program, place):
    def stop_it_meanwhile(seconds):
        stopped = processes(program)
        for process in stopped:
            process.suspend()
        time.sleep(seconds)
        for process in stopped:
            process.resume()

    asked = profile(LIVE_FRAMES, trial_s=1.0, repeats=1)
    (made,) = run_sweep(models["binary"], asked, [method], results=tmp_path, wait=stop_it_meanwhile)
    raw = made["raw"]
    assert (made["status"], made["reason"]) == ("ok", "")
    assert raw["dropped_packets"][place] > 10_000
    assert raw["sent_packets"] == raw["received_packets"] + sum(raw["dropped_packets"].values())


@pytest.mark.parametrize("method", ["rawsock1_nn_fused", "afxdp_nn_fused", "afxdp_busy_nn_fused", "dpdk_nn_fused"])
def test_a_receiver_answers_and_ends_though_packets_go_on_coming(models, method):
    traffic = {"generator": "live_frames", "interval_us": None, "rate_pps": 3_000_000, "flows": "one", "limit_s": 60}
    with two_namespaces() as link, contextlib.ExitStack() as stack:
        sender = stack.enter_context(contextlib.closing(Sender(link)))
        with sender.running(**traffic):
            with Receivers(models["binary"], link, stack).running(METHODS[method]) as receiver:
                begin, counts = time.monotonic(), []
                for _ in range(2):
                    time.sleep(0.3)
                    counts.append(receiver.counts()["received"])
            took_s = time.monotonic() - begin
    first, second = counts
    assert 0 < first < second
    assert took_s < 20, "each time it waited for the last packet"


@pytest.mark.parametrize("victim", ["hping3", "rawsock", "afxdp", "dpdk", "load_agent"])
def test_a_trial_whose_sender_or_receiver_dies_is_recorded_as_failed_and_the_next_one_is_well(tmp_path, models, victim):
    def kill_in_the_first_trial(seconds):
        for process in () if (tmp_path / "sweep.jsonl").exists() else processes(victim):
            process.kill()
        time.sleep(seconds)

    asked = profile(HPING3 if victim == "hping3" else LIVE_FRAMES, trial_s=0.3, repeats=2)
    method = {"afxdp": "afxdp_nn_fused", "dpdk": "dpdk_nn_fused"}.get(victim, "rawsock1_nn_fused")
    first, second = run_sweep(models["binary"], asked, [method], results=tmp_path, wait=kill_in_the_first_trial)
    assert first["status"] == "failed"
    assert {"load_agent": "the generator on the client ended"}.get(victim, f"{victim} ended") in first["reason"]
    assert (second["status"], second["reason"]) == ("ok", "")


@pytest.mark.parametrize(
    ("cpus", "taken", "workers", "own"),
    [
        ({0, 1}, {0, 1}, [0, 1], None),
        ({0, 1, 2, 3}, {0, 3}, [0, 1, 2, 3], None),
        ({0, 1, 2, 3, 4}, {0, 4}, [2, 3], 1),
        ({0, 2, 4, 6, 8, 10}, {10}, [2, 4, 6, 8], 0),
    ],
)
def test_the_n_core_raw_socket_receives_on_a_cpu_of_its_own_if_there_are_enough(cpus, taken, workers, own):
    assert raw_socket_cpus(cpus, taken) == (workers, own)


def test_the_thread_that_receives_moves_to_its_own_cpu_and_those_that_classify_do_not(models):
    with two_namespaces() as link, contextlib.ExitStack() as stack:
        receivers = Receivers(models["binary"], link, stack)
        first, last = link.client_cpu, link.server_cpu
        with receivers._process("rawsock", "socket", [2], [last], main_cpu=first):
            (process,) = processes("rawsock")
            tasks = [int(task.name) for task in Path(f"/proc/{process.pid}/task").iterdir()]
            on = {task: os.sched_getaffinity(task) for task in tasks}
    assert on.pop(process.pid) == {first}
    assert list(on.values()) == [{last}] * 2


def test_where_cpus_are_few_the_sweep_says_what_that_means(models, capsys, tmp_path):
    asked = profile(LIVE_FRAMES, trial_s=0.2, repeats=1)
    run_sweep(models["binary"], asked, ["rawsockN_nn_fused"], results=tmp_path)
    few = len(os.sched_getaffinity(0)) < 5
    assert ("raw socket's receiving thread has no CPU of its own" in capsys.readouterr().out) == few


def length_detector(detector: Model) -> Model:
    """Return a detector whose net flags a flow at a packet of at least 500 bytes, whatever the time."""
    weights = [np.zeros(shape) for shape in layer_shapes(2)]
    weights[0][FEATURES.index("len"), 0] = weights[1][0, 0] = weights[2][0, 1] = 1.0
    net = quantize_log2(weights, MinMax(np.zeros(12, np.int64), np.full(12, 1500 << Q)))
    x = np.zeros((1, 12), np.int64)
    x[0, FEATURES.index("len")] = 500 << Q
    net = replace(net, flag_at=int(np.diff(net.logits(x))[0, 0]))
    return replace(detector, twins=detector.twins | {"nn_log2": net})


DETECTORS = {
    "rawsock": Method("rawsock", "nn"),
    "afxdp": Method("afxdp", "nn"),
    "busy_poll": Method("afxdp", "nn", busy_poll=True),
    "dpdk": Method("dpdk", "nn"),
    "xdp": METHODS["xdp_drv_nn_log2"],
}


@pytest.mark.parametrize("where", DETECTORS)
def test_a_detector_flags_the_same_packets_in_every_receiver_and_in_the_kernel(detector, where):
    lengths = [10] * 5 + [900] + [10] * 4  # of one flow: it is flagged at the sixth packet and stays so
    model = length_detector(detector)
    with two_namespaces() as link, contextlib.ExitStack() as stack:
        receivers = Receivers(model, link, stack, detector=model)
        with receivers.running(DETECTORS[where]) as receiver:
            with link.client.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
                for length in lengths:
                    sender.sendto(bytes(length), (link.target, 9))
            assert until(lambda: receiver.counts()["received"] >= len(lengths))
            assert receiver.counts()["verdicts"] == [5, 5]


def timeless(model: Model) -> Model:
    """Return a model whose net does not look at intervals, which differ whenever packets are sent again."""
    net = model.twins["nn_fused"]
    kept = np.array(["iat" not in name for name in FEATURES])
    return replace(model, twins=model.twins | {"nn_fused": replace(net, mul=net.mul * kept)})


@pytest.mark.parametrize(
    "name", [name for name, one in METHODS.items() if (one.classifier, one.arithmetic) == ("nn", "fused")]
)
def test_every_method_gives_real_packets_the_verdicts_of_the_numpy_twin(models, sample: Capture, name):
    frames = sample.headers()
    chosen = [i for i, frame in enumerate(frames) if frame[12:14] == b"\x08\0"][:2000]
    x, _ = library.extract(sample.rows[chosen])
    model = timeless(models["binary"])
    expected = np.bincount(model.twins["nn_fused"].predict(x), minlength=2)
    assert expected.all(), "both classes are among them"
    with (
        two_namespaces() as link,
        contextlib.ExitStack() as stack,
        Receivers(model, link, stack).running(METHODS[name]) as receiver,
        link.client.call(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)) as sender,
    ):
        sender.bind((link.client.iface, 0))
        for sent, i in enumerate(chosen, start=1):
            sender.send(frames[i])
            if sent % 100 == 0:  # a veth's ring has 256 places
                assert until(lambda sent=sent: receiver.counts()["received"] >= sent)
        assert receiver.counts()["verdicts"] == expected.tolist()


def left_behind() -> dict[str, list[str]]:
    """Return the names in the folders in which DPDK and libxdp keep files."""
    folders = map(Path, ("/run", "/dev/hugepages", "/dev/shm", "/sys/fs/bpf", tempfile.gettempdir()))
    return {str(one): sorted(path.name for path in one.iterdir()) for one in folders if one.exists()}


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_dpdk_leaves_no_program_no_file_and_no_setting_however_its_process_ends(models, end):
    before = left_behind()
    with two_namespaces() as link, contextlib.ExitStack() as stack:
        receivers, iface = Receivers(models["binary"], link, stack), link.server.iface
        for _ in range(2):  # the second finds the interface as the first did
            with receivers.running(METHODS["dpdk_nn_fused"]) as receiver:
                assert receiver.counts()["received"] == 0
                assert len(link.server.call(attach.programs, iface)) == 1
                (process,) = processes("dpdk")
                getattr(process, end)()
                assert until(lambda pid=process.pid: not alive(pid))
            assert link.server.call(attach.programs, iface) == set()
            show = "cat " + " ".join(f"/sys/class/net/{iface}/{name}" for name in LEFT_TO_POLLS)
            shown = link.server.run(["ip", "netns", "exec", link.server.ns, *show.split()], capture_output=True)
            assert shown.stdout.split() == [b"0"] * len(LEFT_TO_POLLS)
    assert left_behind() == before


def test_a_program_of_somebody_else_is_neither_adopted_nor_taken_off():
    with two_namespaces() as link, Program(Variant()) as program, program.attached(link.server, "xdp_drv"):
        assert link.server.call(attach.adopt, link.server.iface) == []
        link.server.call(attach.take_off_adopted, link.server.iface)
        assert len(link.server.call(attach.programs, link.server.iface)) == 1


@pytest.mark.parametrize("method", ["afxdp_busy_nn_fused", "dpdk_nn_fused"])
def test_a_receiver_that_polls_keeps_its_cpu_busy_however_few_packets_come(tmp_path, models, method):
    asked = profile({"intervals_us": (), "rates_pps": (1000,)}, trial_s=1.0, repeats=1)
    (made,) = run_sweep(models["binary"], asked, [method], results=tmp_path)
    assert (made["status"], made["reason"]) == ("ok", "")
    assert made["raw"]["cpu_percent"]["idle"] < 5


def test_without_dpdk_its_trials_say_how_to_get_it_and_the_rest_goes_on(project, models):
    """The copy of the project has no build/dpdk."""
    project.add_profile("once", trial_s=0.2)
    project.save(models)
    methods = "dpdk_nn_fused,rawsock1_nn_fused"
    done = project.cli("sweep", "--profile", "once", "--methods", methods)
    assert "dpdk_nn_fused: failed: DPDK is not installed: run 'make system-dpdk'" in done.stderr
    made = records.read(project.root / "data/results/sweep.jsonl")
    failed = {one["asked"]["method"] for one in made if one["status"] != "ok"}
    assert (done.returncode, failed) == (1, {"dpdk_nn_fused"}), done.stderr
