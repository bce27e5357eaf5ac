"""The report stands alone, counts every trial and judges each claim by the records only."""

import re

import pytest
import synthetic

from ids_repro import claims, records, report, tables


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return synthetic.everything(tmp_path_factory.mktemp("results"))


def verdicts(rows):
    lines = claims.table(rows)
    return dict(zip(lines["claim"].str.replace(r" \(ours.*", "", regex=True), lines["verdict"], strict=True))


def test_claims_are_judged_by_the_records(rows):
    verdict = verdicts(rows)
    assert verdict["Multi-class: inference time of NN (C) relative to NN (Pytorch)"] == claims.HOLDS
    assert verdict["XDP_DRV (NN): highest sending rate without loss"] == claims.HOLDS
    assert verdict["1-core Rawsocket (NN): highest sending rate without loss"] == claims.HOLDS
    assert verdict["XDP_DRV (NN): received less than No Filter at the highest sending rate"] == claims.HOLDS
    assert verdict["Received at the highest rate: XDP_DRV (NN) ≥ XDP_SKB (NN) ≥ TC (NN)"] == claims.HOLDS
    assert verdict["Highest sending rate, hping3 without an interval"] == claims.HOLDS
    assert verdict["Flows in the dataset: all"] == claims.NOT_MEASURED


def test_a_slower_machine_differs_and_a_slow_sender_cannot_tell(tmp_path, monkeypatch):
    synthetic.sweep(tmp_path / "a.jsonl", capacities={"no_filter": 900e3, "xdp_drv_nn": 100e3})
    verdict = verdicts(records.read(tmp_path))
    assert verdict["XDP_DRV (NN): highest sending rate without loss"] == claims.DIFFERS
    assert verdict["XDP_DRV (NN): received less than No Filter at the highest sending rate"] == claims.DIRECTION
    assert verdict["XDP_DRV (DT): highest sending rate without loss"] == claims.NO_RECORDS
    monkeypatch.setattr(synthetic, "RATES_PPS", {10: 90e3, 0: 180e3})
    synthetic.sweep(tmp_path / "b.jsonl")
    verdict = verdicts(records.read(tmp_path / "b.jsonl"))
    assert verdict["XDP_DRV (NN): highest sending rate without loss"] == claims.NOT_REACHED
    assert verdict["XDP_DRV (NN): received less than No Filter at the highest sending rate"] == claims.NOT_REACHED
    assert verdict["Highest sending rate, hping3 without an interval"] == claims.DIFFERS


@pytest.mark.parametrize(
    ("wrong", "verdict"), [((0, 0), claims.HOLDS), ((9, 9), claims.DIFFERS), ((0, 9), claims.WITHIN)]
)
def test_accuracy_loss_compares_the_same_seeds(tmp_path, wrong, verdict):
    def add(row, seed, errors):
        asked = {"task": "binary", "row": row, "seed": seed, "dataset": "lab capture"}
        confusion = [[50, 0], [errors, 50 - errors]]
        records.append(tmp_path / "a.jsonl", "accuracy", asked, {"confusion": confusion, "unit": "flows"})

    for seed, errors in enumerate(wrong):
        add("nn_pytorch", seed, 0)
        add("nn_c_q16", seed, errors)
    add("nn_c_q16", 7, 50)
    lines = claims.table(records.read(tmp_path))
    line = lines[lines["claim"] == "Binary: accuracy lost from NN (Pytorch) to NN (C)"].iloc[0]
    assert (line.ours, line.verdict, line.paper) == (pytest.approx(sum(wrong) / 2), verdict, 0.6)


def test_without_records_no_claim_is_judged_and_each_section_says_what_to_run():
    assert set(verdicts([]).values()) == {claims.NO_RECORDS, claims.NOT_MEASURED}
    text = report.html([])
    assert "run notebook 04" in text and "run notebook 05" in text and "<svg" not in text


def test_the_page_needs_no_other_file_and_is_the_same_each_time(rows, tmp_path):
    text = report.write(rows, tmp_path).read_text(encoding="utf-8")
    assert text == report.html(rows)
    assert not re.search(r'(?:src|href)="(?!#|https://)[^"]', text) and "<script" not in text
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', text)) <= set(ids)


def test_the_page_counts_trials_and_says_where_numbers_come_from(rows):
    text = report.html(rows)
    counts = len([record for record in rows if record["kind"] == "sweep"]) - 1
    assert f"<td>sweep.jsonl</td><td>{counts}</td><td>1</td><td>0</td><td>{counts}</td>" in text
    assert "hping3 &lt;ended&gt; 1" in text
    made = rows[0]["provenance"]
    for part in (
        made["kernel"],
        made["cpu"],
        made["packages"]["numpy"],
        "lab capture",
        "interval_us",
        "accuracy.jsonl",
    ):
        assert part in text
    assert str(tables.published()["table3"]["rows"]["nn_c_q16"]["accuracy"]) in text
