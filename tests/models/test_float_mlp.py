"""The float net: its shape in the paper, its arithmetic, and the bytes of its C struct."""

import numpy as np
import pytest
import torch

from ids_repro.models.float_mlp import MLP, float_bytes
from ids_repro.models.scaling import MinMax
from ids_repro.native import library
from ids_repro.native.layouts import MLP_FLOAT


@pytest.mark.parametrize("n_classes", [2, 7])
def test_the_net_is_12_16_16_n_without_biases(n_classes, models, flows):
    net = MLP(n_classes)
    assert [w.shape for w in net.weights()] == [(12, 16), (16, 16), (16, n_classes)]
    assert sum(p.numel() for p in net.parameters()) == 12 * 16 + 16 * 16 + 16 * n_classes
    scaled = models["binary"].scaler.transform(flows.x[:50])
    x, inputs = scaled, net.inputs(scaled)
    for layer, w in enumerate(net.weights()):
        np.testing.assert_allclose(inputs[layer], x, atol=1e-6)
        y = x @ w
        x = np.maximum(y, 0)
    with torch.no_grad():
        np.testing.assert_allclose(net(torch.as_tensor(scaled, dtype=torch.float32)), y, atol=1e-5)
    np.testing.assert_array_equal(net.predict(scaled), y.argmax(axis=1))


@pytest.mark.parametrize("n_classes", [2, 7])
def test_a_net_fills_its_places_and_leaves_zeros(n_classes):
    weights = [np.arange(k * n).reshape(k, n) + 1.0 for k, n in ((12, 16), (16, 16), (16, n_classes))]
    out = np.frombuffer(float_bytes(weights, MinMax(np.arange(1, 13), 1 << np.arange(12))), MLP_FLOAT)[0]
    assert out["min"].tolist() == [*range(1, 13), 0, 0, 0, 0]
    assert out["scale"].tolist() == [*(0.5**k for k in range(12)), 0, 0, 0, 0]
    for layer, w in enumerate(weights):
        rows, columns = w.shape
        np.testing.assert_array_equal(out["w"][layer, :rows, :columns], w)
        assert not out["w"][layer, rows:].any() and not out["w"][layer, :, columns:].any()


@pytest.mark.parametrize("task", ["binary", "multi"])
def test_the_c_decides_as_pytorch_does(models, flows, task):
    """Both compute in float32, but they add in another order."""
    model = models[task]
    logits, classes = library.predict("nn_float", model.params("nn_float"), model.n_classes, flows.x)
    assert logits is None
    assert np.mean(classes == model.mlp.predict(model.scaler.transform(flows.x))) > 0.999
