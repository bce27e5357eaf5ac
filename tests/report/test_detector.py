"""The table and the figure of detectors, from records that were made by hand."""

import pandas as pd
import pytest

from ids_repro.report import detector
from ids_repro.report.exhibit import Results


def record(row: str, test: str, seed: int, found: float) -> dict:
    """Return a record of kind "detector", as evaluate.detection appends it."""
    outcome = {"found": found, "false_alarms": 0.012, "by_class": {"DoS": found, "Web attack": 0.5}, "incidents": None}
    outcome |= {"packets_to_alarm": 2.0, "ms_to_alarm": None, "false_alarms_per_hour": 40.0, "budget": 0.01}
    outcome |= {"by_packet": {"1": found / 2, "100": found}, "by_ms": {"0.1": found, "10000": found}, "flows": {}}
    curve = {"flagged": [0.0, 0.01, 1.0], "found": [0.0, found, 1.0]}
    asked = {"row": row, "test": test, "seed": seed, "dataset": "lab capture", "profile": "smoke"}
    made = {"started_utc": "2026-01-01T00:00:00.000", "duration_s": 1.0, "identity": {}, "cpu": "x", "cpus": 2}
    raw = {"outcomes": [outcome], "curve": curve}
    return {"kind": "detector", "asked": asked, "raw": raw, "status": "ok", "reason": "", "provenance": made}


LIVE = {
    "flows": {"attack": 500, "normal": 2000},
    "live": {"attack": 0.9, "normal": 0.005},
    "offline": {"attack": 0.89, "normal": 0.004},
    "runs": {"page": 100, "wrong port": 3},
    "failed": {"wrong port": 3},
}


@pytest.fixture
def results() -> Results:
    rows = [
        record(row, test, seed, 0.9 + seed / 50) for row in detector.LOOKS for test in detector.TESTS for seed in (0, 1)
    ]
    asked = {"seconds": 60.0, "profile": "smoke"}
    counted = rows[0] | {"kind": "end_to_end", "raw": LIVE, "asked": asked | {"action": "count"}}
    failed = {"page": 2, "wrong port": 3}
    filtered = counted | {"raw": LIVE | {"failed": failed}, "asked": asked | {"action": "filter"}}
    return Results([*rows, counted, filtered])


def test_the_table_has_means_over_seeds_with_an_interval(results):
    frame = detector.table(results)
    assert len(frame) == len(detector.LOOKS) * len(detector.TESTS)
    line = frame.iloc[0]
    assert line["found"] == pytest.approx(0.91) and line["found_low"] < 0.91 < line["found_high"]
    assert pd.isna(line["incidents"]) and pd.isna(line["ms_to_alarm"]) and line["DoS"] == pytest.approx(0.91)


def test_it_is_shown_by_budget_with_what_happened_live(results, tmp_path):
    exhibit = detector.exhibit(results)
    budget, live = exhibit.blocks
    assert budget.title == "Budget: 1.0% of normal flows" and budget.frame["found [%]"].tolist() == ["91.0"] * 15
    assert live.frame["normal requests that succeed [%]"].tolist() == ["–", "98.0"]
    assert live.frame["normal flagged [%]"].tolist() == ["0.5"] * 2
    written = {path.name for path in exhibit.write(tmp_path)}
    assert written == {f"detector.{kind}" for kind in ("csv", "md", "tex", "svg", "png", "pdf")}
    assert r"\toprule" in (tmp_path / "detector.tex").read_text()


def test_without_records_it_names_the_notebook_that_makes_them():
    exhibit = detector.exhibit(Results([]))
    assert not exhibit.has_records and "run notebook 07" in exhibit.caption
