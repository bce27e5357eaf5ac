"""A model of another shape: what may be chosen, and that its parts have it and do not see what is left out."""

from dataclasses import replace

import numpy as np
import pytest

from ids_repro import config
from ids_repro.data.features import FEATURES, as_float
from ids_repro.evaluate.parity_vectors import random_vectors
from ids_repro.models import pipeline
from ids_repro.models.model_file import HEADER, describe, load_model, read_model, save_model, write_model
from ids_repro.models.shape import PAPER, Shape
from ids_repro.native.layouts import Q

SHORT = config.profile("smoke", seeds=(0,), epochs=1, min_steps=100)
OWN = Shape((24, 9, 17), 12, ("sport", "dir_mean"))


@pytest.fixture(scope="module")
def own(flows):
    """Return a quantized model of another shape than the paper's."""
    return pipeline.quantize_model(pipeline.train_model(flows, "multi", 0, SHORT, shape=OWN), flows, None)


@pytest.mark.parametrize(
    ("hidden", "depth", "left_out", "expected"),
    [
        ([16, 16], 5, [], Shape()),
        ("32-8", "16", "dport, sport", Shape((32, 8), 16, ("sport", "dport"))),
        (64, 1, "iat", Shape((64,), 1, ("iat",))),
        ((8, 9, 10), 5.0, None, Shape((8, 9, 10))),
        ("12", 5, "", Shape((12,))),
    ],
)
def test_a_shape_is_read_as_papermill_and_notebooks_give_it(hidden, depth, left_out, expected):
    assert Shape.read(hidden, depth, left_out) == expected


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"hidden": [16, 65]}, "hidden is 65: use a whole number from 8 to 64 neurons a layer"),
        ({"hidden": 7}, "hidden is 7: use a whole number from 8 to 64"),
        ({"hidden": "16-x"}, "hidden is x: use a whole number"),
        ({"hidden": [16.5]}, "hidden is 16.5: use a whole number"),
        ({"hidden": [True]}, "hidden is True: use a whole number"),
        ({"hidden": True}, "hidden is True: use a whole number"),
        ({"hidden": []}, r"hidden is \[\]: give one to 3 hidden layers, such as 32-16"),
        ({"hidden": [16] * 4}, "give one to 3 hidden layers"),
        ({"hidden": None}, "hidden is None: give one to 3 hidden layers"),
        ({"tree_depth": 17}, "tree_depth is 17: use a whole number from 1 to 16"),
        ({"tree_depth": 0}, "tree_depth is 0: use"),
        ({"leave_out": "port"}, "leave_out: there is no feature 'port'; there are sport, dport"),
        ({"leave_out": list(FEATURES)}, "leave_out: no feature is left"),
        ({"leave_out": 3}, "leave_out is 3: give names of features"),
        ({"leave_out": [["len"]]}, "there is no feature"),
    ],
)
def test_what_is_no_shape_is_refused(given, sentence):
    with pytest.raises(config.UserError, match=sentence):
        Shape.read(**given)


def test_a_model_has_the_chosen_shape_and_does_not_see_what_is_left_out(own, flows):
    assert [w.shape for w in own.weights] == [(12, 24), (24, 9), (9, 17), (17, 7)]
    assert own.hidden == OWN.hidden and own.kept.tolist() == OWN.kept.tolist() and own.float_tree.depth <= 12
    x = random_vectors(3_000)
    changed, out = x.copy(), [FEATURES.index(name) for name in OWN.leave_out]
    changed[:, out] = random_vectors(3_000, seed=1)[:, out]
    for twin in own.twins.values():
        np.testing.assert_array_equal(twin.logits(x), twin.logits(changed))
        np.testing.assert_array_equal(twin.predict(x), twin.predict(changed))
    np.testing.assert_array_equal(own.tree.predict(as_float(x)), own.tree.predict(as_float(changed)))
    np.testing.assert_array_equal(own.twins["dt"].predict(x), own.tree.predict(as_float(x)))
    scaled = own.scaler.transform(flows.x)[:, out]
    assert (scaled >= 0).all() and (scaled <= 1).all()


def test_a_net_without_a_feature_is_the_net_that_was_trained_without_it(flows):
    """A column that says nothing new does not change what is learnt once it is left out."""
    other = flows.x.copy()
    other[:, 0] = random_vectors(len(other))[:, 0]
    shape = Shape(leave_out=("sport",))
    first, second = (
        pipeline.quantize_model(pipeline.train_model(data, "binary", 0, SHORT, shape=shape), data, None)
        for data in (flows, replace(flows, x=other))
    )
    assert first.sha256() == second.sha256() and first.alpha == second.alpha


def test_a_constant_feature_can_be_left_out(flows):
    x = flows.x.copy()
    x[:, FEATURES.index("proto")] = 6 << Q
    model = pipeline.train_model(replace(flows, x=x), "binary", 0, SHORT, shape=Shape(leave_out=("proto",)))
    assert FEATURES.index("proto") not in model.kept


def test_a_tree_of_too_many_nodes_ends_training_with_the_limit_and_nothing_is_saved(flows, tmp_path):
    rng, n = np.random.default_rng(0), 40_000
    bits = rng.integers(0, 2, (n, 12))  # each of their 4,096 combinations has a label of its own
    attack = (rng.random(1 << 12) < 0.5)[bits @ (1 << np.arange(12))]
    label, x = np.where(attack, 0, config.NORMAL), bits << 46
    rest = {name: np.arange(n) for name in ("packet", "index", "time_us", "flow")}
    noisy = replace(flows, x=x, label=label, **rest)
    sentence = r"depth 12 and [\d,]+ nodes; the kernel's has at most 16 and 4,096: give a smaller tree_depth"
    with pytest.raises(config.UserError, match=sentence):
        pipeline.train_all(noisy, SHORT, folder=tmp_path, shape=Shape(tree_depth=16))
    assert list(tmp_path.iterdir()) == []


def test_a_file_keeps_the_shape_and_that_of_the_papers_models_does_not_name_it(own, models, tmp_path):
    path = save_model(own, tmp_path)
    again = read_model(path)
    assert (again.hidden, again.shape, again.sha256()) == (OWN.hidden, OWN.unlike(PAPER), own.sha256())
    assert save_model(again, tmp_path / "again").read_bytes() == path.read_bytes()
    found = describe(path)
    assert found["layers"] == [12, 24, 9, 17, 7] and len(found["thresholds"]["inputs"]) == 4
    assert found["about"]["shape"] == "net 24-9-17, tree of depth 12, without sport dir_mean"
    with np.load(save_model(models["binary"], tmp_path), allow_pickle=False) as file:
        assert b"hidden" not in file[HEADER].tobytes() and b"shape" not in file[HEADER].tobytes()


def test_the_widest_model_fits_into_a_file(flows, tmp_path):
    widest = pipeline.train_model(flows, "multi", 0, SHORT, shape=Shape((64, 64, 64), 16))
    widest = pipeline.quantize_model(widest, flows)
    assert read_model(write_model(widest, tmp_path / "widest.npz")).sha256() == widest.sha256()


def test_saved_models_of_two_shapes_are_not_mixed(own, models, tmp_path):
    for model in (models["binary"], own):
        save_model(model, tmp_path)
    with pytest.raises(
        config.UserError, match="binary-0 and multi-0 have not one shape: run notebooks 02 and 03 again"
    ):
        pipeline.load_all(SHORT, tmp_path)
    assert load_model("multi", 0, tmp_path).hidden == OWN.hidden


def test_records_of_another_shape_are_of_a_data_set_of_their_own(own, models, flows):
    assert models["multi"].named(flows) == flows.named() and models["multi"].data_hash == flows.meta["sha256"]
    words = OWN.unlike(PAPER)
    assert own.named(flows) == flows.named() | {"dataset": f"lab capture, {words}"}
    assert own.data_hash == f"{flows.meta['sha256']} {words}"
