"""What is refused because it would cut off normal traffic; the waiting for Enter is tested in test_attached.py."""

from dataclasses import replace
from pathlib import Path

import pytest

from ids_repro.config import UserError
from ids_repro.kernel.variants import Variant
from ids_repro.live.guard import CUTTING, MOST_FALSE_ALARMS, require_harmless
from ids_repro.models.model import Seen

PATH = Path("model.npz")
TREE = Variant("tc_both", "dt", evidence=True)


def detector_of(detector, share: float):
    return replace(detector, detector=dict.fromkeys(detector.detector, Seen(0.5, share, 0.9)))


@pytest.mark.parametrize("action", CUTTING)
def test_only_a_detector_of_few_false_alarms_may_cut(detector, models, action):
    variant = replace(TREE, action=action)
    require_harmless(PATH, detector_of(detector, MOST_FALSE_ALARMS), variant)
    with pytest.raises(UserError, match="model.npz: 5.1% of normal flows were flagged"):
        require_harmless(PATH, detector_of(detector, 0.051), variant)
    with pytest.raises(UserError, match="model.npz: this model is no detector. It has no threshold"):
        require_harmless(PATH, models["binary"], variant)


@pytest.mark.parametrize("action", CUTTING)
@pytest.mark.parametrize("hook", ["xdp", "tc", "tc_both"])
def test_a_detector_may_cut_only_where_it_sees_the_directions_that_it_learnt_from(detector, action, hook):
    arriving = replace(detector, about=detector.about | {"arriving_at": "10.0.0.5"})
    fits, other = (detector, arriving) if hook == "tc_both" else (arriving, detector)
    variant = replace(TREE, action=action, hook=hook)
    require_harmless(PATH, fits, variant)
    with pytest.raises(UserError, match="model.npz: this detector learnt .* and the program sees .*--hook"):
        require_harmless(PATH, other, variant)
    require_harmless(PATH, other, replace(variant, action="count"))


@pytest.mark.parametrize("action", ["count", "sink"])
def test_what_cuts_nothing_off_is_never_refused(detector, models, action):
    for model in (models["binary"], detector_of(detector, 0.4)):
        require_harmless(PATH, model, replace(TREE, action=action))
