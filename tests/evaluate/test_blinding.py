"""Floods of new flows, the flows in their background, and what share of these finds its state.

Covers also: ids_repro.report.blinding.
"""

import numpy as np
import pytest

from ids_repro import config, records
from ids_repro.evaluate import blinding
from ids_repro.evaluate.blinding import Flood, background_runs, flood_runs
from ids_repro.report.blinding import exhibit
from ids_repro.report.exhibit import Results


def ends(runs) -> list[tuple]:
    return [tuple(int(frame[name]) for name in ("saddr", "sport", "daddr", "dport")) for frame in runs["frame"]]


def test_each_packet_of_a_flood_is_of_a_new_flow_at_its_time():
    runs = flood_runs(Flood(1000), 0, 60_000)
    assert len(set(ends(runs))) == 60_000
    assert runs["probe"]["now_ns"][[0, 1, 59_999]].tolist() == [0, 10**6, 59_999 * 10**6]


def test_flows_of_a_flood_may_have_several_packets_and_forged_answers():
    plain, answered = (ends(flood_runs(Flood(1000, 4, forged), 4, 12)) for forged in (False, True))
    assert [len(set(part)) for part in (plain[:4], plain)] == [1, 2]
    assert answered[0] == answered[2] == plain[0]
    assert answered[1] == answered[3] == (*plain[0][2:], *plain[0][:2])


def test_the_background_has_its_flows_and_gaps_and_both_directions():
    runs, begins = background_runs(20)
    at, end = runs["probe"]["now_ns"].astype(np.int64), ends(runs)
    assert (np.diff(at) >= 0).all() and at[-1] < 20 * 10**9
    assert begins.sum() == blinding.BACKGROUND_FLOWS
    assert sum(one[0] == blinding.SERVER for one in end) > 0.3 * len(end)
    clients = [one[0] if one[0] != blinding.SERVER else one[2] for one in end]
    counts = np.unique(clients, return_counts=True)[1]
    assert counts.max() > 1000 and counts.min() < 10, "gaps reach from 10 ms to 10 s"


@pytest.mark.root
@pytest.mark.bpf
def test_shares_become_records_and_the_records_a_table_and_a_figure(tmp_path):
    floods = (Flood(0), Flood(200_000), Flood(200_000, 4, answered=True))
    profile = config.profile("smoke", flood_s=0.05)
    made = blinding.measure(profile, tmp_path, sizes=(1024,), floods=floods)
    assert [one["asked"]["table"] for one in made] == ["lru"] * 3 + ["shared"] * 3
    shares = {
        (r["asked"]["table"], r["asked"]["rate_pps"], r["asked"]["packets"]): r["raw"]["share_found"] for r in made
    }
    assert shares["lru", 200_000, 1] < shares["shared", 200_000, 1]
    found = exhibit(Results(records.read(tmp_path)))
    assert [name for name in ("Room for 1,024 flows", "answers forged", "unkept") if name not in found.markdown()] == []
    assert found.chart is not None and found.has_records
    assert not exhibit(Results([])).has_records
