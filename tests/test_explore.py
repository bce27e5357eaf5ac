"""The pictures of notebooks 01 to 03 show every class, outcome, flow, feature and seed of the data that they are given.

The picture of the thresholds is tested in tests/models/test_calibration.py.
"""

import matplotlib.colors
import numpy as np
import pytest

from ids_repro import config, explore
from ids_repro.data.features import FEATURES, as_float
from ids_repro.models import pipeline


def names(labels):
    return [label.get_text() for label in labels]


def test_classes_are_bars_as_long_as_their_flows(flows):
    axis = explore.classes(flows).axes[0]
    assert dict(zip(names(axis.get_yticklabels()), [bar.get_width() for bar in axis.patches], strict=True)) == (
        flows.counts()
    )
    assert [matplotlib.colors.to_hex(bar.get_facecolor()) for bar in axis.patches] == [
        explore.COLOURS[name] for name in flows.counts()
    ]
    assert axis.get_xlabel() == "flows in the lab capture"


def test_outcomes_have_their_numbers_written_beside_them(flows):
    axis = explore.outcomes(flows).axes[0]
    bars = names(axis.get_yticklabels())
    assert bars == [*(f"frames: {name}" for name in flows.meta["frames"]), "flows", "flows without a label"]
    written = [text.get_text() for text in axis.texts]
    assert written[bars.index("frames: ok")] == f"{flows.meta['frames']['ok']:,}"
    assert written[bars.index("flows without a label")] == "0"


def test_the_timeline_has_each_flows_first_packet_once(flows):
    first = flows.take(flows.index == 0)
    axis = explore.timeline(flows).axes[0]
    assert names(axis.get_yticklabels()) == list(first.counts())
    assert [len(line.get_xdata()) for line in axis.lines] == list(first.counts().values())
    times_s = np.concatenate([line.get_xdata() for line in axis.lines])
    assert (times_s.min(), times_s.max()) == (0, np.ptp(first.time_us) / 1e6)


def test_every_feature_has_its_place_in_the_papers_order(flows):
    few = flows.take(np.arange(0, len(flows.x), 20))
    axes = explore.features(few).axes
    assert [axis.get_title() for axis in axes] == [f"$x_{{{i}}}$ {name}" for i, name in enumerate(FEATURES, start=1)]
    wide = np.ptp(as_float(few.x), axis=0) > explore.WIDE
    assert [axis.get_xscale() == "symlog" for axis in axes] == wide.tolist()
    assert 0 < wide.sum() < len(FEATURES)


@pytest.fixture(scope="module")
def trained(flows):
    short = config.profile("smoke", epochs=2, min_steps=0)
    return [pipeline.train_model(flows, task, seed, short) for task in config.TASKS for seed in (0, 1)]


def test_learning_curves_have_a_column_for_each_task_and_a_line_for_each_seed(trained):
    axes = np.reshape(explore.learning_curves(trained).axes, (2, len(config.TASKS)))
    assert [axis.get_title() for axis in axes[0]] == list(config.TASKS)
    for column, task in zip(axes.T, config.TASKS, strict=True):
        models = [model for model in trained if model.task == task]
        assert names(column[0].get_legend().get_texts()) == [f"seed {model.seed}" for model in models]
        for axis, key in zip(column, ("loss", "accuracy"), strict=True):
            drawn = [line.get_ydata().tolist() for line in axis.lines]
            assert drawn == [[epoch[key] for epoch in model.history] for model in models]
