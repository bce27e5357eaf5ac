"""The float models: the paper's shape, Adam with its step, the best epoch, one result a seed."""

import numpy as np
import pytest
import torch

from ids_repro import config
from ids_repro.data import dataset
from ids_repro.data.features import as_float
from ids_repro.models import training
from ids_repro.models.float_mlp import MLP
from ids_repro.models.scaling import MinMax
from ids_repro.models.training import train_mlp, train_tree

SCHEDULE = config.SAMPLE.with_suffix(".csv")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return dataset.prepare(config.SAMPLE, SCHEDULE, tmp_path_factory.mktemp("interim") / "lab.parquet").sample()


@pytest.fixture(scope="module")
def scaled(data):
    return MinMax.fit(data.x).transform(data.x)


def train(x, y, seed=0, epochs=2, n_classes=2, batch_size=64, **more):
    return train_mlp(x, y, more.pop("validation", (x, y)), n_classes, seed, epochs, batch_size, **more)


@pytest.mark.parametrize("n_classes", [2, 7])
def test_the_net_is_12_16_16_n_without_biases(n_classes, scaled):
    net = MLP(n_classes)
    assert [w.shape for w in net.weights()] == [(12, 16), (16, 16), (16, n_classes)]
    assert sum(p.numel() for p in net.parameters()) == 12 * 16 + 16 * 16 + 16 * n_classes
    x, inputs = scaled[:50], net.inputs(scaled[:50])
    for layer, w in enumerate(net.weights()):
        np.testing.assert_allclose(inputs[layer], x, atol=1e-6)
        y = x @ w
        x = np.maximum(y, 0)
    with torch.no_grad():
        np.testing.assert_allclose(net(torch.as_tensor(scaled[:50], dtype=torch.float32)), y, atol=1e-5)
    np.testing.assert_array_equal(net.predict(scaled[:50]), y.argmax(axis=1))


def test_adam_steps_by_0_001(data, scaled):
    """Its first update moves each weight by the learning rate, whatever the gradient."""
    torch.manual_seed(3)
    before = MLP(2).weights()
    net, _ = train(scaled, data.target("binary"), seed=3, epochs=1, batch_size=len(scaled))
    moved = np.concatenate([np.abs(a - b).ravel() for a, b in zip(net.weights(), before, strict=True)])
    assert np.median(moved) == pytest.approx(1e-3, rel=1e-2)
    assert moved.max() < 1.01e-3


def test_a_seed_makes_one_net(data, scaled):
    y = data.target("binary")
    nets = [train(scaled, y, seed) for seed in (0, 0, 1)]
    assert nets[0][1] == nets[1][1] != nets[2][1]
    flat = [np.concatenate([w.ravel() for w in net.weights()]) for net, _ in nets]
    np.testing.assert_array_equal(flat[0], flat[1])
    assert not np.array_equal(flat[0], flat[2])


def test_the_best_epoch_is_kept(data, scaled):
    """A validation part with every label turned round gets worse while the net learns: an early epoch is the best."""
    y = data.target("binary")
    seen = []
    net, history = train(scaled, y, epochs=6, validation=(scaled, 1 - y), progress=lambda *epoch: seen.append(epoch))
    accuracy = [epoch["accuracy"] for epoch in history]
    assert accuracy[-1] < max(accuracy)
    assert np.mean(net.predict(scaled) == 1 - y) == max(accuracy)
    assert seen == [(e["epoch"] + 1, e["loss"], e["accuracy"]) for e in history]


def test_a_long_epoch_shows_its_loss_before_it_is_over(data, scaled, monkeypatch):
    monkeypatch.setattr(training, "LOOK", 10)
    seen = []
    _, history = train(scaled, data.target("binary"), epochs=2, progress=lambda *look: seen.append(look))
    done, loss, accuracy = map(np.array, zip(*seen, strict=True))
    steps = -(-len(scaled) // 64)
    assert len(seen) == 2 * -(-steps // 10) > 6
    np.testing.assert_allclose(np.diff(done[:3]), 640 / len(scaled))
    assert (np.diff(done) > 0).all() and done[-1] == 2
    assert np.isnan(accuracy[0]) and history[0]["accuracy"] in accuracy
    assert loss[0] > loss[-1] == history[-1]["loss"]


def test_features_or_a_loss_that_are_no_numbers_are_refused(data, scaled, monkeypatch):
    y, broken = data.target("binary"), scaled.copy()
    broken[7, 3] = np.nan
    with pytest.raises(config.UserError, match="not a finite number"):
        train(broken, y)
    monkeypatch.setattr(training, "LEARNING_RATE", 1e30)
    with pytest.raises(config.UserError, match="the loss is nan after epoch 1"):
        train(scaled, y)


def test_training_learns(data, scaled):
    y = data.target("binary")
    net, history = train(scaled, y, epochs=5)
    assert history[-1]["loss"] < history[0]["loss"] / 1.3
    assert np.mean(net.predict(scaled) == y) > max(0.8, np.bincount(y).max() / len(y))


@pytest.mark.parametrize("task", config.TASKS)
def test_the_tree_has_depth_5_at_most_and_one_seed_makes_one_tree(data, task):
    x, y = as_float(data.x), data.target(task)
    trees = [train_tree(x, y, seed) for seed in (0, 0)]
    assert 2 <= trees[0].get_depth() <= 5
    np.testing.assert_array_equal(trees[0].tree_.threshold, trees[1].tree_.threshold)
    assert np.mean(trees[0].predict(x) == y) > max(0.8, np.bincount(y).max() / len(y))
