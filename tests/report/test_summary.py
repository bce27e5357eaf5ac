"""The summary counts every verdict and names what differs."""

import re

import pytest
import synthetic

from ids_repro.report import claims
from ids_repro.report.exhibit import Results
from ids_repro.report.summary import MOST_TOLD, summary


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return synthetic.everything(tmp_path_factory.mktemp("results"))


def test_the_summary_has_at_most_five_lines_and_counts_every_verdict(rows):
    frame = claims.table(Results(rows))
    lines = summary(frame)
    counts = [int(word) for word in re.findall(r"\d+", lines[0])]
    assert counts == [
        len(frame),
        frame["verdict"].isin([claims.HOLDS, claims.BETTER]).sum(),
        (frame["verdict"] == claims.BETTER).sum(),
        (frame["verdict"] == claims.DIFFERS).sum(),
    ]
    everything_differs = summary(frame.assign(verdict=claims.DIFFERS))
    assert len(everything_differs) == 1 + MOST_TOLD
    assert everything_differs[-1].endswith(f"And {len(frame) - MOST_TOLD} more, in the table.")
    assert "cannot be judged" in summary(claims.table(Results([])))[-1]
