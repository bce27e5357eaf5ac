"""How a number is judged by a tolerance, and how a tolerance reads."""

import math

import pytest

from ids_repro.published import published
from ids_repro.report.verdicts import BETTER, DIFFERS, HOLDS, in_words, judge

WITHIN, SHARE = {"within": 0.01}, {"share": 0.1, "better": "less"}


@pytest.mark.parametrize(
    ("paper", "ours", "tolerance", "ends", "verdict"),
    [
        (0.961, 0.971, WITHIN, (), HOLDS),
        (0.961, 0.972, WITHIN, (), DIFFERS),
        (0.961, 0.90, WITHIN, (0.85, 0.952), HOLDS),
        (0.961, 0.90, WITHIN, (0.85, 0.95), DIFFERS),
        (50, 45, SHARE, (), HOLDS),
        (50, 44, SHARE, (), BETTER),
        (50, 56, SHARE, (), DIFFERS),
        (50, 56, SHARE | {"better": "more"}, (), BETTER),
        (300, 200, SHARE, (150, math.inf), HOLDS),
        (math.nan, 95, {"least": 95}, (), HOLDS),
        (0.1, 0.0, {"above": 0}, (-1, 1), DIFFERS),
        (0.0, 0.06, {"most": 0.05}, (), DIFFERS),
    ],
)
def test_a_number_is_judged_by_its_tolerance(paper, ours, tolerance, ends, verdict):
    assert judge(paper, ours, tolerance, *ends) == verdict


@pytest.mark.parametrize(
    ("tolerance", "unit", "text"),
    [
        (SHARE, "pps", "± 10 %, or less"),
        ({"within": 10, "better": "less"}, "%", "± 10 points, or less"),
        ({"least": 95}, "%", "at least 95 %"),
        ({"above": 0}, "", "above 0"),
        (published()["tolerances"]["class_flows"], "flows", "± 1 % or 3 standard deviations of the draw"),
        (published()["tolerances"]["more"], "", "each above each, beyond their intervals"),
    ],
)
def test_a_tolerance_in_words(tolerance, unit, text):
    assert in_words(tolerance, unit) == text


def test_each_tolerance_says_why_and_can_be_used():
    for name, tolerance in published()["tolerances"].items():
        assert tolerance["why"], name
        assert len({"within", "share", "least", "above", "most"} & set(tolerance)) == 1 or "text" in tolerance, name
