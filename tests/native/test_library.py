"""The parser: each row of the table in bpf/README.md, and every real packet, in XDP, in TC and in user space."""

import re
import socket

import made_captures as made
import numpy as np
import pytest
from label_files import SHARED
from loaded_programs import program
from parser_cases import ROWS, TCP, TCP6, frames, six

from ids_repro import config
from ids_repro.data import packets
from ids_repro.evaluate.replay import load_program, replay
from ids_repro.evaluate.rows import KERNEL_PROGRAMS, classify_in_c
from ids_repro.kernel.program import Program
from ids_repro.kernel.variants import HOOKS, Variant
from ids_repro.native import library
from ids_repro.native.layouts import KERNEL_REASONS, OUTCOMES, PROBE, REASONS, ROW, STRUCTS, Q
from ids_repro.sweep.link_netns import two_namespaces


def documented() -> dict[str, str]:
    """What arrives, and its outcome, as bpf/README.md says."""
    text = (config.BPF / "README.md").read_text()
    return {row: outcome for row, outcome in re.findall(r"^\| ([^|]+?) \| `(\w+)` \|", text, re.MULTILINE)}


def test_the_table_has_these_rows_and_every_reason():
    assert list(documented()) == list(ROWS)
    assert set(documented().values()) == set(REASONS)
    assert KERNEL_REASONS[: len(REASONS)] == REASONS


@pytest.mark.root
@pytest.mark.bpf
@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("row", ROWS)
def test_the_kernel_does_with_a_frame_what_the_table_says(row, hook):
    given, expected = zip(*ROWS[row], strict=True)
    program(hook, probe=True).reset()
    seen = program(hook, probe=True).probe(np.zeros(len(given), PROBE), given)
    assert {KERNEL_REASONS[r] for r in seen["reason"]} == {documented()[row]}
    if expected[0]:  # a frame that is not classified has no features
        assert [tuple((x[[2, 0, 1, 3]] >> Q).tolist()) for x in seen["x"]] == list(expected)
    assert program(hook, probe=True).counts()["reason"][KERNEL_REASONS.index(documented()[row])] == len(given)


def mended_length(frame, size):
    """Return the length that the reader of captures gives a packet in an untagged frame, where its header has none."""
    none = 40 if frame[12:14] == b"\x86\xdd" else 0
    return len(frame) - 14 if size == none else size


@pytest.mark.parametrize("row", ROWS)
def test_user_space_does_with_a_frame_what_the_table_says(row, tmp_path):
    given, expected = zip(*ROWS[row], strict=True)
    rows, reasons = library.parse(*made.padded(given))
    assert {REASONS[r] for r in reasons} == {documented()[row]}
    path = tmp_path / "made.pcap"
    path.write_bytes(made.pcap(list(enumerate(given))))
    capture = packets.Packets(path, rules="both")
    kept = np.concatenate([np.zeros(0, ROW), *(piece.copy() for piece in capture)])
    assert {name: n for name, n in capture.counts().items() if n and name in OUTCOMES} == {
        documented()[row]: len(given)
    }
    if expected[0]:
        assert rows[["proto", "sport", "dport", "len"]].tolist() == list(expected)
        mended = [(*fields, mended_length(frame, size)) for frame, (*fields, size) in zip(given, expected, strict=True)]
        assert kept[["proto", "sport", "dport", "len"]].tolist() == mended


@pytest.mark.root
@pytest.mark.bpf
def test_ipv6_flows_are_told_apart_and_their_two_ways_are_one():
    answer = made.ipv6(src=made.B, dst=made.A, sport=80, dport=1000)
    sent = six(TCP6, answer, made.ipv6(src=7), TCP6, made.ipv6(dst=7), made.ipv6(made.HOP_BY_HOP))
    sent += frames(TCP, made.ipv4(src=made.B, dst=made.A, sport=80, dport=1000))
    rows, _ = library.parse(*made.padded(sent))
    assert library.extract(rows)[1].tolist() == [0, 0, 1, 0, 2, 0, 3, 3]
    assert (rows["saddr"] >> np.uint64(63)).tolist() == [1, 1, 1, 1, 1, 1, 0, 0]
    for hook in HOOKS:
        program(hook, probe=True).reset()
        seen = program(hook, probe=True).probe(np.zeros(len(sent), PROBE), sent)
        assert seen["first"].tolist() == [1, 0, 1, 0, 1, 0, 1, 0]
        assert (seen["x"][:, 4] >> Q).tolist() == [1, 0, 1, 1, 1, 1, 1, 0]


def test_addresses_of_ipv6_do_not_meet():
    """Neighbours in a subnet, and the same host in neighbouring subnets."""
    sent = six(*(made.ipv6(src=n) for n in range(300)))
    sent += [sent[0][:28] + n.to_bytes(2, "big") + sent[0][30:] for n in range(1, 300)]
    rows, reasons = library.parse(*made.padded(sent))
    assert not reasons.any() and len(set(rows["saddr"].tolist())) == 599


@pytest.mark.root
@pytest.mark.bpf
@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("mode", ["tc", "xdp_drv", "xdp_skb"])
def test_a_tag_that_the_kernel_took_out_of_the_frame_counts_like_one_inside(mode):
    """TC sees frames after the kernel moved the outermost tag from the frame into the packet's metadata."""
    tags = ([], [0x8100], [0x88A8, 0x8100], [0x8100] * 3, [0x8100] * 4)
    with (
        two_namespaces() as on,
        Program(Variant("tc" if mode == "tc" else "xdp")) as loaded,
        on.client.call(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)) as sender,
    ):
        on.client.call(lambda: sender.bind(("eth0", 0)))
        with loaded.attached(on.server, mode):
            on.hold_server()
            for tag in tags:
                sender.send(made.ethernet(made.ipv4(proto=253), *tag) + bytes(30))
            while loaded.counts()["packets"] < len(tags):
                pass
        counts = dict(zip(KERNEL_REASONS, loaded.counts()["reason"].tolist(), strict=False))
    assert (counts["ok"], counts["not_ip"]) == (3, 2)


@pytest.mark.root
@pytest.mark.bpf
@pytest.mark.parametrize("hook", HOOKS)
def test_a_frame_without_a_link_layer_is_parsed_as_in_a_capture_of_raw_ip(hook, tmp_path):
    """The packets of the table without their Ethernet header, cut at every length, and other versions."""
    whole = {frame[14:] for row in ROWS.values() for frame, _ in row} | {bytes([n]) * 60 for n in range(256)}
    given = [packet[:size] for packet in sorted(whole) for size in (*range(min(len(packet), 70)), len(packet))]
    path = tmp_path / "made.pcap"
    path.write_bytes(made.pcap(list(enumerate(given)), link=101))
    capture = packets.Packets(path, rules="both")
    rows = np.concatenate([piece.copy() for piece in capture])
    with Program(Variant(hook, probe=True, link="bare")) as loaded:
        seen = loaded.probe(np.zeros(len(given), PROBE), given)
    counts = np.bincount(seen["reason"].astype(int), minlength=len(REASONS))
    assert dict(zip(REASONS, counts.tolist(), strict=True)) == {name: capture.counts()[name] for name in REASONS}
    assert all(counts)
    at = np.cumsum([16 + len(packet) for packet in given]) - [len(packet) for packet in given] + 24
    ok = seen["reason"] == 0
    np.testing.assert_array_equal(rows["offset"], at[ok])
    x = seen["x"][ok] >> Q
    for column, feature in {"proto": 2, "sport": 0, "dport": 1}.items():
        np.testing.assert_array_equal(rows[column], x[:, feature])
    said = ~np.isin(x[:, 3], (0, 40))  # a reader of captures replaces a length field of 0: IPv4's, and IPv6's less 40
    np.testing.assert_array_equal(rows["len"][said], x[said, 3])
    assert said.any() and not said.all()


CAPTURES = [config.SAMPLE, *sorted(SHARED.glob("*.pcap"))]


@pytest.mark.root
@pytest.mark.bpf
@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("name", KERNEL_PROGRAMS)
def test_every_packet_of_every_capture_has_the_same_features_and_verdict_in_the_kernel(name, hook, models):
    with load_program(name, models["multi"], hook) as loaded:
        for path in CAPTURES:
            capture = packets.read(path, ipv6=True)
            x, _ = library.extract(capture.rows)
            seen = replay(loaded, capture)
            np.testing.assert_array_equal(seen["x"], x, err_msg=path.name)
            np.testing.assert_array_equal(
                seen["verdict"], classify_in_c(models["multi"], name, x)[1], err_msg=path.name
            )


def test_a_test_run_that_the_kernel_refuses_is_an_error():
    no_program = -1
    with pytest.raises(OSError, match="BPF_PROG_TEST_RUN: "):
        library.test_runs(no_program, np.zeros((3, 64), np.uint8), np.full(3, 64, np.uint32), np.ones(3, np.uint32))


@pytest.mark.parametrize("struct", STRUCTS)
def test_the_integer_logits_that_a_classifier_has_are_returned(struct, models, detector, flows):
    model, x = detector if struct == "nn_log2" else models["multi"], flows.x[:50]
    logits, classes = library.predict(struct, model.params(struct), model.n_classes, x)
    assert classes.shape == (50,)
    if STRUCTS[struct].logits:
        np.testing.assert_array_equal(logits, model.twins[struct].logits(x))
        assert logits.shape == (50, model.n_classes)
    else:
        assert logits is None and struct not in model.twins
