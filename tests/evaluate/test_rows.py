"""Every user-space row classifies feature vectors, each as its model does."""

import numpy as np

from ids_repro.evaluate.rows import classify_in_c, classify_in_numpy, float_row, predictions
from ids_repro.implementations import rows_in
from ids_repro.native import library


def test_every_row_of_the_tables_is_predicted(models, sample):
    """On every packet of the sample; the models were trained on one packet of each flow."""
    model = models["multi"]
    x, _ = library.extract(sample.rows)
    found = predictions(model, x)
    assert list(found) == list(rows_in("python", "c"))
    assert all(len(classes) == len(x) and set(classes) <= set(range(7)) for classes in found.values())
    np.testing.assert_array_equal(found["dt_c"], found["dt_sklearn"])
    np.testing.assert_array_equal(found["nn_q16_c"], model.twins["nn_q16"].predict(x))
    assert np.mean(found["nn_q16_c"] == found["nn_pytorch"]) > 0.9


def test_logits_are_those_of_the_twin(models, sample):
    model = models["multi"]
    x = library.extract(sample.rows)[0][:100]
    for struct, width in (("nn_q16", 7), ("nn_fused", 7), ("dt", 7)):
        for in_c, twin in zip(classify_in_c(model, struct, x), classify_in_numpy(model, struct, x), strict=True):
            np.testing.assert_array_equal(in_c, twin)
        assert classify_in_c(model, struct, x)[0].shape == (100, width)


def test_a_row_is_compared_with_the_float_model_of_its_family():
    assert float_row("dt_kernel") == float_row("dt_c") == "dt_sklearn"
    assert float_row("nn_fused_kernel") == float_row("nn_float_c") == "nn_pytorch"
