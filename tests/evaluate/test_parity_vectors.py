"""The vectors that parity compares hold every boundary and every change of class, and a tied model has tied logits."""

import numpy as np
import pytest

from ids_repro import config
from ids_repro.evaluate import parity_vectors
from ids_repro.evaluate.parity_vectors import INT64
from ids_repro.models import int_mlp


def neighbours(value):
    return {v for v in range(int(value) - 1, int(value) + 2) if INT64.min <= v <= INT64.max}


@pytest.mark.parametrize("task", config.TASKS)
def test_each_feature_alone_is_at_each_of_its_boundaries(models, task):
    model = models[task]
    x = parity_vectors.boundary_vectors(model)
    low, width, tree = model.scaler.min_, model.scaler.range_, model.twins["dt"]
    middle = low + width // 2
    for i in range(12):
        others = np.arange(12) != i
        alone = set(x[(x[:, others] == middle[others]).all(axis=1), i].tolist())
        limits = tree.threshold[(tree.feature == i) & (tree.threshold < INT64.max)]
        for value in (0, INT64.min, INT64.max, low[i], low[i] - width[i], low[i] + width[i], *limits):
            assert neighbours(value) <= alone
    assert {INT64.min, INT64.max, 0} <= {row[0] for row in x.tolist() if len(set(row)) == 1}
    assert ((x == low - width).all(axis=1) | (x == low + width).all(axis=1)).sum() == 2


def test_both_nets_change_their_class_between_two_neighbours(models):
    model = models["multi"]
    left, right = np.split(parity_vectors.in_range(model, 400), 2)
    for net in (model.twins["nn_q16"], model.twins["nn_fused"]):
        before, after = np.split(parity_vectors.changes(net.predict, left, right), 2)
        assert len(before) == np.sum(net.predict(left) != net.predict(right)) > 20  # fused clamps at min
        assert np.abs(after - before).max() == 1
        assert (net.predict(before) != net.predict(after)).all()


def test_pieces_are_n_vectors_on_both_sides_of_every_clip(models, monkeypatch):
    model = models["binary"]
    x = list(parity_vectors.pieces(model, 7000, size=3000))
    assert [len(piece) for piece in x] == [3000, 3000, 1000]
    assert len(next(parity_vectors.pieces(model, 10))) == 10
    x = np.concatenate(x)
    assert (x.shape, x.dtype, len(np.unique(x, axis=0))) == ((7000, 12), np.int64, len(x))
    above = np.mean(x - model.scaler.min_ > model.scaler.range_, axis=0)
    below = np.mean(x - model.scaler.min_ < -model.scaler.range_, axis=0)
    assert (above > 0.01).all() and (below > 0.01).all()
    # Eq. (1) clips between the layers too: without that clip many logits are others.
    clipped = model.twins["nn_q16"].logits(x)
    monkeypatch.setattr(int_mlp, "INT8_MAX", 1 << 20)
    assert np.mean(np.any(model.twins["nn_q16"].logits(x) != clipped, axis=1)) > 0.05


@pytest.mark.parametrize("task", config.TASKS)
def test_logits_tie_in_the_twin_of_a_model_and_the_first_wins(models, task):
    twin = parity_vectors.tied(models[task])
    x = parity_vectors.random_vectors(2000)
    for net in (twin.twins["nn_q16"], twin.twins["nn_fused"]):
        logits = net.logits(x)
        assert (logits[:, 0] == logits[:, 1]).all() and len(np.unique(logits)) > 10
        largest = logits == logits.max(axis=1, keepdims=True)
        assert np.mean(largest.sum(axis=1) > 1) > 0.2
        assert not (net.predict(x) % 2).any()
        # With every feature at its minimum every sum is 0.
        assert (net.logits(twin.scaler.min_[None]) == 0).all()
