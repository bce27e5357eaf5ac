"""The plan asks for the profile's rates, then for rates that narrow down a method's edge of loss."""

import pytest

from ids_repro import config
from ids_repro.config import UserError
from ids_repro.sweep.plan import duration_text, next_rate, plan_trials

PROFILE = config.profile("smoke", intervals_us=(10, 0), rates_pps=(50_000,), churn_pps=(70_000,), repeats=2)


def test_the_methods_take_turns_at_each_rate_of_each_repeat():
    planned = plan_trials(PROFILE, "tc_nn_fused, no_filter")
    assert [asked["method"] for asked in planned] == ["tc_nn_fused", "no_filter"] * 4 * PROFILE.repeats
    assert [asked["repeat"] for asked in planned] == [0] * 8 + [1] * 8
    with pytest.raises(UserError, match="there is no method 'xdp': use no_filter, "):
        plan_trials(PROFILE, "no_filter,xdp")


@pytest.mark.parametrize(
    ("flows", "expected"),
    [
        ("both", {("hping3", None, "new"), ("live_frames", 50_000, "one"), ("live_frames", 70_000, "new")}),
        ("new", {("hping3", None, "new"), ("live_frames", 50_000, "new")}),
        ("one", {("hping3", None, "one"), ("live_frames", 50_000, "one")}),
    ],
)
def test_hping3_sends_new_flows_and_live_frames_one_flow_unless_asked_otherwise(flows, expected):
    planned = plan_trials(PROFILE, "no_filter", flows)
    assert {(asked["generator"], asked["rate_pps"], asked["flows"]) for asked in planned} == expected


def measured(losses: dict[int, list[float]]) -> list[dict]:
    """Return records of trials at these rates [pps] that lost these shares of their packets."""
    raw = {"sent_packets": 1000, "received_packets": 1000}
    return [
        {"asked": {"rate_pps": rate}, "raw": raw | {"received_packets": 1000 * (1 - loss)}}
        for rate, repeats in losses.items()
        for loss in repeats
    ]


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ({100_000: [0], 400_000: [0], 1_600_000: [0.5]}, 800_000),
        ({100_000: [0], 400_000: [0.011], 1_600_000: [0]}, 200_000),  # a rate that held above a loss does not count
        ({100_000: [0], 400_000: [0, 0.4, 0.01]}, None),  # the median held: nothing lost
        ({100_000: [0], 400_000: [0, 0.4, 0.02]}, 200_000),
        ({100_000: [0], 104_000: [1.0]}, None),  # near enough
        ({40_000: [1.0]}, 20_000),
        ({}, None),
    ],
)
def test_the_next_rate_lies_between_the_highest_that_held_and_the_lowest_that_lost(losses, expected):
    assert next_rate(measured(losses)) == expected


def test_the_duration_is_said_in_minutes_or_hours():
    assert duration_text(200, 0.3) == "2 minutes"
    assert duration_text(570, 100.0) == "15.9 hours"
