"""Each claim of the paper is judged by the records only."""

import pandas as pd
import pytest
import synthetic

from ids_repro import records
from ids_repro.report import claims
from ids_repro.report import verdicts as v
from ids_repro.report.exhibit import Results


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return synthetic.everything(tmp_path_factory.mktemp("results"))


def verdicts(rows):
    lines = claims.table(Results(rows))
    return dict(zip(lines["claim"].str.replace(r" \(ours.*", "", regex=True), lines["verdict"], strict=True))


def test_claims_are_judged_by_the_records(rows):
    verdict = verdicts(rows)
    at_800 = "received less than No Filter at 800,000 pps"
    no_loss = "highest sending rate without loss"
    assert {name: verdict[name] for name in EXPECTED} == EXPECTED
    assert verdict[f"XDP_DRV (NN fused): {no_loss}"] == v.HOLDS
    assert verdict[f"XDP_DRV (NN q16) †: {no_loss}"] == v.HOLDS
    assert verdict[f"XDP_DRV (DT): {at_800}"] == v.HOLDS


def test_claims_are_judged_by_trials_of_one_length(rows, tmp_path):
    synthetic.frames(tmp_path / "a.jsonl", repeats=4, capacities={"no_filter": 2e6, "tc_nn_fused": 1e6}, trial_s=5.0)
    assert claims.table(Results([*rows, *records.read(tmp_path)])).equals(claims.table(Results(rows)))


IN_KERNEL = "XDP_DRV (NN fused), XDP_SKB (NN fused), TC (NN fused)"
EXPECTED = {
    "Multi-class: inference time of NN (C, q16) relative to NN (PyTorch)": v.BETTER,
    "Multi-class: inference time of DT (C) relative to DT (sklearn)": v.BETTER,
    "XDP_DRV (Flow Extraction): received less than No Filter at 800,000 pps": v.HOLDS,
    "XDP_DRV (NN fused): received less than No Filter at 800,000 pps": v.HOLDS,
    "Received at the highest rate: XDP_DRV (NN fused) ≥ XDP_SKB (NN fused) ≥ TC (NN fused)": v.HOLDS,
    "Highest sending rate, hping3 without an interval": v.HOLDS,
    "Flows in the dataset: all": v.NOT_MEASURED,
    f"CPU at 300,000 pps: 1-core Rawsocket (NN fused) above {IN_KERNEL}": v.HOLDS,
    f"Highest sending rate without loss: {IN_KERNEL} above 1-core Rawsocket (NN fused)": v.HOLDS,
}


def reason(rows, claim):
    lines = claims.table(Results(rows))
    line = lines[lines["claim"].str.startswith(claim)].iloc[0]
    return line.verdict, line.reason


def test_a_better_net_holds_for_the_reason_that_the_papers_layout_is_slower(tmp_path):
    capacities = {"no_filter": 4e6, "xdp_drv_nn_fused": 2e6, "xdp_drv_nn_q16_paper": 480e3}
    rates = (100e3, 300e3, 450e3, 600e3, 1.5e6, 3e6)
    synthetic.frames(tmp_path / "a.jsonl", capacities=capacities, rates=rates)
    rows = records.read(tmp_path)
    verdict, why = reason(rows, "XDP_DRV (NN fused): highest sending rate")
    assert verdict == v.BETTER
    assert "1,500 [1,500, 3,000] kpps; 18 trials of 100 to 3,000 kpps, live frames, a new flow per packet" in why
    assert "in the paper's layout it is 450 [450, 600] kpps here" in why
    verdict, why = reason(rows, "XDP_DRV (NN fused): received less")
    assert verdict == v.BETTER and "between measured rates of 600 and 1,500 kpps" in why
    assert "in the paper's layout it is 40.6 % here" in why
    assert reason(rows, "XDP_DRV (NN q16) †: received less")[0] == v.BETTER
    assert reason(rows, "Highest sending rate, hping3")[0] == v.NOT_MEASURED


def test_a_slower_machine_differs_and_a_slow_sender_cannot_tell(tmp_path):
    synthetic.frames(tmp_path / "a.jsonl", capacities={"no_filter": 900e3, "xdp_drv_nn_fused": 150e3})
    rows = records.read(tmp_path)
    assert reason(rows, "XDP_DRV (NN fused): highest")[0] == v.DIFFERS
    assert reason(rows, "XDP_DRV (NN fused): received")[0] == v.DIFFERS
    assert reason(rows, "XDP_DRV (DT): highest")[0] == v.NOT_MEASURED
    synthetic.sweep(tmp_path / "b.jsonl", rates={10: 90e3, 0: 180e3})
    rows = records.read(tmp_path / "b.jsonl")
    for claim in (
        "XDP_DRV (NN fused): highest",
        "XDP_DRV (NN fused): received",
        "Received at the highest",
        "CPU at 300,000",
    ):
        verdict, why = reason(rows, claim)
        assert verdict == v.NOT_COMPARABLE and why
    assert reason(rows, "Highest sending rate, hping3")[0] == v.DIFFERS


def test_the_order_of_mechanisms_is_judged_where_packets_are_lost(tmp_path):
    capacities = {"xdp_drv_nn_fused": 900e3, "xdp_skb_nn_fused": 400e3, "tc_nn_fused": 500e3}
    synthetic.frames(tmp_path / "a.jsonl", capacities=capacities)
    verdict, why = reason(records.read(tmp_path), "Received at the highest rate")
    assert (verdict, why) == (v.DIFFERS, "at 3,000 kpps, in kpps: 891, 396, 495")


@pytest.mark.parametrize(("wrong", "verdict"), [((0, 0), v.BETTER), ((9, 9), v.DIFFERS), ((0, 9), v.HOLDS)])
def test_accuracy_loss_compares_the_same_seeds(tmp_path, wrong, verdict):
    def add(row, seed, errors):
        asked = {"task": "binary", "row": row, "seed": seed, "dataset": "lab capture"}
        confusion = [[50, 0], [errors, 50 - errors]]
        records.append(tmp_path / "a.jsonl", "accuracy", asked, {"confusion": confusion, "unit": "flows"})

    for seed, errors in enumerate(wrong):
        add("nn_pytorch", seed, 0)
        add("nn_q16_c", seed, errors)
    add("nn_q16_c", 7, 50)
    lines = claims.table(Results(records.read(tmp_path)))
    line = lines[lines["claim"] == "Binary: accuracy lost from NN (PyTorch) to NN (C, q16)"].iloc[0]
    assert (line.ours, line.verdict, line.paper) == (pytest.approx(sum(wrong) / 2), verdict, 0.6)


def test_without_records_no_claim_is_judged():
    assert set(verdicts([]).values()) == {v.NOT_MEASURED}


def test_every_verdict_is_a_badge(rows):
    exhibit = claims.exhibit(Results(rows))
    assert {one for block in exhibit.blocks for one in block.frame["Verdict"]} <= set(exhibit.badges)


@pytest.mark.parametrize("some", [True, False])
def test_each_cell_and_number_of_the_paper_has_a_line_with_a_reason(rows, some, tmp_path):
    exhibit = claims.exhibit(Results(rows if some else []))
    exhibit.write(tmp_path)
    made = pd.read_csv(tmp_path / "claims.csv")
    assert tuple(made) == claims.COLUMNS and len(made) >= 140 and made["id"].is_unique
    assert made[["id", "source", "paper", "tolerance", "verdict", "reason"]].notna().all(axis=None)
    assert made["record"].notna().eq(made["verdict"] != v.NOT_MEASURED).all()
    assert made["id"].str.startswith("table2.").sum() == 20 and made["id"].str.startswith("table3.").sum() == 92
    assert sum(len(block.frame) for block in exhibit.blocks) == len(made)
    again = made[made["verdict"] == v.NOT_MEASURED]["reason"]
    assert again.str.match(r"measure it: sudo \.venv/bin/\S+ .*(reproduce --only|notebooks/)").all()


def test_a_line_says_by_what_its_records_are_found(rows):
    lines = claims.table(Results(rows)).set_index("id")["record"]
    assert lines["table3.nn_q16_c.web_attack.f1"] == "accuracy.jsonl: 3 records, task=multi, row=nn_q16_c"
    assert lines["no_loss_pps.xdp_drv_dt"] == "sweep.jsonl: 15 records, method=xdp_drv_dt"
