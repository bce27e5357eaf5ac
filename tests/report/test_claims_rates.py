"""Claims about throughput and CPU beyond those of test_claims.py: what is alike, and when a CPU is fully used."""

import pytest
import synthetic

from ids_repro import records
from ids_repro.report import claims
from ids_repro.report.exhibit import Results
from ids_repro.report.verdicts import DIFFERS, HOLDS, NOT_COMPARABLE, NOT_MEASURED

ALIKE = "alike_percent.xdp_drv_nn_fused+xdp_skb_nn_fused+tc_nn_fused"
CPU = "cpu_full_percent.xdp_drv_nn_fused"


def judged(folder, capacities, rates=synthetic.FRAMES_PPS, repeats=3):
    synthetic.frames(folder / "a.jsonl", capacities=capacities, rates=rates, repeats=repeats)
    return claims.table(Results(records.read(folder))).set_index("id")


@pytest.mark.parametrize(("slowest", "verdict"), [(390e3, HOLDS), (200e3, DIFFERS)])
def test_mechanisms_differ_little_if_the_slowest_receives_four_fifths(tmp_path, slowest, verdict):
    lines = judged(tmp_path, {"xdp_drv_nn_fused": 400e3, "xdp_skb_nn_fused": 500e3, "tc_nn_fused": slowest})
    line = lines.loc[ALIKE]
    assert line["verdict"] == verdict and line["ours"] == pytest.approx(slowest / 4e3)
    assert line["paper"] == "their differences are limited" and line["tolerance"] == "at least 80 %"


def test_the_cpu_is_judged_where_packets_are_lost(tmp_path):
    lines = judged(tmp_path, {"xdp_drv_nn_fused": 2e6, "xdp_drv_nn_q16_paper": 400e3})
    assert lines.loc[CPU, "verdict"] == NOT_COMPARABLE and "it loses nothing there" in lines.loc[CPU, "reason"]
    line = lines.loc["cpu_full_percent.xdp_drv_nn_q16_paper"]
    assert (line["verdict"], line["ours"]) == (HOLDS, 100) and "it receives 49.5 % there" in line["reason"]
    assert judged(tmp_path / "slow", {"xdp_drv_nn_fused": 9e4}, (5e4, 2e5)).loc[CPU, "verdict"] == NOT_COMPARABLE


def test_a_bypass_that_sleeps_differs_from_one_that_polls(tmp_path):
    name = "bypass_percent.afxdp_nn_fused"
    line = judged(tmp_path, {"afxdp_nn_fused": 1e6}).loc[name]
    assert (line["verdict"], line["ours"], line["high"]) == (DIFFERS, pytest.approx(10.1, abs=0.01), 100)
    assert "10 % at 100 kpps, 100 % at 3,000 kpps; our AF_XDP program sleeps" in line["reason"]
    dpdk = judged(tmp_path / "dpdk", {"dpdk_nn_fused": 1e6}).loc["bypass_percent.dpdk_nn_fused"]
    assert dpdk["verdict"] == DIFFERS and "; DPDK polls, so" in dpdk["reason"] and "AF_XDP" not in dpdk["reason"]
    assert judged(tmp_path / "polls", {"afxdp_nn_fused": 1e5}).loc[name, "verdict"] == HOLDS
    assert judged(tmp_path / "none", {"no_filter": 1e6}).loc[name, "verdict"] == NOT_MEASURED


def test_a_method_that_lost_in_each_trial_has_a_rate_below_its_slowest_one(tmp_path):
    synthetic.frames(tmp_path / "a.jsonl", capacities={"xdp_drv_nn_fused": 90e3})
    exhibit = claims.exhibit(Results(records.read(tmp_path)))
    text = exhibit.blocks[0].frame.set_index("Claim")
    shown = text.loc["XDP_DRV (NN fused): highest sending rate without loss (ours: at most 1 %)"]
    assert shown["Ours"] == "< 100,000 pps" and shown["Verdict"] == DIFFERS and shown["Reason"].startswith("< 100 kpps")


MORE = "more.no_loss.xdp_drv_nn_fused+xdp_skb_nn_fused+tc_nn_fused.rawsock1_nn_fused"
ORDER = "order.xdp_drv_nn_fused+xdp_skb_nn_fused+tc_nn_fused"
IN_KERNEL = {"xdp_drv_nn_fused": 600e3, "xdp_skb_nn_fused": 600e3}


@pytest.mark.parametrize(
    ("tc", "socket", "verdict"),
    [(600e3, 200e3, HOLDS), (310e3, 303e3, NOT_COMPARABLE), (200e3, 600e3, DIFFERS)],
)
def test_rates_within_each_others_brackets_are_not_said_to_differ(tmp_path, tc, socket, verdict):
    some, rates = IN_KERNEL | {"tc_nn_fused": tc, "rawsock1_nn_fused": socket}, (100e3, 300e3, 400e3, 700e3)
    line = judged(tmp_path, some, rates, repeats=5).loc[MORE]
    assert line["verdict"] == verdict
    assert ("within their intervals they are equal" in line["reason"]) == (verdict == NOT_COMPARABLE)
    assert "brackets cover the median search with 94 %" in line["reason"]


@pytest.mark.parametrize(("tc", "socket", "verdict"), [(600e3, 200e3, HOLDS), (200e3, 600e3, NOT_COMPARABLE)])
def test_three_searches_are_too_few_to_refute_the_paper(tmp_path, tc, socket, verdict):
    some, rates = IN_KERNEL | {"tc_nn_fused": tc, "rawsock1_nn_fused": socket}, (100e3, 300e3, 400e3, 700e3)
    line = judged(tmp_path, some, rates).loc[MORE]
    assert line["verdict"] == verdict and "brackets cover the median search with 75 %" in line["reason"]
    assert ("too few searches" in line["reason"]) == (verdict == NOT_COMPARABLE)
    assert "they are equal" not in line["reason"]


def test_without_a_search_no_rate_holds_or_differs(tmp_path):
    """At the profile's own rates alone, 200,000 to 1,600,000 packets/s."""
    some, rates = IN_KERNEL | {"tc_nn_fused": 600e3, "rawsock1_nn_fused": 90e3}, (200e3, 450e3, 800e3, 1.6e6)
    lines = judged(tmp_path, some, rates)
    fast, slow = (lines.loc[f"no_loss_pps.{method}"] for method in ("xdp_drv_nn_fused", "rawsock1_nn_fused"))
    assert {fast["verdict"], slow["verdict"], lines.loc[MORE, "verdict"]} == {NOT_COMPARABLE}
    assert (fast["ours"], slow["ours"]) == (450e3, "< 200,000 pps")
    assert fast["reason"].startswith("no search, only the profile's rates were tried: 450 kpps; 12 trials of 200 to")
    assert lines.loc[MORE, "reason"].endswith("TC (NN fused) 450 kpps, 1-core Rawsocket (NN fused) < 200 kpps")


def test_a_searched_line_is_judged_even_where_another_has_more_trials(tmp_path):
    synthetic.sweep(tmp_path / "a.jsonl", repeats=9, capacities={"xdp_drv_nn_fused": 1e6})
    line = judged(tmp_path, {"xdp_drv_nn_fused": 350e3}).loc["no_loss_pps.xdp_drv_nn_fused"]
    assert line["verdict"] == HOLDS and "live frames" in line["reason"]


@pytest.mark.parametrize(("tc", "verdict"), [(500e3, HOLDS), (604e3, HOLDS), (610e3, NOT_COMPARABLE), (640e3, DIFFERS)])
def test_an_order_that_only_noise_upsets_is_not_said_to_differ(tmp_path, tc, verdict):
    """Each repeat is 1 % slower than the one before, so medians of three are in ranges of 1 % on either side."""
    line = judged(tmp_path, IN_KERNEL | {"tc_nn_fused": tc}).loc[ORDER]
    assert line["verdict"] == verdict
    assert ("within their intervals they are equal" in line["reason"]) == (verdict == NOT_COMPARABLE)
