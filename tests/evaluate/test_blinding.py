"""Floods of new flows, the flows in their background, and what share of these finds its state.

Covers also: ids_repro.evaluate.floods, ids_repro.report.blinding.
"""

import numpy as np
import pytest

from ids_repro import config, records
from ids_repro.data.features import FEATURES
from ids_repro.data.packet_table import FRAME
from ids_repro.evaluate import blinding
from ids_repro.evaluate.blinding import pass_flooded
from ids_repro.evaluate.floods import BACKGROUND_FLOWS, SECOND, SERVER, Flood, background, flood_before
from ids_repro.kernel.program import Program
from ids_repro.kernel.variants import Variant
from ids_repro.native.layouts import FOUND
from ids_repro.report.blinding import exhibit
from ids_repro.report.exhibit import Results


def frame(saddr: int, daddr: int, sport: int, dport: int) -> bytes:
    """A TCP packet of 60 bytes."""
    made = np.zeros(1, FRAME)
    made["ethertype"], made["version"], made["offset"], made["proto"], made["len"] = 0x0800, 0x45, 5 << 4, 6, 60
    made["saddr"], made["daddr"], made["sport"], made["dport"] = saddr, daddr, sport, dport
    return made.tobytes()


def test_each_packet_of_a_flood_comes_before_one_packet_and_at_its_time():
    at_ns = np.array([0, 5, 10, 10, 12], np.uint64) * SECOND
    part = flood_before(Flood(1000, 2, answered=True), at_ns, begin_ns=5 * SECOND)
    assert part["number"].tolist() == [0, 0, 0, 5000, 5000]
    assert part["left"].tolist() == [0, 0, 5000, 0, 2000]
    assert part["now_ns"].tolist() == [5 * SECOND] * 3 + [10 * SECOND] * 2
    assert set(part["gap_ns"].tolist()) == {SECOND // 1000}
    assert not flood_before(Flood(0), at_ns, 0)["left"].any()


@pytest.mark.root
@pytest.mark.quiet
@pytest.mark.bpf
@pytest.mark.parametrize("table", ["shared", "lru"])
@pytest.mark.parametrize(("packets", "answered"), [(1, False), (4, False), (4, True)])
def test_the_kernel_makes_the_flows_of_a_flood_before_the_packet(packets, answered, table):
    """The packet is of the flood's last flow, of which one packet has not passed yet."""
    n, start = 60_000 - 1, blinding.START_NS
    flow = n // packets
    ends = (0x0B000000 + flow // 50_000, 0xC0A80001, 1024 + flow % 50_000, 80)
    at_ns = np.array([start + n * 1000], np.uint64)
    with Program(Variant(blinding.HOOK, probe=True, flows=1 << 20, table=table)) as program:
        (out,) = pass_flooded(program, at_ns, [frame(*ends)], Flood(1_000_000, packets, answered), start)
        counts = program.counts()
    assert counts["packets"] == n + 1
    if table == "shared":
        found = dict(zip(FOUND, counts["found"].tolist(), strict=False))
        assert (found["started"], found["known"]) == (-(-(n + 1) // packets), n + 1 - -(-(n + 1) // packets))
    x = dict(zip(FEATURES, (out["x"] / 2**16).tolist(), strict=True))
    earlier = packets - 1
    assert (out["first"], x["sport"], x["dport"]) == (earlier == 0, ends[2], 80)
    forward = 1 + (earlier - earlier // 2 if answered else earlier)
    assert x["dir_mean"] == pytest.approx(forward / packets, abs=1e-4)
    assert (x["iat"], x["len_mean"]) == (1 if earlier else 0, 60)


def test_the_background_has_its_flows_and_gaps_and_both_directions():
    at_ns, frames, begins = background(20)
    frames = np.frombuffer(b"".join(frames), FRAME)
    assert (np.diff(at_ns.astype(np.int64)) >= 0).all() and at_ns[-1] < 20 * SECOND
    assert begins.sum() == BACKGROUND_FLOWS
    back = frames["saddr"] == SERVER
    assert back.mean() > 0.3
    counts = np.unique(np.where(back, frames["daddr"], frames["saddr"]), return_counts=True)[1]
    assert counts.max() > 1000 and counts.min() < 10, "gaps reach from 10 ms to 10 s"


@pytest.mark.root
@pytest.mark.quiet
@pytest.mark.bpf
def test_shares_become_records_and_the_records_a_table_and_a_figure(tmp_path):
    floods = (Flood(0), Flood(3_000_000), Flood(3_000_000, 4, answered=True))
    profile = config.profile("smoke", flood_s=0.05)
    made = blinding.measure(profile, tmp_path, sizes=(1 << 12,), floods=floods)
    assert [one["asked"]["table"] for one in made] == ["lru"] * 3 + ["shared"] * 3
    shares = {
        (r["asked"]["table"], r["asked"]["rate_pps"], r["asked"]["packets"]): r["raw"]["share_found"] for r in made
    }
    assert shares["lru", 3_000_000, 4] < shares["shared", 3_000_000, 4]
    found = exhibit(Results(records.read(tmp_path)))
    assert [name for name in ("Room for 4,096 flows", "answers forged") if name not in found.markdown()] == []
    assert found.chart is not None and found.has_records
    assert not exhibit(Results([])).has_records


@pytest.mark.root
@pytest.mark.quiet
@pytest.mark.bpf
def test_a_flood_hides_attacks_behind_the_lru_map_and_not_behind_our_table(models, sample, everything, tmp_path):
    profile = config.profile("smoke", flooded_s=1.0)
    made = blinding.measure_verdicts(models["binary"], sample, everything, profile, tmp_path, flows=1 << 14)
    packets = [one["raw"]["packets"] for one in made]
    assert packets.count(packets[0]) == 8 and sum(packets[0].values()) > 100
    asked = [(one["asked"]["table"], one["asked"]["rate_pps"], one["asked"]["packets"]) for one in made]
    alarms = dict(zip(asked, (one["raw"]["flagged"] for one in made), strict=True))
    without = alarms["shared", 0, 1]
    changed = {case: sum(abs(alarms[case][name] - without[name]) for name in without) for case in alarms}
    assert changed["lru", 0, 1] == 0
    # A flow that has not proven itself yet may lose its place.
    assert max(changed["shared", 3_000_000, 1], changed["shared", 3_000_000, 2]) <= 0.01 * sum(packets[0].values())
    assert changed["lru", 3_000_000, 2] > 0.01 * sum(packets[0].values())
    assert "Packets of attacks that are flagged" in exhibit(Results(records.read(tmp_path))).markdown()
