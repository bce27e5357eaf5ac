"""Profiles, and how the names of classes belong together."""

from dataclasses import asdict

import pytest

from ids_repro import config
from ids_repro.config import UserError, profile


def test_a_profile_keeps_what_is_not_changed():
    changed = profile("smoke", repeats=7, trial_s=None)
    assert asdict(changed) == asdict(config.PROFILES["smoke"]) | {"repeats": 7}


def test_a_profile_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(UserError, match="no profile 'huge': use one of smoke, paper"):
        profile("huge")


@pytest.mark.parametrize("name", config.PROFILES)
def test_a_profile_is_stored_under_its_name(name):
    assert config.PROFILES[name].name == name


def test_normal_is_normal_in_both_tasks():
    assert config.CLASSES[config.NORMAL] == config.BINARY[0] == "Normal"
