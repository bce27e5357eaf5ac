"""The report stands alone, counts every trial and judges each claim by the records only."""

import re

import pytest
import synthetic

from ids_repro import records
from ids_repro.__main__ import main
from ids_repro.published import published
from ids_repro.report import claims, classification, sweep_figures
from ids_repro.report import page as report


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    synthetic.everything(folder)
    return folder


@pytest.fixture(scope="module")
def rows(results):
    return records.read(results)


@pytest.fixture(scope="module")
def page(rows):
    return report.html(rows)


def verdicts(rows):
    lines = claims.table(rows)
    return dict(zip(lines["claim"].str.replace(r" \(ours.*", "", regex=True), lines["verdict"], strict=True))


def test_claims_are_judged_by_the_records(rows):
    verdict = verdicts(rows)
    at_800 = "received less than No Filter at 800,000 pps"
    no_loss = "highest sending rate without loss"
    assert {name: verdict[name] for name in EXPECTED} == EXPECTED
    assert verdict[f"XDP_DRV (NN): {no_loss}"] == claims.HOLDS
    assert verdict[f"XDP_DRV (NN, paper's layout) †: {no_loss}"] == claims.HOLDS
    assert verdict[f"XDP_DRV (DT): {at_800}"] == claims.HOLDS


EXPECTED = {
    "Multi-class: inference time of NN (C) relative to NN (Pytorch)": claims.BETTER,
    "Multi-class: inference time of DT (C) relative to DT (sklearn)": claims.BETTER,
    "XDP_DRV (Flow Extraction): received less than No Filter at 800,000 pps": claims.HOLDS,
    "XDP_DRV (NN): received less than No Filter at 800,000 pps": claims.HOLDS,
    "Received at the highest rate: XDP_DRV (NN) ≥ XDP_SKB (NN) ≥ TC (NN)": claims.HOLDS,
    "Highest sending rate, hping3 without an interval": claims.HOLDS,
    "Flows in the dataset: all": claims.NOT_COMPARABLE,
    "CPU at 300,000 pps: 1-core Rawsocket (NN) above XDP_DRV (NN), XDP_SKB (NN), TC (NN)": claims.HOLDS,
    "Highest sending rate without loss: XDP_DRV (NN), XDP_SKB (NN), TC (NN) above 1-core Rawsocket (NN)": claims.HOLDS,
}


def reason(rows, claim):
    lines = claims.table(rows)
    line = lines[lines["claim"].str.startswith(claim)].iloc[0]
    return line.verdict, line.detail


def test_a_better_net_holds_for_the_reason_that_the_papers_layout_is_slower(tmp_path):
    capacities = {"no_filter": 4e6, "xdp_drv_nn_fused": 2e6, "xdp_drv_nn_q16_paper": 480e3}
    rates = (100e3, 300e3, 450e3, 600e3, 1.5e6, 3e6)
    synthetic.frames(tmp_path / "a.jsonl", capacities=capacities, rates=rates)
    rows = records.read(tmp_path)
    verdict, why = reason(rows, "XDP_DRV (NN): highest sending rate")
    assert verdict == claims.BETTER
    assert "1,500 [1,500, 3,000] kpps; 18 trials of 100 to 3,000 kpps, live frames, a new flow a packet" in why
    assert "in the paper's layout it is 450 [450, 600] kpps here" in why
    verdict, why = reason(rows, "XDP_DRV (NN): received less")
    assert verdict == claims.BETTER and "between measured rates of 600 and 1,500 kpps" in why
    assert "in the paper's layout it is 40.6 % here" in why
    assert reason(rows, "XDP_DRV (NN, paper's layout) †: received less")[0] == claims.BETTER
    assert reason(rows, "Highest sending rate, hping3")[0] == claims.NO_RECORDS


def test_a_slower_machine_differs_and_a_slow_sender_cannot_tell(tmp_path):
    synthetic.frames(tmp_path / "a.jsonl", capacities={"no_filter": 900e3, "xdp_drv_nn_fused": 150e3})
    rows = records.read(tmp_path)
    assert reason(rows, "XDP_DRV (NN): highest")[0] == claims.DIFFERS
    assert reason(rows, "XDP_DRV (NN): received")[0] == claims.DIFFERS
    assert reason(rows, "XDP_DRV (DT): highest")[0] == claims.NO_RECORDS
    synthetic.sweep(tmp_path / "b.jsonl", rates={10: 90e3, 0: 180e3})
    rows = records.read(tmp_path / "b.jsonl")
    for claim in ("XDP_DRV (NN): highest", "XDP_DRV (NN): received", "Received at the highest", "CPU at 300,000"):
        verdict, why = reason(rows, claim)
        assert verdict == claims.NOT_COMPARABLE and why
    assert reason(rows, "Highest sending rate, hping3")[0] == claims.DIFFERS


def test_the_order_of_mechanisms_is_judged_where_packets_are_lost(tmp_path):
    capacities = {"xdp_drv_nn_fused": 900e3, "xdp_skb_nn_fused": 400e3, "tc_nn_fused": 500e3}
    synthetic.frames(tmp_path / "a.jsonl", capacities=capacities)
    verdict, why = reason(records.read(tmp_path), "Received at the highest rate")
    assert (verdict, why) == (claims.DIFFERS, "at 3,000 kpps, in kpps: 891, 396, 495")


@pytest.mark.parametrize(
    ("wrong", "verdict"), [((0, 0), claims.HOLDS), ((9, 9), claims.DIFFERS), ((0, 9), claims.HOLDS)]
)
def test_accuracy_loss_compares_the_same_seeds(tmp_path, wrong, verdict):
    def add(row, seed, errors):
        asked = {"task": "binary", "row": row, "seed": seed, "dataset": "lab capture"}
        confusion = [[50, 0], [errors, 50 - errors]]
        records.append(tmp_path / "a.jsonl", "accuracy", asked, {"confusion": confusion, "unit": "flows"})

    for seed, errors in enumerate(wrong):
        add("nn_pytorch", seed, 0)
        add("nn_q16_c", seed, errors)
    add("nn_q16_c", 7, 50)
    lines = claims.table(records.read(tmp_path))
    line = lines[lines["claim"] == "Binary: accuracy lost from NN (Pytorch) to NN (C)"].iloc[0]
    assert (line.ours, line.verdict, line.paper) == (pytest.approx(sum(wrong) / 2), verdict, 0.6)


def test_without_records_no_claim_is_judged_and_each_section_says_what_to_run():
    assert set(verdicts([]).values()) == {claims.NO_RECORDS, claims.NOT_COMPARABLE}
    text = report.html([])
    assert "run notebook 04" in text and "run notebook 05" in text and "<svg" not in text
    assert text.count(classification.NO_RECORDS) == 6, "Tables II and III, losses, cost, table size"


def test_the_page_needs_no_other_file(page):
    assert not re.search(r'(?:src|href)="(?!#|https://)[^"]', page) and "<script" not in page
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', page)) <= set(ids)


def test_the_page_counts_trials_and_says_where_numbers_come_from(rows, page):
    counts = len([record for record in rows if record["kind"] == "sweep"]) - 1
    assert f"<td>sweep.jsonl</td><td>{counts}</td><td>1</td><td>0</td><td>{counts}</td>" in page
    assert "hping3 &lt;ended&gt; 1" in page
    made = rows[0]["provenance"]
    for part in (
        made["kernel"],
        made["cpu"],
        made["packages"]["numpy"],
        "lab capture",
        "interval_us",
        "accuracy.jsonl",
    ):
        assert part in page
    assert str(published()["table3"]["rows"]["nn_q16_c"]["accuracy"]) in page


def test_the_page_has_every_table_and_figure(page):
    assert page.count("<svg") == 4
    for part in (
        "nn_fused_packed",
        "300 [300, 700]",
        "Fig. 4. ",
        "Fig. 5a. ",
        "Fig. 5b. ",
        "XDP_DRV (NN, paper&#39;s layout)",
    ):
        assert part in page
    assert set(report.CAPTIONS) == set(sweep_figures.figures([]))


def test_the_command_draws_everything_again_to_the_same_bytes_and_the_claims_as_files(results, page, tmp_path):
    assert main(["figures", "--results", str(results), "--figures", str(tmp_path)]) == 0
    made = {path.name for path in tmp_path.iterdir()}
    assert {"fig4.pdf", "fig5a.svg", "fig5b.png", "flow_churn.pdf", "kernel_cost.md", "throughput.csv"} <= made
    assert {"claims.csv", "claims.md", "table2.md", "table3.csv", "per_packet.pdf", "discrepancies.md"} <= made
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page
    assert "| holds: better |" in (tmp_path / "claims.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("argv", "said"), [((), "no records there"), (("--methods", "bogus"), "there is no method 'bogus' to draw")]
)
def test_the_command_says_what_is_wrong_in_a_sentence_and_writes_nothing(argv, said, tmp_path, capsys):
    results = tmp_path / "results"
    if argv:
        synthetic.sweep(results / "sweep.jsonl", repeats=1)
    assert main(["figures", "--results", str(results), "--figures", str(tmp_path / "made"), *argv]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "made").exists()
