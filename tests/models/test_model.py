"""A model holds numbers; its structs and its hash exist once it is quantized; its float models are made when needed."""

from dataclasses import replace

import numpy as np
import pytest

from ids_repro import config


def test_only_a_quantized_model_has_structs_and_a_hash(models):
    floats = replace(models["binary"], twins=None)
    for act in (floats.sha256, lambda: floats.params("dt"), lambda: floats.params("nn_float")):
        with pytest.raises(config.UserError, match="the binary model of seed 0 is not quantized yet: run notebook 03"):
            act()


def test_float_models_are_made_once_and_again_for_other_numbers(models):
    model = models["multi"]
    assert model.mlp is model.mlp and model.tree is model.tree
    for mine, theirs in zip(model.weights, model.mlp.weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    other = replace(model, weights=[2 * w for w in model.weights])
    np.testing.assert_array_equal(other.mlp.weights()[0], 2 * model.mlp.weights()[0])
