"""A detector: its threshold keeps the budget, its scores are those of the twins, and it flags more than the paper's."""

from dataclasses import replace

import numpy as np
import pytest

from ids_repro.config import CLASSES, NORMAL, UserError
from ids_repro.data.features import FEATURES
from ids_repro.evaluate.parity_vectors import random_vectors
from ids_repro.models.detector import any_detector, highest, labels, threshold, train, train_part
from ids_repro.models.model_file import read_model, save_model
from ids_repro.models.scorers import FIT, Settings, scores
from ids_repro.models.shape import Shape
from ids_repro.native.layouts import TREE_LEAF

QUICK = Settings(Shape(tree_depth=8), epochs=1)


@pytest.mark.parametrize("budget", [0.001, 0.01, 0.3])
def test_the_threshold_is_the_lowest_that_keeps_the_budget(budget):
    best = np.random.default_rng(0).integers(-50, 50, 777)
    flag_at = threshold(best, budget)
    assert np.mean(best >= flag_at) <= budget < np.mean(best >= flag_at - 1)


@pytest.mark.parametrize("budget", [0, -0.1, 0.51, float("nan")])
def test_a_budget_out_of_range_is_refused(everything, budget):
    with pytest.raises(UserError, match=f"false_alarms is {budget}: use a number above 0 and up to 0.5"):
        train_part("dt", everything, budget)


@pytest.mark.parametrize("struct", FIT)
def test_what_a_detector_says_of_itself_holds_for_flows_that_it_did_not_learn(detector, everything, struct):
    seen, twin = detector.detector[struct], detector.twins[struct]
    assert seen.budget == 0.01 and 0 < seen.false_alarms <= 0.01
    flows, label = labels(everything)
    rng = np.random.default_rng(0)
    other = np.isin(everything.flow, rng.choice(flows, len(flows) // 3, replace=False))
    learn = everything.take(~other)
    fitted, _ = train_part(struct, learn, 0.01, settings=QUICK)
    held = everything.take(other)
    best = highest(scores(struct, fitted.twin.to_bytes(), held.x), held.flow)
    attack = label[np.isin(flows, held.flow)] != NORMAL
    assert np.mean(best[~attack] >= fitted.twin.flag_at) < 0.025
    assert abs(np.mean(best[attack] >= fitted.twin.flag_at) - seen.found) < 0.15
    assert seen.found > 0.3 and twin.flag_at != fitted.twin.flag_at or twin.flag_at


def test_a_detector_of_another_shape_does_not_see_what_is_left_out_and_its_file_says_so(everything, tmp_path):
    shape = Shape((24, 9), 3, ("sport", "iat"))
    model = train(everything.take(everything.flow < 3000), settings=Settings(shape, epochs=1))
    model = read_model(save_model(model, tmp_path))
    assert model.hidden == (24, 9) and model.float_tree.depth <= 3 and model.kept.tolist() == shape.kept.tolist()
    assert model.about["shape"] == model.shape == "net 24-9, tree of depth 3, without sport iat"
    x, other = everything.x[:5000], random_vectors(5000)
    changed, out = x.copy(), [FEATURES.index(name) for name in shape.leave_out]
    changed[:, out] = other[:, out]
    for struct, twin in model.twins.items():
        found = scores(struct, twin.to_bytes(), x, model.hidden)
        logits = twin.logits(x)
        np.testing.assert_array_equal(found, logits[:, 1] - logits[:, 0])
        np.testing.assert_array_equal(found, scores(struct, twin.to_bytes(), changed, model.hidden))
        assert len(np.unique(found)) > 1


def test_the_progress_of_a_training_never_goes_back_and_ends_at_1(everything):
    shares = []
    train(everything.take(everything.flow < 3000), settings=QUICK, progress=shares.append)
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1.0)


def test_scores_are_differences_of_logits(detector, everything):
    x = everything.x[::11]
    for struct, twin in detector.twins.items():
        logits = twin.logits(x)
        np.testing.assert_array_equal(scores(struct, twin.to_bytes(), x), logits[:, 1] - logits[:, 0])


def test_the_highest_score_of_each_flow_counts():
    assert highest(np.array([3, -1, 7, 2]), np.array([5, 5, 9, 9])).tolist() == [3, 7]


def test_the_leaves_of_the_tree_name_the_attacks(detector, everything):
    tree = detector.twins["dt"]
    assert set(tree.low[tree.feature == TREE_LEAF]) <= set(range(len(CLASSES))) - {NORMAL}
    attacks = everything.take(everything.label != NORMAL)
    flagged = attacks.take(scores("dt", tree.to_bytes(), attacks.x) >= tree.flag_at)
    assert (
        np.mean(tree.predict(flagged.x) == flagged.label) > 0.5
    )  # the tree learnt to tell attacks from normal packets, not from each other


def test_equal_seeds_give_equal_detectors(everything):
    few = everything.take(np.isin(everything.flow, labels(everything)[0][::4]))
    one, other = (train_part("nn_log2", few, settings=QUICK)[0].twin.to_bytes() for _ in range(2))
    assert one == other


def test_too_few_flows_of_a_kind_are_refused(everything):
    for what, some in (("attack", everything.label == NORMAL), ("normal", everything.label != NORMAL)):
        with pytest.raises(UserError, match=f"0 {what} flows to learn from"):
            train_part("dt", everything.take(some))


def test_a_check_takes_the_saved_detector(detector, tmp_path):
    path = save_model(replace(detector, seed=3), tmp_path)
    assert any_detector(path).seed == 3
