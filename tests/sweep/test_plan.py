"""The plan asks for the profile's rates, then for those of searches for a method's highest rate without loss."""

import re
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from ids_repro import config, metrics, records, trial_length
from ids_repro.cli import reproduce
from ids_repro.config import UserError
from ids_repro.sweep.methods import METHODS
from ids_repro.sweep.plan import at_rates, duration_s, most_steps, most_trials, next_rate, plan_trials, read_rates

RATES = {"rates_pps": (50_000,), "churn_pps": (70_000,), "replay_pps": (60_000,)}
PROFILE = config.profile("smoke", intervals_us=(10, 0), repeats=2, **RATES)


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


def test_a_capture_is_replayed_to_some_methods_or_to_all_that_can_take_the_time_from_a_frame():
    def replayed(flows: str, methods: str) -> set[tuple]:
        planned = plan_trials(PROFILE, methods, flows)
        return {(asked["method"], asked["rate_pps"]) for asked in planned if asked["flows"] == "replay"}

    some = "no_filter,xdp_drv_nn_fused,tc_nn_fused,rawsock1_nn_fused"
    assert replayed("both", some) == {("xdp_drv_nn_fused", 60_000)}
    assert replayed("replay", some) == {("xdp_drv_nn_fused", 50_000), ("tc_nn_fused", 50_000)}
    assert {asked["generator"] for asked in plan_trials(PROFILE, some, "replay")} == {"live_frames"}
    assert replayed("one", some) == replayed("new", some) == set()
    with pytest.raises(
        UserError, match="none of these methods can take a packet's time from its frame: choose some of"
    ):
        plan_trials(PROFILE, "no_filter,rawsock1_nn_fused", "replay")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("50000", (50_000,)), ("50000, 2x,0.5x,", (50_000, 20_000, 5_000)), ("1x,10000,1x", (10_000,))],
)
def test_rates_are_numbers_and_multiples_of_a_captures_own_rate(text, expected):
    assert read_rates(text, Steady()) == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("fast", "--rates is fast: use a whole number from 1 to 100,000,000 packets/s, or a multiple such as 4x"),
        ("0", "--rates is 0: use"),
        ("1.5", "--rates is 1.5: use"),
        ("0x", "multiple is 0: use a number above 0 and up to 1,000,000 times a capture's own rate"),
        ("nanx", "multiple is nan: use"),
        ("1000000x", "--rates is 10000000000: use"),
        ("", "--rates names no rate"),
        (" , ", "--rates names no rate"),
    ],
)
def test_what_is_no_rate_is_refused(text, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        read_rates(text, Steady())


def test_a_multiple_needs_a_capture():
    with pytest.raises(UserError, match="4x is a multiple of a capture's own rate: add --flows replay"):
        read_rates("10000,4x")


def test_at_rates_that_the_user_gives_nothing_is_searched():
    given = at_rates(PROFILE, [123, 456])
    rates = {asked["rate_pps"] for asked in plan_trials(given, "no_filter", "one") if asked["rate_pps"]}
    assert rates == {123, 456} and most_steps(given) == 0


class Steady:
    """A capture of 10,000 packets/s."""

    own_pps = 10_000.0


def measured(rate_pps: int, loss: float) -> dict:
    """Return the record of a trial of half a second that sent what it was asked to, and lost a share of it."""
    raw = {"duration_s": 0.5, "sent_packets": rate_pps // 2, "received_packets": round(rate_pps / 2 * (1 - loss))}
    return {"asked": {"rate_pps": rate_pps}, "raw": raw}


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ({100_000: 0, 400_000: 0, 1_600_000: 0.5}, 800_000),
        ({100_000: 0, 400_000: 0.01, 1_600_000: 0.5}, 800_000),
        ({100_000: 0, 400_000: 0.011, 1_600_000: 1}, 200_000),
        ({100_000: 0, 400_000: 0.4, 1_600_000: 0, 3_200_000: 0, 10_000_000: 1}, 5_660_000),  # one hiccup
        ({100_000: 0, 400_000: 0}, None),  # nothing lost
        ({100_000: 0, 104_000: 1}, None),  # near enough
        ({40_000: 1}, 20_000),
        ({40_000: 1, 0: 1}, 20_000),  # one sent nothing
        ({}, None),
    ],
)
def test_the_next_rate_is_halfway_between_the_highest_that_held_and_the_lowest_that_lost(losses, expected):
    assert next_rate([measured(*one) for one in losses.items()], 0.05) == expected


def test_without_a_resolution_there_is_no_search():
    assert next_rate([measured(100_000, 0), measured(400_000, 1)], 0) is None
    assert most_steps(replace(PROFILE, resolution=0)) == 0


def test_a_sender_that_falls_short_is_asked_for_more_so_that_it_sends_the_mean():
    trials = [measured(90_000, 0) | {"asked": {"rate_pps": 100_000}}, measured(300_000, 1)]
    assert next_rate(trials, 0.05) == round(164_317 / 0.9, -3)


def test_the_rates_around_the_edge_come_near_each_other_though_the_sender_falls_short():
    profile, capacity = config.profile("evening"), 3_100_000
    for seed in range(20):
        random = np.random.default_rng(seed)

        def send(rate_pps: int, random: np.random.Generator = random) -> dict:
            reached = round(min(rate_pps * random.uniform(0.94, 0.97), 4_200_000))
            return measured(reached, max(1 - capacity / reached, 0)) | {"asked": {"rate_pps": rate_pps}}

        made = [send(rate) for rate in profile.rates_pps]
        for _ in range(most_steps(profile)):
            rate = next_rate(made, profile.resolution)
            made += [send(rate)] if rate else []
        sent, received = ([2 * one["raw"][f"{what}_packets"] for one in made] for what in ("sent", "received"))
        held, lost = metrics.edge_of_loss(sent, received)
        assert held <= capacity * 1.011 < 1.011 * lost
        assert lost <= 1.05 * held


def test_a_rate_that_the_sender_does_not_reach_is_not_asked_again_and_again():
    trials = [measured(100_000, 0), measured(400_000, 1)]
    trials.append(measured(250_000, 0) | {"asked": {"rate_pps": 316_000}})
    trials.append(measured(240_000, 1) | {"asked": {"rate_pps": 245_000}})
    assert next_rate(trials, 0) is None and next_rate(trials, 0.02) not in {None, 316_000, 245_000}
    trials = [measured(100_000, 0), measured(200_000, 1)]
    low = measured(99_000, 0) | {"asked": {"rate_pps": 141_000}}
    high = measured(201_000, 1) | {"asked": {"rate_pps": 141_000}}
    assert (next_rate([*trials, low], 0.05), next_rate([*trials, high], 0.05)) == (143_000, 140_000)


@pytest.mark.parametrize("capacity", [15_000, 123_456, 301_000, 777_777, 1_234_567, 9_000_000])
@pytest.mark.parametrize("name", config.PROFILES)
def test_a_search_ends_within_its_resolution_around_the_capacity_and_resumes_where_it_was(name, capacity):
    profile = config.PROFILES[name]

    def loss(rate_pps: int) -> float:
        return max(1 - capacity / rate_pps, 0)

    made = [measured(rate, loss(rate)) for rate in profile.rates_pps]
    steps = []
    while (rate := next_rate(made, profile.resolution)) is not None:
        shuffled = made[len(steps) % 3 :] + made[: len(steps) % 3]
        assert next_rate(shuffled, profile.resolution) == rate, "it depends on the records alone, not on their order"
        steps.append(rate)
        made.append(measured(rate, loss(rate)))
    assert 0 < len(steps) <= most_steps(profile)
    sent, received = ([2 * one["raw"][f"{what}_packets"] for one in made] for what in ("sent", "received"))
    held, lost = metrics.edge_of_loss(sent, received)
    assert held <= capacity / 0.99 * 1.001 and lost > capacity
    assert lost <= 1.01 * (1 + profile.resolution) * held


def test_an_evening_compares_all_methods_with_five_repeats_in_a_hundred_minutes():
    evening = config.profile("evening")
    planned = plan_trials(evening)
    methods = {asked["method"] for asked in planned}
    assert methods == set(METHODS) and len(methods) >= 12
    assert {"dpdk_nn_fused", "afxdp_busy_nn_fused"} <= methods
    assert {asked["repeat"] for asked in planned} == set(range(evening.repeats)) and evening.repeats >= 5
    assert len(evening.seeds) >= 5
    assert {asked["trial_s"] for asked in planned} == {trial_length.seconds(300_000)}
    assert most_trials(evening) == len(planned) + len(methods) * evening.repeats * most_steps(evening)
    assert reproduce.duration_s(evening) > duration_s(most_trials(evening), evening.trial_s)
    assert reproduce.duration_s(evening) <= 100 * 60


def test_the_time_of_a_trial_is_that_of_the_shipped_run():
    """From the start of a trial to the next one's start, in the example's records."""
    rows = [one for one in records.read(config.DATA / "example") if one["kind"] == "sweep"]
    starts = [datetime.fromisoformat(one["provenance"]["started_utc"]).timestamp() for one in rows]
    took_s = np.median(np.diff(starts))
    assert took_s == pytest.approx(duration_s(1, rows[0]["asked"]["trial_s"]), rel=0.25)
