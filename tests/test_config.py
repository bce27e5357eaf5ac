"""Profiles, the limits of numbers, and how the names of classes belong together."""

from dataclasses import asdict

import numpy as np
import pytest

from ids_repro import config
from ids_repro.config import UserError, number, profile


def test_a_profile_keeps_what_is_not_changed():
    changed = profile("smoke", repeats=7, trial_s=None)
    assert asdict(changed) == asdict(config.PROFILES["smoke"]) | {"repeats": 7}


def test_a_profile_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(UserError, match="no profile 'huge': use one of smoke, evening, paper"):
        profile("huge")


@pytest.mark.parametrize("name", config.PROFILES)
def test_a_profile_is_stored_under_its_name(name):
    assert config.PROFILES[name].name == name


def test_normal_is_normal_in_both_tasks():
    assert config.CLASSES[config.NORMAL] == config.BINARY[0] == "Normal"


@pytest.mark.parametrize("value", [0, -1, 1e9, float("nan"), float("inf"), True, "abc", "", [5], {}, 10**400])
def test_a_trial_of_no_time_or_no_number_is_refused(value):
    with pytest.raises(UserError, match="^trial_s is .*: use a number from 0.1 to 86,400 s$"):
        profile("smoke", trial_s=value)


@pytest.mark.parametrize(
    ("value", "taken"), [(5, 5.0), ("5", 5.0), (np.float32(0.5), 0.5), (0.1, 0.1), (86_400, 86400.0)]
)
def test_a_number_within_the_limits_is_taken(value, taken):
    assert profile("smoke", trial_s=value).trial_s == taken


def test_whole_numbers_and_powers_of_two():
    assert [number("--n", value) for value in ("10", 10, 10.0, np.int64(10))] == [10] * 4
    assert isinstance(number("n", 10.0), int)
    assert number("--flows", "1024") == 1024 and number("false_alarms", 1e-9) == 1e-9
    for name, value in (("n", 1.5), ("n", "1.5"), ("--flows", 1536), ("--flows", 0), ("false_alarms", 0)):
        with pytest.raises(UserError, match=f"^{name} is {value}: use "):
            number(name, value)
