"""Training: Adam with the paper's step size, the best epoch is kept, and one seed makes one model."""

import numpy as np
import pytest
import torch

from ids_repro import config
from ids_repro.data.features import as_float
from ids_repro.models.float_mlp import MLP
from ids_repro.models.scaling import MinMax
from ids_repro.models.training import LOOK, Part, train_mlp, train_mlps, train_tree


@pytest.fixture(scope="module")
def scaled(flows):
    return MinMax.fit(flows.x).transform(flows.x)


def train(x, y, seed=0, epochs=2, n_classes=2, batch_size=64, **more):
    return train_mlp(x, y, more.pop("validation", (x, y)), n_classes, seed, epochs, batch_size, **more)


def test_adam_steps_by_0_001(flows, scaled):
    """Its first update moves each weight by the learning rate, whatever the gradient."""
    torch.manual_seed(3)
    before = MLP(2).weights()
    net, _ = train(scaled, flows.target("binary"), seed=3, epochs=1, batch_size=len(scaled))
    moved = np.concatenate([np.abs(a - b).ravel() for a, b in zip(net.weights(), before, strict=True)])
    assert np.median(moved) == pytest.approx(1e-3, rel=1e-2)
    assert moved.max() < 1.01e-3


def test_a_seed_makes_one_net(flows, scaled):
    y = flows.target("binary")
    nets = [train(scaled, y, seed) for seed in (0, 0, 1)]
    assert nets[0][1] == nets[1][1] != nets[2][1]
    flat = [np.concatenate([w.ravel() for w in net.weights()]) for net, _ in nets]
    np.testing.assert_array_equal(flat[0], flat[1])
    assert not np.array_equal(flat[0], flat[2])


@pytest.mark.parametrize("task", config.TASKS)
def test_nets_that_are_trained_at_once_are_those_that_are_trained_alone(flows, scaled, task):
    y, n = flows.target(task), len(scaled) - 5  # the last batch is a short one
    draws = [np.random.default_rng(seed).permutation(len(scaled)) for seed in range(3)]
    parts = [Part(scaled[d[:n]], y[d[:n]], (scaled, y), seed) for seed, d in enumerate(draws)]
    together = train_mlps(parts, len(config.TASKS[task]), 2, 64)
    for part, (net, history) in zip(parts, together, strict=True):
        alone, lonely = train_mlp(*part[:3], len(config.TASKS[task]), part.seed, 2, 64)
        assert history == lonely
        assert [w.tobytes() for w in net.weights()] == [w.tobytes() for w in alone.weights()]
    assert len({net.weights()[0].tobytes() for net, _ in together}) == len(parts)


def test_the_best_epoch_is_kept(flows, scaled):
    """A validation part with every label turned round gets worse while the net learns: an early epoch is the best."""
    y = flows.target("binary")
    seen = []
    net, history = train(scaled, y, epochs=6, validation=(scaled, 1 - y), progress=lambda *epoch: seen.append(epoch))
    accuracy = [epoch["accuracy"] for epoch in history]
    assert accuracy[-1] < max(accuracy)
    assert np.mean(net.predict(scaled) == 1 - y) == max(accuracy)
    assert seen == [(e["epoch"] + 1, e["loss"], e["accuracy"]) for e in history]


def test_a_long_epoch_shows_its_loss_before_it_is_over(flows, scaled):
    seen, y = [], flows.target("binary")
    _, history = train(scaled, y, epochs=2, batch_size=8, progress=lambda *look: seen.append(look))
    done, loss, accuracy = map(np.array, zip(*seen, strict=True))
    steps = -(-len(scaled) // 8)
    assert len(seen) == 2 * -(-steps // LOOK) > 6
    np.testing.assert_allclose(np.diff(done[:3]), 8 * LOOK / len(scaled))
    assert (np.diff(done) > 0).all() and done[-1] == 2
    assert np.isnan(accuracy[0]) and history[0]["accuracy"] in accuracy
    assert loss[0] > loss[-1] == history[-1]["loss"]


def test_features_or_a_loss_that_are_no_numbers_are_refused(flows, scaled):
    y, broken = flows.target("binary"), scaled.copy()
    broken[7, 3] = np.nan
    with pytest.raises(config.UserError, match="not a finite number"):
        train(broken, y)
    with pytest.raises(config.UserError, match="the loss is nan after epoch 1"):
        train(scaled, y, learning_rate=1e30)


def test_training_learns(flows, scaled):
    y = flows.target("binary")
    net, history = train(scaled, y, epochs=5)
    assert history[-1]["loss"] < history[0]["loss"] / 1.3
    assert np.mean(net.predict(scaled) == y) > max(0.8, np.bincount(y).max() / len(y))


@pytest.mark.parametrize("task", config.TASKS)
def test_the_tree_has_depth_5_at_most_and_one_seed_makes_one_tree(flows, task):
    x, y = as_float(flows.x), flows.target(task)
    trees = [train_tree(x, y, seed) for seed in (0, 0)]
    assert 2 <= trees[0].get_depth() <= 5
    np.testing.assert_array_equal(trees[0].tree_.threshold, trees[1].tree_.threshold)
    assert np.mean(trees[0].predict(x) == y) > max(0.8, np.bincount(y).max() / len(y))
