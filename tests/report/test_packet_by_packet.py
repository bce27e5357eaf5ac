"""The figure and the table of per-packet verdicts against made-up counts."""

import re

import pytest

from ids_repro import config, records
from ids_repro.implementations import label
from ids_repro.report import packet_by_packet, page
from ids_repro.report.exhibit import Results

PACKETS = [90] + 99 * [30]
RIGHT = {"binary": [60] + 99 * [15], "multi": [45] + 99 * [15]}
FIRST_ALARM = {"attack": [10, 0, 5] + 97 * [0], "normal": [0, 2] + 98 * [0]}  # of 20 and of 70 flows


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Records of two seeds of each row; the second seed is right on fewer first packets."""
    path = tmp_path_factory.mktemp("results") / "per_packet.jsonl"
    for task in config.TASKS:
        for row in packet_by_packet.LOOKS:
            for seed in (0, 1):
                raw = {"packets": PACKETS, "right": [RIGHT[task][0] - 6 * seed, *RIGHT[task][1:]]}
                raw |= {"attack_flows": 20, "normal_flows": 70}
                raw |= {f"{kind}_first_alarm": counts for kind, counts in FIRST_ALARM.items()}
                asked = {"task": task, "row": row, "seed": seed, "dataset": "lab capture", "profile": "smoke"}
                records.append(path, "per_packet", asked, raw)
    return Results(records.read(path))


@pytest.mark.filterwarnings("error")
def test_the_figure_shows_it_and_says_where_from(results, tmp_path):
    for folder in ("a", "b"):
        packet_by_packet.exhibit(Results(results.rows)).write(tmp_path / folder)
    for name in ("per_packet.svg", "per_packet.png", "per_packet.pdf"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    chart = packet_by_packet.exhibit(results).chart
    assert [axis.get_title() for axis in chart.axes[:2]] == ["Binary", "Multi-class"]
    legend = {text.get_text() for text in chart.legends[0].get_texts()}
    assert {*map(label, packet_by_packet.LOOKS), "flows this long"} <= legend
    assert "per_packet.jsonl: profile smoke" in chart.get_supxlabel()
    upper, lower = chart.axes[0], chart.axes[2]
    assert upper.lines[0].get_ydata()[0] == pytest.approx(100 * (60 + 54) / 2 / 90)
    attack, normal = lower.lines[:2]
    assert attack.get_ydata()[:3].tolist() == [50, 50, 75] and normal.get_ydata()[-1] == pytest.approx(100 * 2 / 70)


def test_the_page_has_it_with_ids_of_its_own(results):
    html = page.html(results, page.sections(results))
    ids = re.findall(r' id="(per_packet-[^"]+)"', html)
    assert ids
    assert len(ids) == len(set(ids))


def test_the_table_is_means_over_seeds(results):
    frame = packet_by_packet.table(results)
    assert len(frame) == len(packet_by_packet.LOOKS) * len(config.TASKS)
    line = frame[(frame["task"] == "binary") & (frame["row"] == "dt_c")].iloc[0]
    assert line["accuracy"] == pytest.approx(100 * (57 + 99 * 15) / sum(PACKETS))
    assert [line[f"flagged by packet {n}"] for n in (1, 3, 10, 100)] == [50, 75, 75, 75]
    assert line["false alarm in flow"] == pytest.approx(100 * 2 / 70)


@pytest.mark.filterwarnings("error")
def test_without_records_it_says_so():
    exhibit = packet_by_packet.exhibit(Results([]))
    assert exhibit.chart.get_supxlabel() == "no records yet: run notebook 04"
    assert exhibit.caption.endswith("no records yet: run notebook 04") and not exhibit.has_records
    assert packet_by_packet.table(Results([])).empty
