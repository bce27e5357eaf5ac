"""bpf/flow.h against the NumPy reference, and both against Sec. IV-C worked out by hand.

Covers also: ids_repro.data.flow.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ids_repro import config
from ids_repro.data import packets
from ids_repro.data.flow import reference
from ids_repro.native import library
from ids_repro.native.layouts import ROW, Q

HEADER = "".join((config.BPF / name).read_text() for name in ("parse.h", "flow.h"))
SUBSET = config.ROOT.parent / "shared" / "cic-ids2017"
# Packets and flows of each capture. Only some checkouts have the subset of CIC-IDS2017 beside them.
CAPTURES = {config.SAMPLE: None} | {
    SUBSET / name: counts
    for name, counts in {"thu_webattack_xss.pcap": (9374, 661), "thu_webattack_sqli.pcap": (94, 10)}.items()
    if (SUBSET / name).exists()
}
SECOND = 10**9
ONE = 1 << Q
A, B = (0x0A000001, 40000), (0x0A000002, 80)


def rows(*sent):
    """Make packets of (time [ns], source, destination, protocol, length, TCP flags)."""
    out = np.zeros(len(sent), ROW)
    for row, (ts_ns, source, sink, proto, length, flags) in zip(out, sent, strict=True):
        row["ts_ns"], row["proto"], row["len"], row["tcp_flags"] = ts_ns, proto, length, flags
        (row["saddr"], row["sport"]), (row["daddr"], row["dport"]) = source, sink
    return out


def both(given_rows):
    """Return features and flows of the reference, after checking that C gives the same bits."""
    expected, found = reference(given_rows), library.extract(given_rows)
    for name, left, right in zip(("x", "flow"), expected, found, strict=True):
        np.testing.assert_array_equal(right, left, err_msg=name)
        assert right.dtype == left.dtype
    return expected


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_c_equals_the_reference_on_real_packets(path):
    x, flow = both(packets.read(path).rows)
    assert (x >= 0).all()
    if CAPTURES[path]:
        assert (len(x), len(np.unique(flow))) == CAPTURES[path]


def test_three_packets_by_hand():
    """Sec. IV-C: 60 bytes there, 250 us later 40 back, 100 us later 101 there; the stamps' last digits are cut off."""
    x, flow = both(
        rows(
            (SECOND, A, B, 6, 60, 0x02),
            (SECOND + 250_999, B, A, 6, 40, 0x12),
            (SECOND + 350_001, A, B, 6, 101, 0x10),
        )
    )
    assert flow.tolist() == [0, 0, 0]
    exact = [
        [40000, 80, 6, 60, 1, 0, 60, 1, 0, 0, 0, 0],
        [80, 40000, 6, 40, 0, 250, 50, 0.5, 125, 10, 0.5, 125],
        [40000, 80, 6, 101, 1, 100, 67, 2 / 3, 350 / 3, 34, 1 / 3, 50 / 3],
    ]
    np.testing.assert_allclose(x / ONE, exact, atol=1 / ONE)
    # rounded down: 2/3 of 65536 is 43690.67, 350/3 is 7645866.67
    assert x[2, 7:9].tolist() == [43690, 7645866]
    assert x[2, 10:].tolist() == [65536 - 43690, 7645866 - 6553600]


@pytest.mark.parametrize(
    ("gaps_s", "flows"),
    [
        ([300], [0, 0]),
        ([300.000001], [0, 1]),
        ([-1, 300], [0, 0, 0]),
        ([300] * 6, [0] * 7),
        ([300] * 5 + [299, 1.000001], [0] * 7 + [1]),
        ([-1000, 1], [0, 0, 0]),
    ],
)
def test_a_flow_ends_after_300_s_of_silence_or_1800_s(gaps_s, flows):
    times = 2000 * SECOND + np.cumsum([0, *(round(gap * SECOND) for gap in gaps_s)])
    assert both(rows(*((int(t), A, B, 17, 100, 0) for t in times)))[1].tolist() == flows


FIN, ACK, RST = 0x01, 0x10, 0x04


@pytest.mark.parametrize(
    ("sent", "flows"),
    [
        ([(A, 0), (B, RST), (A, 0)], [0, 0, 1]),
        ([(A, FIN | ACK), (B, FIN | ACK), (A, ACK), (A, 0)], [0, 0, 0, 1]),
        ([(A, FIN), (B, ACK), (B, FIN), (A, ACK), (B, 0)], [0, 0, 0, 0, 1]),
        ([(A, FIN), (B, FIN), (A, 0), (B, 0)], [0, 0, 0, 0]),
        ([(A, FIN), (A, ACK), (B, FIN), (B, ACK), (B, 0)], [0, 0, 0, 0, 0]),
        ([(A, ACK), (B, FIN), (A, FIN), (B, ACK), (A, 0), (A, ACK), (B, 0)], [0] * 6 + [1]),
    ],
)
def test_tcp_ends_at_rst_or_when_both_fins_are_acknowledged(sent, flows):
    other = {A: B, B: A}
    x, flow = both(rows(*((SECOND + i, at, other[at], 6, 40, flags) for i, (at, flags) in enumerate(sent))))
    assert flow.tolist() == flows
    assert x[np.flatnonzero(np.diff(flow, prepend=-1)), 4].tolist() == [ONE] * len(set(flows))


def test_a_step_back_in_time_counts_as_no_interval():
    x, _ = both(rows(*((s * SECOND, A, B, 17, 100, 0) for s in (10, 7, 8))))
    assert (x[:, 5] / ONE).tolist() == [0, 0, 10**6]


ENDPOINTS = st.tuples(st.sampled_from([0x0A000001, 0x0A000002, 0xFFFFFFFF]), st.sampled_from([0, 53, 65535]))
STEPS_US = st.sampled_from([0, 1, 999, 10**6, -1, -(10**7), 299 * 10**6, 300 * 10**6, 300 * 10**6 + 1])
PACKETS = st.tuples(
    STEPS_US,
    st.integers(0, 999),
    ENDPOINTS,
    ENDPOINTS,
    st.sampled_from([6, 6, 17, 1]),
    st.integers(0, 65535),
    st.sampled_from([0, 0x02, FIN, ACK, FIN | ACK, RST, 0xFF]),
)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.lists(PACKETS, min_size=1, max_size=60))
def test_c_equals_the_reference_on_any_packets(made):
    now_us, sent = 10**9, []
    for step_us, ns, source, sink, proto, length, flags in made:
        now_us = max(now_us + step_us, 0)
        sent.append((now_us * 1000 + ns, source, sink, proto, length, flags))
    both(rows(*sent))


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.lists(st.tuples(STEPS_US, st.booleans(), st.sampled_from([0, FIN, ACK, FIN | ACK])), max_size=60))
def test_c_equals_the_reference_on_one_long_connection(made):
    now_us, sent = 10**9, [(10**12, A, B, 6, 60, 0x02)]
    for step_us, back, flags in made:
        now_us = max(now_us + step_us, 0)
        sent.append((now_us * 1000, *((B, A) if back else (A, B)), 6, 40, flags))
    both(rows(*sent))


def test_many_flows_outgrow_the_first_table():
    """bpf/user/library.c begins with 65,536 places; 50,000 flows make it grow, and each has a second packet."""
    out = np.zeros(100_000, ROW)
    out["ts_ns"] = np.arange(len(out)) * 1000
    out["saddr"], out["daddr"], out["proto"] = np.arange(len(out)) % 50_000, 7, 17
    x, flow = library.extract(out)
    np.testing.assert_array_equal(flow, np.arange(len(out)) % 50_000)
    assert (x[50_000:, 5] == 50_000 * ONE).all()
