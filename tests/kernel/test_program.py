"""The kernel program's variants build, load, count and decide as they say, and attach without a trace."""

import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import pytest
from machine_state import attachments, interfaces
from made_models import BLOCKED, port_tree

from ids_repro import config
from ids_repro.config import UserError
from ids_repro.evaluate import parity_vectors
from ids_repro.evaluate.replay import load_program
from ids_repro.evaluate.rows import classify_by_struct
from ids_repro.kernel.bcc import DIST_PACKAGES
from ids_repro.kernel.program import Program
from ids_repro.kernel.variants import VARIANTS, Variant, every_variant
from ids_repro.models.int_mlp_fused import quantize_fused
from ids_repro.models.int_tree import IntTree
from ids_repro.native.layouts import COUNTS, KERNEL_REASONS, PROBE, VERDICTS, Q
from ids_repro.require import require_root
from ids_repro.sweep.link_netns import two_namespaces

pytestmark = [pytest.mark.root, pytest.mark.bpf]
ETHERNET = bytes(12)
RETURNS = {("xdp", "pass"): 2, ("xdp", "drop"): 1, ("tc", "pass"): 0, ("tc", "drop"): 2}
HOSTS = {"client": "10.99.0.1", "server": "10.99.0.2"}


def ipv4(proto=17, dport=80, sport=1234, payload=64, version_ihl=0x45, fragment=0) -> bytes:
    """A frame with an IPv4 packet of TCP or UDP."""
    l4 = b"".join(int(v).to_bytes(2, "big") for v in (sport, dport)) + bytes(16)
    header = bytes([version_ihl, 0]) + (len(l4) + 20 + payload).to_bytes(2, "big") + bytes(2)
    header += fragment.to_bytes(2, "big") + bytes([64, proto, 0, 0]) + bytes([10, 99, 0, 1, 10, 99, 0, 2])
    return ETHERNET + b"\x08\x00" + header + l4 + bytes(payload)


UDP, TCP = ipv4(), ipv4(proto=6)
FRAMES = {
    "udp": (UDP, "ok"),
    "tcp": (TCP, "ok"),
    "icmp": (ipv4(proto=1), "ok"),
    "a later fragment has no ports": (ipv4(fragment=100)[: 14 + 20], "ok"),
    "arp": (ETHERNET + b"\x08\x06" + bytes(28), "not_ip"),
    "no ethernet header": (UDP[:13], "truncated"),
    "nothing": (b"", "truncated"),
    "half an ip header": (UDP[: 14 + 19], "truncated"),
    "no ports": (UDP[: 14 + 20 + 3], "truncated"),
    "no tcp flags": (TCP[: 14 + 20 + 13], "truncated"),
    "version 6 in an ipv4 frame": (ipv4(version_ihl=0x65), "malformed"),
    "a header shorter than 20 bytes": (ipv4(version_ihl=0x44), "malformed"),
}


@lru_cache
def program(hook: str, classifier: str = "none", n_classes: int = 2, action: str = "count", probe: bool = False):
    """A variant, built once for all tests."""
    params = port_tree(n_classes).to_bytes() if classifier == "dt" else None
    return Program(Variant(hook, classifier, n_classes, action, probe=probe), params)


def probed(hook: str, frames: list[bytes], now_ns: int = 10**9) -> np.ndarray:
    """Send frames through flow extraction, one microsecond apart."""
    probes = np.zeros(len(frames), PROBE)
    probes["now_ns"] = now_ns + 1000 * np.arange(len(frames))
    return program(hook, probe=True).probe(probes, frames)


def test_these_tests_run_as_root():
    require_root("every test of the kernel")


@pytest.mark.parametrize("hook", ["xdp", "tc"])
def test_every_frame_is_counted_under_its_reason(hook):
    loaded = program(hook, probe=True)
    loaded.reset()
    frames, reasons = zip(*FRAMES.values(), strict=True)
    out = probed(hook, list(frames))
    assert dict(zip(FRAMES, (KERNEL_REASONS[r] for r in out["reason"]), strict=True)) == dict(
        zip(FRAMES, reasons, strict=True)
    )
    counts = loaded.counts()
    assert counts["packets"] == len(frames)
    assert counts["reason"][: len(KERNEL_REASONS)].tolist() == [reasons.count(reason) for reason in KERNEL_REASONS]
    assert loaded.verdicts().sum() == 0
    assert (out["verdict"] == -1).all()


@pytest.mark.parametrize("hook", ["xdp", "tc"])
def test_a_frames_features_come_back_in_their_places(hook):
    program(hook, probe=True).reset()
    out = probed(hook, [UDP, ipv4(payload=100)])
    q = 1 << Q
    # sport, dport, protocol, length, direction, time since the last packet; means and deviations after them
    assert (out["x"] // q).tolist() == [
        [1234, 80, 17, 104, 1, 0, 104, 1, 0, 0, 0, 0],
        [1234, 80, 17, 140, 1, 1, 122, 1, 0, 18, 0, 0],
    ]
    assert out["first"].tolist() == [1, 0]


def test_reset_forgets_flows_and_counts():
    loaded = program("xdp", probe=True)
    probed("xdp", [UDP])
    loaded.reset()
    assert (loaded.counts()["packets"], loaded.counts()["reason"].sum()) == (0, 0)
    assert probed("xdp", [UDP, UDP])["first"].tolist() == [1, 0]


def test_our_structs_are_as_large_as_the_kernels(models):
    loaded = program("xdp", probe=True)
    assert loaded.leaf_size("counts") == COUNTS.itemsize
    assert loaded.leaf_size("verdicts") == VERDICTS.itemsize
    assert program("xdp", "dt", action="filter").leaf_size("params") == len(port_tree(2).to_bytes())
    for change in ("set_params", "swap"):
        with pytest.raises(UserError, match="quantize it again"):
            getattr(program("xdp", "dt", action="filter"), change)(models["binary"].params("nn_q16"))


ACTIONS = [
    # what the kernel does with: a normal packet, an attack, a frame that is no IPv4
    ("count", ("pass", "pass", "pass")),
    ("filter", ("pass", "drop", "pass")),
    ("sink", ("drop", "drop", "drop")),
]


@pytest.mark.parametrize("hook", ["xdp", "tc"])
@pytest.mark.parametrize(("action", "expected"), ACTIONS, ids=lambda value: str(value))
def test_actions_pass_and_drop(hook, action, expected):
    loaded = program(hook, "dt", action=action)
    loaded.reset()
    frames = [UDP, ipv4(dport=BLOCKED), FRAMES["arp"][0]]
    assert [loaded.run(frame) for frame in frames] == [RETURNS[hook, what] for what in expected]
    assert loaded.verdicts().tolist() == [1, 1, 0, 0, 0, 0, 0, 0]


def test_of_seven_classes_only_normal_passes():
    loaded = program("xdp", "dt", len(config.CLASSES), "filter")
    assert loaded.run(UDP) == RETURNS["xdp", "pass"]
    assert loaded.run(ipv4(dport=BLOCKED)) == RETURNS["xdp", "drop"]
    assert loaded.verdicts().tolist() == [0, 0, 1, 0, 1, 0, 0, 0]


def test_parameters_are_swapped_while_the_program_runs():
    loaded = program("xdp", "dt", action="filter")
    loaded.set_params(IntTree(*(np.zeros(32, t) for t in ("i8", "u1", "u1"))).to_bytes())
    assert loaded.run(ipv4(dport=BLOCKED)) == RETURNS["xdp", "pass"]
    loaded.set_params(port_tree(2).to_bytes())
    assert loaded.run(ipv4(dport=BLOCKED)) == RETURNS["xdp", "drop"]


@pytest.mark.parametrize(("name", "variant"), list(every_variant()), ids=lambda value: getattr(value, "hook", value))
def test_every_variant_loads_and_passes_a_packet(name, variant):
    with Program(variant) as loaded:
        assert loaded.run(UDP) == RETURNS[variant.hook, "pass"]
        assert loaded.counts()["packets"] == (name != "empty")


def test_suspicious_packets_go_to_the_ring_buffer_and_no_further():
    loaded = program("xdp", "dt", action="redirect")
    attack, arp = ipv4(dport=BLOCKED, payload=500), FRAMES["arp"][0]
    assert [loaded.run(frame) for frame in (UDP, attack, arp)] == [2, 1, 2]
    (suspect,) = loaded.suspects()
    assert (suspect["verdict"], suspect["len"], suspect["caplen"]) == (1, len(attack), 128)
    assert suspect["data"].tobytes() == attack[:128]
    assert suspect["x"][:3].tolist() == [v << Q for v in (1234, BLOCKED, 17)]
    assert loaded.suspects().size == 0
    assert loaded.counts()["lost"] == 0


def test_two_cpus_on_one_flow_lose_no_packet_that_is_not_counted_as_busy():
    loaded, n = program("xdp", probe=True), 100_000
    loaded.reset()
    probes = np.zeros(n, PROBE)
    probes["now_ns"] = 10**9

    def send(cpu: int) -> int:
        os.sched_setaffinity(0, {cpu})
        reasons = np.bincount(loaded.probe(probes, [UDP] * n)["reason"], minlength=len(KERNEL_REASONS))
        ok, busy = (int(reasons[KERNEL_REASONS.index(name)]) for name in ("ok", "busy"))
        assert ok + busy == n
        return ok

    cpus = sorted(os.sched_getaffinity(0))[:2]
    assert len(cpus) == 2
    with ThreadPoolExecutor(2) as pool:
        ok = sum(pool.map(send, cpus))  # a test run can be preempted with the lock held; a packet of a NIC cannot
    assert ok > n
    (flow,) = loaded.flows()
    assert (flow["num"], flow["dir_sum"], flow["len_sum"]) == (ok, ok, ok * 104)


def test_a_flow_that_stays_locked_lets_its_packets_pass_and_counts_them():
    loaded = program("xdp", probe=True)
    loaded.reset()
    probed("xdp", [UDP])
    table = loaded._bpf[b"flows"]
    for key, leaf in table.items():
        leaf.lock = 1  # as a CPU that never ends would leave it
        table[key] = leaf
    out = probed("xdp", [UDP])
    assert (out["reason"].tolist(), out["verdict"].tolist()) == ([KERNEL_REASONS.index("busy")], [-1])
    assert loaded.counts()["reason"][KERNEL_REASONS.index("busy")] == 1


def random_nets(model, n: int) -> list[bytes]:
    """Nets of one shape that decide differently."""
    rng = np.random.default_rng(0)
    nets = [[rng.normal(size=w.shape) for w in model.mlp.weights()] for _ in range(n)]
    return [quantize_fused(weights, model.scaler).to_bytes() for weights in nets]


@pytest.mark.parametrize("classifier", ["nn_fused", "dt"])
def test_models_are_swapped_under_traffic_without_a_mixture(models, classifier):
    swaps, batch = 1000, 5000
    model = models["multi"]
    x = next(parity_vectors.pieces(model, 2000))
    two = random_nets(model, 2) if classifier == "nn_fused" else [port_tree(7).to_bytes(), model.params("dt")]
    expected = [classify_by_struct(classifier, params, 7, x)[1] for params in two]
    assert np.mean(expected[0] != expected[1]) > 0.2
    probes = np.zeros(batch, PROBE)
    probes["use_x"], probes["x"] = 1, x[np.arange(batch) % len(x)]
    stop, seen = threading.Event(), []
    with load_program(classifier, 7) as loaded:
        loaded.set_params(two[0])

        def send() -> None:
            while not stop.is_set():
                seen.append(loaded.probe(probes))

        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(send)
            for number in range(1, swaps + 1):
                assert loaded.swap(two[number % 2]) == number
            stop.set()
            sending.result()
        out = np.concatenate(seen)
        assert len(out) >= 100_000 and len(np.unique(out["generation"])) > swaps // 2
        at = np.arange(len(out)) % batch % len(x)
        assert (out["verdict"] == np.where(out["generation"] % 2, expected[1][at], expected[0][at])).all()
        # every verdict is counted under its generation, and none is lost when a generation's place is used again
        assert loaded.verdicts().tolist() == np.bincount(out["verdict"], minlength=8).tolist()
        last = out["verdict"][out["generation"] == swaps]
        assert loaded.verdicts(swaps).tolist() == np.bincount(last, minlength=8).tolist()


def test_the_papers_layout_refuses_a_swap(models):
    with Program(VARIANTS["nn_q16_paper"]) as loaded, pytest.raises(UserError, match="a map element a parameter"):
        loaded.swap(models["binary"].params("nn_q16"))


@pytest.fixture
def on():
    """The measured link."""
    with two_namespaces() as made:
        yield made


MODES = {"xdp_drv": "xdp", "xdp_skb": "xdp", "tc": "tc"}


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


def test_a_program_that_the_kernel_refuses_is_an_error_that_names_it():
    with pytest.raises(UserError, match=r"could not build or load bpf/ids\.bpf\.c as Variant\(.*flows=0"):
        Program(Variant(flows=0))


WITHOUT = {
    "headers": (("/usr/src", "/lib/modules"), "BCC needs kernel headers and none are installed: run 'make system'"),
    "bcc": ((DIST_PACKAGES,), "BCC is not installed (No module named 'bcc'): run 'make system'"),
}


@pytest.mark.parametrize("what", WITHOUT)
def test_what_bcc_needs_and_is_missing_is_named_with_its_remedy(what):
    folders, message = WITHOUT[what]
    # A mount namespace in which those folders are empty; the machine itself keeps them.
    hide = "".join(f"[ ! -d {folder} ] || mount -t tmpfs none {folder}; " for folder in folders)
    load = f"{sys.executable} -c 'from ids_repro.kernel.program import *; Program(Variant())'"
    done = subprocess.run(["unshare", "-m", "sh", "-c", hide + load], cwd=config.ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]
    assert "ids_repro.config.UserError" in done.stderr
