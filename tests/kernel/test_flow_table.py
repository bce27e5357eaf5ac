"""The flow table of kernel and user space: the same states and evictions; no flow is lost before its bucket is full."""

import ipaddress
import itertools
import os
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ids_repro.config import UserError
from ids_repro.data.features import FEATURES
from ids_repro.data.packet_table import Trace
from ids_repro.evaluate.blinding import share_found
from ids_repro.evaluate.floods import Flood
from ids_repro.kernel.program import Program
from ids_repro.kernel.variants import Variant, require_table, table_bytes
from ids_repro.native import library
from ids_repro.native.layouts import FOUND, KERNEL_REASONS, PROBE, ROW

SERVER = 0xC0A80001
ROOM = 1 << 20  # flows: no bucket is full with the flows of these tests


def traffic(n_packets: int, n_flows: int, seed: int = 0) -> np.ndarray:
    """Return packets of TCP and UDP flows in both directions, some out of order; dtype ROW.

    One packet in seven is of 500 flows, so that some flows are long. TCP's flags begin and end flows.
    """
    rng = np.random.default_rng(seed)
    rows = np.zeros(n_packets, ROW)
    flow = rng.integers(0, n_flows, n_packets)
    flow[::7] = rng.integers(0, 500, len(flow[::7]))
    back = rng.random(n_packets) < 0.3
    client, port = 0x0A000000 + flow, 1024 + flow % 50_000
    rows["saddr"], rows["daddr"] = np.where(back, SERVER, client), np.where(back, client, SERVER)
    rows["sport"], rows["dport"] = np.where(back, 80, port), np.where(back, port, 80)
    rows["len"], rows["proto"] = rng.integers(40, 65536, n_packets), np.where(flow % 3, 6, 17)
    flags = rng.choice([0x02, 0x10, 0x01, 0x11, 0x04, 0x12], n_packets, p=[0.3, 0.5, 0.05, 0.1, 0.01, 0.04])
    rows["tcp_flags"] = np.where(rows["proto"] == 6, flags, 0)
    late = np.where(rng.random(n_packets) < 0.01, rng.integers(0, 10**9, n_packets), 0)
    rows["ts_ns"] = 10**18 + np.cumsum(rng.integers(0, 10**6, n_packets)) - late
    return rows


@pytest.mark.root
@pytest.mark.bpf
@pytest.mark.parametrize("hook", ["xdp", "tc"])
def test_the_kernel_evicts_the_flows_that_user_space_evicts(hook):
    """100,000 flows in a table of 1,024: every feature, every start of a flow and every count is the same."""
    rows = traffic(150_000, 100_000)
    probes = np.zeros(len(rows), PROBE)
    probes["now_ns"] = rows["ts_ns"]
    with Program(Variant(hook=hook, probe=True, flows=1024)) as program:
        seen = program.probe(probes, Trace(rows).headers())
        x, first, found = library.extract_fixed(rows, 1024, program.secret)
        np.testing.assert_array_equal(seen["x"], x)
        np.testing.assert_array_equal(seen["first"], first)
        assert program.counts()["found"].tolist()[: len(found)] == list(found.values())
        assert 1000 < program.flows_held() <= 1024, "a flow that ended has given its place back"
        assert min(list(found.values())[:4]) > 0, "each way to lose a place, or to get one, is there"
        program.reset()
        assert program.flows_held() == 0


@pytest.mark.parametrize("seed", range(3))
def test_until_a_bucket_is_full_features_are_those_of_the_table_that_grows(seed):
    rows = traffic(100_000, 20_000, seed)
    rows["len"][::11] = 65_536 + np.arange(len(rows[::11]))  # lengths of jumbograms have no place in a packed state
    x, _, found = library.extract_fixed(rows, ROOM, secret=seed + 1)
    np.testing.assert_array_equal(x, library.extract(rows)[0])
    assert found["evicted_unproven"] == found["evicted_proven"] == 0


def test_the_shipped_capture_has_the_same_features_in_both_tables(sample):
    x, _, _ = library.extract_fixed(sample.rows, ROOM, secret=12345)
    np.testing.assert_array_equal(x, library.extract(sample.rows)[0])


def test_which_flows_are_evicted_depends_on_the_secret():
    rows = traffic(20_000, 5_000)
    firsts = [library.extract_fixed(rows, 1024, secret)[1] for secret in (1, 2, 1)]
    assert (firsts[0] != firsts[1]).any()
    np.testing.assert_array_equal(firsts[0], firsts[2])


def flow_hash(words: tuple[int, ...], secret: int) -> int:
    """The keyed hash of bpf/keyed_hash.h, in Python."""
    mask = (1 << 64) - 1

    def key(i: int) -> int:
        z = secret + (i + 1) * 0x9E3779B97F4A7C15 & mask
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
        return z ^ z >> 31

    def product(word: int, key: int) -> int:
        return (word + key & 0xFFFFFFFF) * ((word >> 32) + (key >> 32) & 0xFFFFFFFF)

    h = sum(product(word, key(i)) for i, word in enumerate(words)) & mask
    h = (h ^ h >> 32) * (key(3) | 1) & mask
    return h ^ h >> 32


def by_the_words(rows: np.ndarray, flows: int, secret: int) -> list[str]:
    """What becomes of each packet's flow by bpf/README.md, without TCP's ends. A tick is 2^28 ns."""
    table = [[None] * 8 for _ in range(flows // 8)]
    out = []
    for row in rows:
        ends = sorted((int(row[a]), int(row[p])) for a, p in (("saddr", "sport"), ("daddr", "dport")))
        key = (ends[0][0], ends[1][0], ends[0][1] | ends[1][1] << 16 | int(row["proto"]) << 32)
        bucket = table[flow_hash(key, secret) & (flows // 8 - 1)]
        now_us, tick, sender = int(row["ts_ns"]) // 1000, int(row["ts_ns"]) >> 28, int(row["saddr"])
        idle = [flow is not None and tick - flow["tick"] > 112 for flow in bucket]
        way = next((w for w, flow in enumerate(bucket) if flow and flow["key"] == key), None)
        if way is None:
            found, free = "started", [w for w in range(8) if bucket[w] is None]
            if free:
                way = free[-1]
            else:
                # To the microsecond if the flow is not proven; to the tick if it is.
                idle_us = [(4 * (tick - f["tick"]) + 2) * 67109 if f["proven"] else now_us - f["last"] for f in bucket]
                way = max((w for w in range(8) if idle[w] or not bucket[w]["proven"]), key=lambda w: (idle_us[w], w))
                found = "evicted_proven" if bucket[way]["proven"] else "evicted_unproven"
                if idle_us[way] > 300e6:
                    found = "started"
            flow = bucket[way] = {"key": key, "first": now_us, "n": 0, "ends": set(), "proven": False}
        else:
            found, flow = "known", bucket[way]
            if now_us - flow["last"] > 300e6 or now_us - flow["first"] > 1800e6:
                found = "started"
                flow |= {"first": now_us, "n": 0, "ends": set(), "proven": False}
        flow["n"], flow["last"] = flow["n"] + 1, now_us
        flow["ends"].add(sender)
        if not flow["proven"] or idle[way]:
            others = sum(f is not None and f["proven"] and not idle[w] for w, f in enumerate(bucket) if w != way)
            earned = len(flow["ends"]) == 2 or (flow["n"] >= 4 and now_us - flow["first"] >= 1e6)
            flow["proven"] = earned and others < 6
        flow["tick"] = tick
        out.append(found)
    return out


def udp_or_tcp(rows: np.ndarray, at: int, saddr: str, sport: int, daddr: str, dport: int, proto: int) -> None:
    """Set the ends of one packet."""
    ends = {"saddr": int(ipaddress.ip_address(saddr)), "sport": sport, "daddr": int(ipaddress.ip_address(daddr))}
    for name, value in (ends | {"dport": dport, "proto": proto}).items():
        rows[name][at] = value


def test_two_flows_share_no_hash_for_every_secret():
    """With multiples of one secret as keys these two flows did: their words' differences cancelled."""
    rows = np.zeros(2, ROW)
    udp_or_tcp(rows, 0, "10.0.0.1", 40000, "192.168.0.1", 80, 6)
    udp_or_tcp(rows, 1, "21.120.242.182", 23034, "113.105.79.146", 17430, 6)
    rows["len"], rows["ts_ns"], rows["tcp_flags"] = 100, 10**18, 0x10
    firsts = [library.extract_fixed(rows, 1024, secret)[1].sum() for secret in range(2000)]
    assert set(firsts) == {2}


@pytest.mark.parametrize("step", [1, 2, 1 << 16, 1 << 31])
def test_flows_spread_over_the_buckets_whatever_differs(step):
    """Flows whose addresses or ports are a step apart: no bucket of 2,048 gets many more than its share of 8 a flow."""
    for where in range(3):
        words = [[10 << 24, 192 << 24, 80 | 40_000 << 16 | 6 << 32] for _ in range(16_384)]
        for i, word in enumerate(words):
            word[where] = (word[where] + i * step) % (1 << 64)
        counts = Counter(flow_hash(tuple(word), 12345) & 2047 for word in words)
        assert max(counts.values()) < 30, (where, step)


@pytest.mark.parametrize("seed", range(3))
def test_flows_lose_their_places_by_the_rule_as_it_is_written_down(seed):
    """UDP flows in a table of 1,024, some of them answered, some idle for long."""
    rng = np.random.default_rng(seed)
    n = 40_000
    rows = np.zeros(n, ROW)
    flow = np.where(rng.random(n) < 0.5, rng.integers(0, 900, n), rng.integers(0, 20_000, n))
    back = (rng.random(n) < 0.4) & (flow % 3 > 0)
    client = 0x0A000000 + flow
    rows["saddr"], rows["daddr"] = np.where(back, SERVER, client), np.where(back, client, SERVER)
    rows["sport"], rows["dport"] = np.where(back, 80, 1024), np.where(back, 1024, 80)
    rows["len"], rows["proto"] = rng.integers(40, 1500, n), 17
    rows["ts_ns"] = 10**18 + np.cumsum((10 ** rng.uniform(3, 7.5, n)).astype(np.int64))
    _, first, found = library.extract_fixed(rows, 1024, secret=seed + 5)
    expected = by_the_words(rows, 1024, secret=seed + 5)
    assert {name: expected.count(name) for name in FOUND} == found
    assert min(found.values()) > 50
    np.testing.assert_array_equal(first, [name != "known" for name in expected])


def test_a_packet_that_comes_late_does_not_make_proven_flows_look_idle():
    """5,000 answered flows fill a table of 1,024; then new flows begin whose packets are stamped a second earlier."""
    n = 5_000
    rows = np.zeros(3 * n, ROW)
    client = 0x0A000000 + np.repeat(np.arange(n), 2)
    back = np.arange(2 * n) % 2 == 1
    rows["saddr"][: 2 * n], rows["daddr"][: 2 * n] = np.where(back, SERVER, client), np.where(back, client, SERVER)
    rows["saddr"][2 * n :], rows["daddr"][2 * n :] = 0x0B000000 + np.arange(n), SERVER
    rows["len"], rows["proto"], rows["ts_ns"] = 100, 17, 10**18
    rows["ts_ns"][2 * n :] -= 10**9
    _, _, found = library.extract_fixed(rows, 1024, secret=7)
    assert found["evicted_proven"] == 0
    assert found["evicted_unproven"] > n


def test_proven_flows_leave_ways_for_new_ones_and_keep_their_own():
    """100,000 answered flows begin within 10 s in a table of 1,024. Each of its 128 buckets may have 6 proven flows."""
    n, again = 100_000, 10_000
    rows = np.zeros(2 * n + again, ROW)
    flow = np.concatenate([np.repeat(np.arange(n), 2), np.arange(again)])
    back = np.arange(len(rows)) % 2 == 1
    back[2 * n :] = False
    client = 0x0A000000 + flow
    rows["saddr"], rows["daddr"] = np.where(back, SERVER, client), np.where(back, client, SERVER)
    rows["len"], rows["proto"] = 100, 17
    rows["ts_ns"] = 10**18 + np.arange(len(rows)) * 50_000
    _, first, found = library.extract_fixed(rows, 1024, secret=7)
    assert first[1 : 2 * n : 2].sum() == 0, "each answer comes at once, and finds its flow"
    assert (first[2 * n :] == 0).sum() == 6 * 128, "the first to be proven are there to the end"
    assert found["evicted_proven"] == 0


@pytest.mark.parametrize("packets", [1, 2, 3])
def test_a_flow_that_begins_in_a_flood_is_there_when_its_answer_comes(packets):
    """3 million packets/s of new flows pass a table of 65,536 for 0.6 s; 2,000 others are answered after some time."""
    rate, n, begins = 3_000_000, 2_000, np.random.default_rng(0).uniform(0.2e9, 0.57e9, 2_000)
    flood = np.zeros(int(rate * 0.6), ROW)
    number = np.arange(len(flood)) // packets
    flood["saddr"], flood["sport"], flood["daddr"] = 0x0B000000 + number // 50_000, 1024 + number % 50_000, SERVER
    flood["ts_ns"] = 10**18 + np.arange(len(flood)) * (10**9 / rate)
    kept = {}
    for ms in (1, 5, 10, 20):
        ends = np.zeros(2 * n, ROW)
        ends["saddr"] = np.concatenate([0x0A000000 + np.arange(n), np.full(n, SERVER)])
        ends["daddr"] = np.concatenate([np.full(n, SERVER), 0x0A000000 + np.arange(n)])
        ends["ts_ns"] = 10**18 + np.concatenate([begins, begins + ms * 1e6])
        rows = np.concatenate([flood, ends])
        rows["len"], rows["proto"] = 60, 17
        order = np.argsort(rows["ts_ns"], kind="stable")
        _, first, _ = library.extract_fixed(rows[order], 1 << 16, secret=7)
        kept[ms] = 1 - first[order >= len(flood) + n].mean()
    assert min(kept[1], kept[5]) > 0.99
    assert kept[10] > 0.9
    assert kept[20] > 0.4


@pytest.mark.parametrize("days", [1, 7, 13, 180])
def test_a_flow_of_one_packet_that_comes_back_after_days_has_timed_out(days):
    rows = np.zeros(3, ROW)
    rows["saddr"], rows["daddr"], rows["len"], rows["proto"] = SERVER + 1, SERVER, 60, 17
    rows["ts_ns"] = 10**18 + np.array([0, days * 86_400 * 10**9, days * 86_400 * 10**9 + 10**9])
    x, first, _ = library.extract_fixed(rows, 1024, secret=7)
    np.testing.assert_array_equal(x, library.extract(rows)[0])
    assert first.tolist() == [1, 1, 0]


def test_a_few_packets_of_an_attacker_do_not_hold_the_table_for_new_flows():
    """A table of 1,024, which 5,000 forged and answered flows would fill, each sent again every 25 s."""
    n, users = 5_000, 2_000
    forged = np.zeros(4 * 2 * n, ROW)
    at = np.arange(len(forged))
    flow, back = at // 2 % n, at % 2 == 1
    forged["saddr"] = np.where(back, SERVER, 0x0B000000 + flow)
    forged["daddr"] = np.where(back, 0x0B000000 + flow, SERVER)
    forged["ts_ns"] = 10**18 + at * (25 * 10**9 // (2 * n))
    new = np.zeros(4 * users, ROW)  # flows of four packets, 1 ms apart
    new["saddr"], new["daddr"] = 0x0A000000 + np.arange(len(new)) // 4, SERVER
    new["ts_ns"] = 10**18 + 30 * 10**9 + np.arange(len(new)) // 4 * 30_000_000 + np.arange(len(new)) % 4 * 1_000_000
    rows = np.concatenate([forged, new])
    rows["len"], rows["proto"] = 60, 17
    order = np.argsort(rows["ts_ns"], kind="stable")
    _, first, _ = library.extract_fixed(rows[order], 1024, secret=7)
    later = first[(order >= len(forged)) & ((order - len(forged)) % 4 > 0)]
    assert len(later) == 3 * users and later.mean() < 0.02


@pytest.mark.root
@pytest.mark.bpf
@pytest.mark.parametrize("flood", [Flood(1_000_000), Flood(1_000_000, packets=2), Flood(1_000_000, 4, answered=True)])
def test_a_flood_of_new_flows_does_not_displace_proven_ones(flood):
    """0.3 s of it start at least 75,000 flows, in a table of 16,384; the map that forgets the oldest loses more."""
    shares = {}
    for table in ("shared", "lru"):
        with Program(Variant("tc", probe=True, flows=1 << 14, table=table)) as program:
            shares[table] = share_found(program, flood, seconds=0.3)
    assert shares["shared"] >= 0.999
    assert shares["lru"] < shares["shared"]


def on_two_cpus(program: Program, *parts: tuple[np.ndarray, np.ndarray]) -> list[np.ndarray]:
    """Pass two parts of packets at the same time, each on a CPU of its own; return the probes of each."""
    cpus, together = sorted(os.sched_getaffinity(0)), threading.Barrier(2)
    assert len(cpus) > 1

    def send(at: int) -> np.ndarray:
        os.sched_setaffinity(0, {cpus[-at]})
        rows = parts[at]
        probes = np.zeros(len(rows), PROBE)
        probes["now_ns"] = rows["ts_ns"]
        frames = Trace(rows).headers()
        together.wait()
        return program.probe(probes, frames)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(send, range(2)))


@pytest.mark.root
@pytest.mark.bpf
@pytest.mark.parametrize("table", ["shared", "lru"])
def test_two_cpus_on_one_bucket_give_the_states_of_some_serial_order(table):
    """For 10 s or more. The CPUs' packets differ in length, so that x7 says how many of each came before a packet."""
    n, lens, total = 4000, np.array([100, 1100]), Counter()
    end = time.monotonic() + (10 if table == "shared" else 1)
    with Program(Variant(probe=True, table=table)) as program:
        for flow in itertools.count():
            parts = np.zeros((2, n), ROW)
            parts["saddr"], parts["daddr"], parts["sport"], parts["dport"] = SERVER + 1 + flow, SERVER, 1024, 80
            parts["proto"], parts["len"], parts["ts_ns"] = 17, lens[:, None], 10**18
            seen = on_two_cpus(program, *parts)
            ok = [part[part["reason"] == KERNEL_REASONS.index("ok")] for part in seen]
            busy = sum((part["reason"] == KERNEL_REASONS.index("busy")).sum() for part in seen)
            assert len(ok[0]) + len(ok[1]) + busy == 2 * n
            assert ok[0]["first"].sum() + ok[1]["first"].sum() == 1
            # x7 of a CPU's i-th packet, after i of its own and k of the other's: (i own + k other) / (i + k).
            before = []
            for own, other, part in ((*lens, ok[0]), (*lens[::-1], ok[1])):
                mean, i = part["x"][:, FEATURES.index("len_mean")] / 2**16, np.arange(1, len(part) + 1)
                k = i * (mean - own) / (other - mean)
                assert np.abs(k - np.round(k)).max() < 0.3  # x7 has 16 fractional bits
                before.append(np.round(k).astype(int))
            assert (np.diff(before[0]) >= 0).all()
            np.testing.assert_array_equal(before[1], np.searchsorted(before[0], np.arange(1, len(ok[1]) + 1), "left"))
            total.update(packets=2 * n, busy=int(busy), mixed=int((np.diff(before[0]) > 0).sum()))
            if time.monotonic() > end + 20 * (total["mixed"] <= 1000):
                break
        counts = program.counts()
    assert counts["packets"] == total["packets"]
    assert counts["reason"][KERNEL_REASONS.index("busy")] == total["busy"]
    if table == "shared":
        assert counts["found"][: len(FOUND)].tolist() == [counts["found"][0], flow + 1, 0, 0]
        assert counts["found"].sum() == total["packets"] - total["busy"]
    assert total["mixed"] > 1000, "the two CPUs did take turns"
    print(f"{table}: {total}")


@pytest.mark.root
@pytest.mark.bpf
def test_two_cpus_with_a_nics_spread_of_flows_are_hardly_ever_busy():
    """Receive-side scaling gives each flow to one CPU. Only flows that share a bucket can meet."""
    rows = traffic(400_000, 50_000)
    parts = [rows[rows["saddr"] + rows["daddr"] & 1 == cpu] for cpu in range(2)]
    with Program(Variant(probe=True)) as program:
        on_two_cpus(program, *parts)
        reasons = dict(zip(KERNEL_REASONS, program.counts()["reason"].tolist(), strict=False))
    print(reasons)
    assert reasons["ok"] + reasons["busy"] == len(rows)
    assert reasons["busy"] < 0.001 * len(rows)


@pytest.mark.parametrize("flows", [0, 512, 1000, 65_537, 1 << 23])
def test_a_size_that_is_no_power_of_two_or_out_of_range_is_refused(flows):
    with pytest.raises(UserError, match="--flows is .*: use a power of two from 1,024 to 4,194,304 flows"):
        require_table(flows)


def test_a_table_says_how_much_memory_it_takes():
    require_table(1024)
    assert table_bytes(1 << 16) == (1 << 16) * 80


@pytest.mark.root
@pytest.mark.bpf
@pytest.mark.parametrize("table", ["shared", "lru"])
def test_no_program_takes_more_memory_than_there_is(table):
    with pytest.raises(UserError, match=r"a flow table of 17,179,869,184 flows needs 1,310,720 MB, and this machine"):
        Program(Variant(flows=1 << 34, table=table))
