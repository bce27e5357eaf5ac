"""A capture is replayed packet by packet, and at whatever rate the kernel counts the verdicts that user space gives."""

import contextlib
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from machine_state import ones_complement, tap
from made_captures import ethernet, ipv4, pcap

from ids_repro import config, records
from ids_repro.config import UserError
from ids_repro.data.flow import IDLE_US
from ids_repro.models.model import Model
from ids_repro.models.scorers import scores
from ids_repro.models.verdicts import verdicts
from ids_repro.native import library
from ids_repro.native.layouts import KERNEL_REASONS, REPLAYED
from ids_repro.sweep.link import Link
from ids_repro.sweep.link_netns import two_namespaces
from ids_repro.sweep.methods import METHODS
from ids_repro.sweep.plan import asked_trial
from ids_repro.sweep.receivers import Receivers
from ids_repro.sweep.replay import LONGEST, Replay
from ids_repro.sweep.run import run_sweep
from ids_repro.sweep.sender import Sender
from ids_repro.sweep.trial import run_trial

TARGET = bytes(range(6))
HEAD = REPLAYED["head"].shape[0]
STEADY_PPS = 4000  # so few that a busy machine loses none: a veth keeps 256 of them
ONCE = config.profile(
    "smoke", intervals_us=(), rates_pps=(STEADY_PPS,), churn_pps=(), repeats=1, resolution=0, trial_s=1.0
)


def clock(frame: bytes) -> int:
    """Return the time that a frame brings along [us]."""
    return (frame[6] >> 2) << 40 | int.from_bytes(frame[7:12], "big")


def saved(path: Path, *frames: bytes) -> Replay:
    """Return a capture of these frames, one each 100 us, to be replayed."""
    path.write_bytes(pcap([(1_000_000 + 100 * i, frame) for i, frame in enumerate(frames)]))
    return Replay(path)


def test_frames_hold_the_packets_of_the_capture_in_their_order(sample):
    frames = Replay().frames(TARGET)
    assert len(frames) == len(sample.rows)
    found, reasons = library.parse(frames["head"], np.minimum(frames["len"], HEAD).astype(np.uint32))
    assert not reasons.any(), "all are ok"
    for name in ("saddr", "daddr", "sport", "dport", "proto", "tcp_flags", "len"):
        assert (found[name] == sample.rows[name]).all(), name
    assert (frames["head"][:, :6] == list(TARGET)).all()
    assert (frames["len"] == 14 + sample.rows["len"]).all(), "each is as long as it was"
    assert (np.diff(frames["at_us"].astype(np.int64)) == np.diff(sample.rows["ts_ns"].astype(np.int64) // 1000)).all()


def test_a_packet_longer_than_a_frame_is_cut_and_keeps_its_length(tmp_path):
    frames = saved(tmp_path / "long.pcap", ethernet(ipv4(payload=bytes(4000))), ethernet(ipv4(), 0x8100)).frames(TARGET)
    assert frames["len"].tolist() == [LONGEST, 18 + 40]
    found, _ = library.parse(frames["head"], np.full(2, HEAD, np.uint32))
    assert found["len"].tolist() == [4040, 40]


def test_a_packet_without_a_length_gets_that_of_its_frame(tmp_path):
    frame = bytearray(ethernet(ipv4(payload=bytes(2896))))
    frame[16:18] = bytes(2)  # as its sender left it, because the card will cut it to segments
    replay = saved(tmp_path / "two.pcap", bytes(frame), ethernet(ipv4()))
    frames = replay.frames(TARGET)
    found, _ = library.parse(frames["head"], np.full(2, HEAD, np.uint32))
    assert found["len"].tolist() == replay.capture.rows["len"].tolist() == [len(frame) - 14, 40]


def test_a_capture_of_too_many_packets_is_refused(tmp_path):
    path = saved(tmp_path / "three.pcap", *[ethernet(ipv4())] * 3).path
    with pytest.raises(UserError, match=r"three.pcap: 3 packets, and at most 2 can be replayed: save fewer .*1-2\)"):
        Replay(path, most=2).frames(TARGET)


def test_a_capture_has_a_rate_of_its_own_unless_all_its_packets_have_one_time(tmp_path):
    replay = saved(tmp_path / "ten.pcap", *[ethernet(ipv4())] * 10)
    assert replay.own_pps == pytest.approx(10 / 900e-6)
    with pytest.raises(UserError, match="one.pcap: its packets have one time, and so no rate of their own"):
        _ = saved(tmp_path / "one.pcap", ethernet(ipv4())).own_pps


def test_a_capture_is_not_replayed_so_often_that_its_times_do_not_fit_into_a_frame(tmp_path):
    replay = saved(tmp_path / "two.pcap", *[ethernet(ipv4())] * 2)
    passes = (1 << 46) // replay.pass_us
    replay.command(2 * (passes - 3))
    with pytest.raises(UserError, match=r"two.pcap: 2 packets, and a trial may send them [\d,]+ times: a frame has no"):
        replay.command(2 * passes)
    Replay().command(1e9)


@pytest.mark.parametrize("struct", ["nn_fused", "dt", "detector's dt", "detector's nn_log2"])
def test_the_same_verdicts_come_with_each_pass_because_all_flows_have_timed_out(models, detector, sample, struct):
    model, struct = (detector if "detector" in struct else models["binary"]), struct.split()[-1]
    replay, n = Replay(), 5 * len(sample.rows) // 2
    rows = np.tile(sample.rows, 3)
    rows["ts_ns"] += np.repeat(np.arange(3, dtype=np.uint64) * replay.pass_us * 1000, len(sample.rows))
    x, flow = library.extract(rows[:n])
    found = library.predict(struct, model.params(struct), 2, x)
    expected = np.bincount(verdicts(model, struct, found, flow).astype(np.int64), minlength=2)
    assert expected.all(), "both classes are among them"
    assert replay.offline(model, struct, n)["verdicts"] == expected.tolist()
    assert replay.pass_us > IDLE_US


def test_without_a_classifier_only_the_reasons_are_counted(models):
    offline = Replay().offline(models["binary"], None, 7)
    assert offline["verdicts"] == [0, 0]
    assert dict(zip(KERNEL_REASONS, offline["reasons"], strict=False)) == dict.fromkeys(KERNEL_REASONS, 0) | {"ok": 7}


def checked(packet: bytes) -> bytes:
    """Return an IPv4 packet of TCP with the right checksums."""
    ends_and_length = packet[12:20] + struct.pack("!HH", 6, len(packet) - 20)
    sums = (ones_complement(packet[:20]), ones_complement(ends_and_length + packet[20:]))
    ip, tcp = (struct.pack("!H", ~total & 0xFFFF) for total in sums)
    return packet[:10] + ip + packet[12:36] + tcp + packet[38:]


@pytest.fixture(scope="module")
def on():
    with two_namespaces() as link:
        yield link


def over(on: Link, results: Path) -> dict:
    """Return how `run_sweep` takes a link that is there already."""
    return {"results": results, "open_link": lambda: contextlib.nullcontext(on)}


@pytest.mark.root
@pytest.mark.quiet
@pytest.mark.bpf
def test_on_the_wire_each_packet_has_its_bytes_its_length_and_its_time(on, sample):
    replay, n = Replay(), 2000
    with tap(on.server) as packets, contextlib.closing(Sender(on)) as sender:
        command = {"generator": "live_frames", "flows": "replay", "rate_pps": 2000, "packets": n} | replay.command()
        with sender.running(10, **command):
            got = [packets.recv(2000) for _ in range(n)]
        later = []
        for anew in (False, True):
            with sender.running(10, **command | {"packets": 1}, anew=anew):
                later.append(clock(packets.recv(2000)))
    mac = got[0][:6]
    frames = replay.frames(mac)[:n]
    for frame, want in zip(got, frames, strict=True):
        kept = min(HEAD, int(want["len"]))
        assert len(frame) == want["len"] and frame[:6] == mac
        assert frame[12:kept] == want["head"][12:kept].tobytes() and not any(frame[HEAD:])
        assert ones_complement(frame[14:34]) != 0xFFFF
        assert frame[6] & 3 == 2, "an address that is nobody's, of one host"
    clocks = list(map(clock, got))
    assert later == [clocks[0] + replay.pass_us, clocks[0]] and clocks[0] == replay.pass_us + int(frames["at_us"][0])
    assert np.diff(clocks).tolist() == np.diff(frames["at_us"].astype(np.int64)).tolist()


@pytest.mark.root
@pytest.mark.quiet
@pytest.mark.bpf
def test_receive_offload_keeps_the_order_of_a_burst(on, tmp_path):
    """It would hold segments with data back, and let those without pass, in TC and generic XDP."""
    replay = saved(tmp_path / "one.pcap", *[ethernet(checked(ipv4(payload=bytes(i % 2 * 20)))) for i in range(200)])
    burst = {"generator": "live_frames", "flows": "replay", "rate_pps": 10_000_000, "packets": 200} | replay.command()
    with tap(on.server) as packets, contextlib.closing(Sender(on)) as sender:
        for _ in range(5):
            with sender.running(10, **burst):
                got = [packets.recv(2000) for _ in range(200)]
            clocks = [frame[7:12] for frame in got]
            assert clocks == sorted(clocks)


@pytest.mark.root
@pytest.mark.quiet
@pytest.mark.bpf
@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.in_kernel and not method.extra])
def test_the_kernel_counts_the_verdicts_of_user_space(models, on, tmp_path, name):
    (made,) = run_sweep(models["binary"], ONCE, [name], "replay", **over(on, tmp_path))
    agrees(made, METHODS[name].classifier != "none")


@pytest.mark.root
@pytest.mark.quiet
@pytest.mark.bpf
@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.detector])
def test_so_it_does_with_a_detector(models, detector, on, tmp_path, name):
    detector = alert(detector)
    (made,) = run_sweep(models["binary"], ONCE, [name], "replay", **over(on, tmp_path), detector=detector)
    agrees(made, True)
    assert made["asked"]["detector_sha256"] == detector.sha256()


def alert(detector: Model) -> Model:
    """Return a detector that flags some of the flows at the beginning of the capture, and some not."""
    x, _ = library.extract(Replay().capture.rows[:STEADY_PPS])
    found = {struct: scores(struct, detector.params(struct), x) for struct in detector.twins}
    marks = {struct: int(np.quantile(score, 0.9)) for struct, score in found.items()}
    return replace(detector, twins={name: replace(one, flag_at=marks[name]) for name, one in detector.twins.items()})


def agrees(made: dict, classifies: bool) -> None:
    """Check a trial of a replay that lost nothing."""
    raw = made["raw"]
    assert (made["status"], made["reason"], raw["sent_packets"]) == ("ok", "", raw["received_packets"])
    assert raw["differences"] == 0
    assert {name: raw[name] for name in raw["offline"]} == raw["offline"]
    assert bool(min(raw["verdicts"])) == classifies, "both classes are among them"
    assert made["asked"]["capture"] == config.SAMPLE.name


@pytest.mark.root
@pytest.mark.quiet
@pytest.mark.bpf
def test_a_program_with_its_own_clock_counts_others(models, on):
    """So the comparison sees what the clock of the frames is for."""
    with contextlib.ExitStack() as stack:
        receivers = KernelClock(models["binary"], on, stack)
        asked = asked_trial(ONCE, "xdp_drv_dt", "live_frames", None, STEADY_PPS, "replay", 0)
        raw = run_trial(receivers, stack.enter_context(contextlib.closing(Sender(on))), asked, replay=Replay())
    assert raw["sent_packets"] == raw["received_packets"]
    assert raw["differences"] > raw["sent_packets"] / 100


class KernelClock(Receivers):
    """Runs programs that take the time of a packet from the kernel."""

    def _program(self, variant, model):
        return super()._program(replace(variant, clock="kernel"), model)


@pytest.mark.root
@pytest.mark.quiet
@pytest.mark.bpf
def test_where_packets_were_lost_nothing_is_compared_and_another_capture_is_another_trial(models, on, tmp_path):
    fast, how = replace(ONCE, rates_pps=(10_000_000,), trial_s=0.3), over(on, tmp_path)
    (made,) = run_sweep(models["binary"], fast, "xdp_skb_nn_fused", "replay", **how)
    assert made["raw"]["received_packets"] < made["raw"]["sent_packets"]
    assert made["raw"]["differences"] is None
    assert run_sweep(models["binary"], fast, "xdp_skb_nn_fused", "replay", **how) == []
    (chosen,) = run_sweep(models["binary"], ONCE, "xdp_drv_dt", "replay", **how)
    assert chosen["asked"]["chosen"] and chosen["asked"]["rate_pps"] == STEADY_PPS
    assert run_sweep(models["binary"], ONCE, "xdp_drv_dt", "replay", **how) == []
    assert "chosen" not in made["asked"], "the profile names this rate"
    other = Replay(config.SECOND_SAMPLE)
    (again,) = run_sweep(models["binary"], fast, "xdp_skb_nn_fused", "replay", **how, replay=other)
    assert [one["asked"]["capture"] for one in (made, again)] == [config.SAMPLE.name, config.SECOND_SAMPLE.name]
    (first,) = run_sweep(models["binary"], replace(fast, rates_pps=(50_000,)), "no_filter", "one", **how)
    there = records.read(tmp_path / "sweep.jsonl")
    assert records.current(there, "sweep") == there[2:] == [again, first], "one table has one capture"


@pytest.mark.root
@pytest.mark.quiet
@pytest.mark.bpf
def test_a_trial_of_one_packet_fails_with_a_sentence_and_the_next_one_runs(models, on, tmp_path):
    slow = replace(ONCE, rates_pps=(1, STEADY_PPS), trial_s=0.3)
    first, second = run_sweep(models["binary"], slow, "xdp_drv_dt", "one", **over(on, tmp_path))
    assert (first["status"], second["status"]) == ("failed", "ok")
    assert "so few packets were sent that they have no rate: give a higher rate" in first["reason"]


@pytest.mark.root
@pytest.mark.quiet
@pytest.mark.bpf
def test_another_file_on_the_client_is_named(on):
    command = {"generator": "live_frames", "flows": "replay", "rate_pps": 1000} | Replay().command() | {"sha256": "0"}
    with (
        contextlib.closing(Sender(on)) as sender,
        pytest.raises(UserError, match="lab.pcap.gz: another file on the client than on the server"),
        sender.running(10, **command),
    ):
        pass
