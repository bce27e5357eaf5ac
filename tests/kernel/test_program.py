"""Loaded programs count, extract and decide as they say, on one CPU and on two."""

import mmap
import os
from concurrent.futures import ThreadPoolExecutor

import made_captures as made
import numpy as np
import pytest
from loaded_programs import FRAMES, RETURNS, UDP, ipv4, probed, program, states
from made_models import BLOCKED, port_tree

from ids_repro import config
from ids_repro.config import UserError
from ids_repro.kernel.program import Program, load_all
from ids_repro.kernel.variants import Variant, every_variant
from ids_repro.native.layouts import KERNEL_REASONS, PROBE, Q
from ids_repro.require import require_root

pytestmark = [pytest.mark.root, pytest.mark.bpf]


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
    # sport, dport, protocol, length, direction, interval to the packet before; then their means and deviations
    assert (out["x"] // q).tolist() == [
        [1234, 80, 17, 104, 1, 0, 104, 1, 0, 0, 0, 0],
        [1234, 80, 17, 140, 1, 1, 122, 1, 0, 18, 0, 0],
    ]
    assert out["first"].tolist() == [1, 0]


def test_programs_that_other_processes_loaded_work_as_one_that_this_process_loads(models, sample):
    """In the paper's layout too, where programs call each other by a map."""
    model = models["binary"]
    loads = [
        (Variant(classifier="nn", arithmetic="q16", layout=layout, probe=True), model.params("nn_q16"))
        for layout in ("packed", "paper")
    ]
    frames = sample.headers()[:500]
    probes = np.zeros(len(frames), PROBE)
    probes["now_ns"] = sample.rows["ts_ns"][:500]
    got = load_all([*loads, loads[0]])
    assert [one.variant for one in got] == [loads[0][0], loads[1][0], loads[0][0]]
    for (variant, params), there in zip(loads, got, strict=False):
        with Program(variant, params) as here:
            np.testing.assert_array_equal(there.probe(probes, frames), here.probe(probes, frames))
            assert there.counts()["packets"] == len(frames) and there.secret != here.secret
            sizes = there.size(), here.size()
            first, second = (one["stack_bytes"] for one in sizes)
            assert min(first, second) > 0 and abs(first - second) <= 16  # their secrets differ
    assert got[2].counts()["packets"] == 0, "the same variant twice is two programs with maps of their own"
    for one in got:
        fds = [one.fd, *one.fds.values()]
        one.close()
        one.close()
        for fd in fds:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(fd)


ACTIONS = [
    # what the kernel does with a normal packet, with an attack, and with a frame that is not IPv4
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


@pytest.mark.parametrize(("name", "variant"), list(every_variant()), ids=lambda value: getattr(value, "hook", value))
def test_every_variant_loads_and_passes_a_packet(name, variant):
    with Program(variant) as loaded:
        assert loaded.run(UDP) == RETURNS[variant.hook, "pass"]
        assert loaded.counts()["packets"] == (name != "empty")


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
        # Packets are "busy" here because a test run can be preempted while it holds the lock. A NIC's packet cannot.
        ok = sum(pool.map(send, cpus))
    assert ok > n
    (flow,) = states(loaded)
    assert (flow["num"], flow["dir_sum"], flow["len_sum_and_flags"] & (1 << 48) - 1) == (ok, ok, ok * 104)


def test_a_flow_that_stays_locked_lets_its_packets_pass_and_counts_them():
    loaded = program("xdp", probe=True)
    loaded.reset()
    probed("xdp", [UDP])
    buckets = loaded._buckets(mmap.PROT_READ | mmap.PROT_WRITE)
    buckets["lock"] = 1  # as if a CPU never released it
    out = probed("xdp", [UDP])
    buckets["lock"] = 0
    assert (out["reason"].tolist(), out["verdict"].tolist()) == ([KERNEL_REASONS.index("busy")], [-1])
    assert loaded.counts()["reason"][KERNEL_REASONS.index("busy")] == 1


def test_a_program_that_the_kernel_refuses_is_an_error_that_names_it():
    with pytest.raises(UserError, match=r"could not build or load bpf/ids\.bpf\.c as Variant\(.*flows=0"):
        Program(Variant(flows=0))


@pytest.mark.parametrize(("action", "stays"), [("count", 0), ("filter", 1), ("redirect", 1)])
def test_where_flagged_flows_are_dropped_a_reset_of_theirs_does_not_take_the_flag_away(action, stays):
    """A reset may be forged, or redirect takes it: then the connection goes on."""
    back = {"sport": BLOCKED, "dport": 1000, "src": made.B, "dst": made.A}
    packets = [made.ipv4(dport=BLOCKED), made.ipv4(**back, flags=made.RST), made.ipv4(**back)]
    probes = np.zeros(len(packets), PROBE)
    probes["now_ns"] = 10**9 + 1000 * np.arange(len(packets))
    variant = Variant(classifier="dt", evidence=True, action=action, probe=True)
    with Program(variant, port_tree(2, flag_at=100).to_bytes()) as loaded:
        out = loaded.probe(probes, [made.ethernet(packet) for packet in packets])
    assert out["verdict"].tolist() == [1, 1, stays]
