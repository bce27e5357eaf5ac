"""The length of a trial against drawn losses: in bursts, and by pauses."""

import re

import numpy as np
import pytest

from ids_repro import config
from ids_repro.trial_length import BURST, PAUSE_S, PRECISION, TOLERANCE, error, packets, seconds


@pytest.mark.parametrize("burst", [1, BURST])
def test_nineteen_of_twenty_trials_know_a_loss_of_one_percent_as_exactly_as_is_said(burst):
    n = packets(burst=burst) // burst * burst
    lost = burst * np.random.default_rng(0).binomial(n // burst, TOLERANCE, 20_000)
    within = np.abs(lost / n - TOLERANCE) <= PRECISION
    assert 0.94 < within.mean() < 0.96


def test_losses_in_bursts_need_more_packets_by_the_length_of_a_burst():
    assert packets() == pytest.approx(BURST * packets(burst=1), rel=1e-3)
    assert error(packets()) == pytest.approx(PRECISION, rel=1e-5)
    assert error(packets() / 4) == pytest.approx(2 * PRECISION, rel=1e-5)


@pytest.mark.parametrize("rate_pps", [50_000, 300_000, 450_000, 10_000_000])
def test_a_trial_has_the_packets_and_outlasts_a_pause(rate_pps):
    duration_s = seconds(rate_pps)
    assert duration_s * rate_pps >= packets() and PAUSE_S / duration_s <= PRECISION
    shorter_s = duration_s - 0.1
    assert shorter_s * rate_pps < packets() or PAUSE_S / shorter_s > PRECISION, "no longer than that"


def test_the_evenings_trials_have_this_length():
    assert config.PROFILES["evening"].trial_s == seconds(300_000) == 2.1
    said = re.findall(r"\d+,\d+", packets.__doc__)
    assert [f"{packets():,}", f"{packets(burst=1):,}"] == said
    assert f"a trial needs {packets():,} packets" in (config.ROOT / "README.md").read_text()
