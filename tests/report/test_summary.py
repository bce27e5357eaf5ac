"""The summary counts every verdict and names what differs."""

import re

import pytest
import synthetic

from ids_repro.report import claims, verdicts
from ids_repro.report.exhibit import Results
from ids_repro.report.summary import MOST_TOLD, number, summary


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return synthetic.everything(tmp_path_factory.mktemp("results"))


def test_the_summary_has_at_most_five_lines_and_counts_every_verdict(rows):
    frame = claims.table(Results(rows))
    lines = summary(frame)
    counts = [int(word) for word in re.findall(r"\d+", lines[0])]
    assert counts == [
        len(frame),
        frame["verdict"].isin([verdicts.HOLDS, verdicts.BETTER]).sum(),
        (frame["verdict"] == verdicts.BETTER).sum(),
        (frame["verdict"] == verdicts.DIFFERS).sum(),
    ]
    everything_differs = summary(frame.assign(verdict=verdicts.DIFFERS))
    assert len(everything_differs) == 1 + MOST_TOLD
    assert f"And {len(frame) - MOST_TOLD} more, in the table: " in everything_differs[-1]
    assert everything_differs[1].startswith("Differs: Multi-class: accuracy lost from NN"), "what the paper is about"
    assert len(lines) <= 5 and lines[1].startswith("What holds, of what can be judged: ")
    nothing = summary(claims.table(Results([])))[-1]
    assert nothing == f"0 cannot be judged by these records; {len(frame)} are not measured yet."


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1234.5, "pps", "1,235 pps"),
        (0.125, "%", "0.13 %"),
        (13.75, "%", "13.8 %"),
        (-0.2, "%", "-0.20 %"),
        (0.0, "percentage points", "0.00 percentage points"),
        (0.8815, "", "0.882"),
        (52.88, "µs", "52.9 µs"),
        (4, "classes", "4 classes"),
        (float("nan"), "pps", ""),
        ("refused", "", "refused"),
    ],
)
def test_numbers_have_the_digits_of_their_unit(value, unit, text):
    assert number(value, unit) == text
