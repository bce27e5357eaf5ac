"""Each switch changes what it says and nothing else, and the accuracies of each row become records."""

from dataclasses import fields, replace

import numpy as np
import pytest

from ids_repro import config, records
from ids_repro.config import UserError
from ids_repro.data import dataset
from ids_repro.evaluate import discrepancies, released_code
from ids_repro.evaluate.rows import predictions
from ids_repro.models.model_file import save_model
from ids_repro.models.scaling import MinMax
from ids_repro.native.layouts import Q
from ids_repro.published import NONE
from ids_repro.report.discrepancies import table
from ids_repro.report.exhibit import Results

PROFILE = config.profile("smoke", seeds=(0,), epochs=1, min_steps=500)
# What each switch may change: the two datasets, the float net's normaliser, parts of the integer net, the arithmetic.
CHANGES = {
    "none": set(),
    "direction": {"seen"},
    "time": {"learn", "seen", "scaler", "min_", "range_", "s"},
    "features": {"learn", "seen", "scaler", "min_", "range_", "s"},
    "refit": {"scaler", "min_", "range_", "s"},
    "maximum": {"sigma", "dequant", "weights"},
    "scale": {"s"},
    "dequantiser": {"dequant"},
    "clip": {"clip"},
    "shift": {"shift"},
    "argmax": {"from_zero"},
}


def changed(a, b):
    """Return the names of what differs between two setups."""

    def differs(left, right):
        if isinstance(left, dataset.Dataset):
            return not np.array_equal(left.x, right.x)
        if isinstance(left, MinMax):
            return not (np.array_equal(left.min_, right.min_) and np.array_equal(left.range_, right.range_))
        if isinstance(left, list):
            return any(map(differs, left, right))
        return not np.array_equal(left, right)

    pairs = [(f.name, getattr(a, f.name), getattr(b, f.name)) for f in fields(a) if f.name not in ("net", "mlp")]
    pairs += [(f.name, getattr(a.net, f.name), getattr(b.net, f.name)) for f in fields(a.net)]
    return {name for name, left, right in pairs if differs(left, right)}


def made_with(everything, model, on):
    at = np.searchsorted(everything.packet, everything.sample().packet)
    return discrepancies.setup(model, *(data.take(at) for data in discrepancies.datasets(everything, on)), on)


def test_every_switch_is_tested_and_has_a_row():
    assert set(CHANGES) == {NONE, *discrepancies.SWITCHES} < set(discrepancies.ROWS)
    assert discrepancies.ROWS[NONE] == ()
    for row, on in discrepancies.ROWS.items():
        assert list(on) == [name for name in discrepancies.SWITCHES if name in on], "in the order in which they act"
        assert row not in discrepancies.SWITCHES or on == (row,)


@pytest.mark.parametrize("switch", CHANGES)
def test_each_switch_changes_what_it_says_and_nothing_else(everything, models, switch):
    found = changed(*(made_with(everything, models["multi"], discrepancies.ROWS[name]) for name in ("none", switch)))
    assert found <= CHANGES[switch]
    assert bool(found) == bool(CHANGES[switch])


def test_none_is_the_model_itself(everything, models):
    for model in models.values():
        made = made_with(everything, model, ())
        data = everything.sample()
        rows = predictions(model, data.x[dataset.split(data, model.seed)[2]])
        floats, ints = made.verdicts()
        np.testing.assert_array_equal(floats, rows["nn_pytorch"])
        np.testing.assert_array_equal(ints, rows["nn_q16_c"])
        assert changed(made, replace(made, net=model.twins["nn_q16"], scaler=model.scaler)) == set()


def test_time_is_a_million_times_too_long_and_training_does_not_notice(everything, models):
    none, made = (made_with(everything, models["binary"], on) for on in ((), ("time",)))
    np.testing.assert_array_equal(made.seen.x[:, 5], none.learn.x[:, 5] * 1000)
    assert np.mean(made.verdicts()[0] == none.verdicts()[0]) > 0.999
    np.testing.assert_allclose(made.scaler.transform(made.learn.x), none.scaler.transform(none.learn.x), atol=1e-5)


def test_thresholds_at_the_maximum_are_those_of_the_training_part(everything, models):
    model, none = models["multi"], made_with(everything, models["multi"], ())
    inputs = model.mlp.inputs(model.scaler.transform(none.learn.x[none.train]))
    for on in (("maximum",), ("maximum", "refit")):
        sigma = made_with(everything, model, on).net.sigma
        np.testing.assert_array_equal(sigma, [round(127 / float(x.max()) * (1 << Q)) for x in inputs])


def test_a_feature_that_is_constant_in_the_test_part_is_refitted_to_zero(everything, models):
    none = made_with(everything, models["binary"], ())
    x = none.learn.x.copy()
    x[none.test, 2] = 17 << Q
    made = released_code.refit(replace(none, learn=replace(none.learn, x=x)))
    normalised = made.scaler.transform(x[none.test])
    assert not normalised[:, 2].any()
    assert normalised.min() == 0
    assert normalised.max() == 1


def test_discrepancies_become_records_and_records_a_table(everything, models, tmp_path):
    for model in models.values():
        save_model(model, tmp_path / "models")
    rows = discrepancies.evaluate_all(everything, PROFILE, results=tmp_path / "results", folder=tmp_path / "models")
    assert rows == records.read(tmp_path / "results/discrepancy.jsonl")
    assert len(rows) == len(records.current(rows, "discrepancy")) == len(discrepancies.ROWS) * len(config.TASKS)
    frame = table(Results(rows))
    raws = {(r["asked"]["task"], r["asked"]["switch"]): r["raw"] for r in rows}
    data = everything.sample()
    for task, model in models.items():
        test = dataset.split(data, 0)[2]
        truth, ints = data.target(task)[test], model.twins["nn_q16"].predict(data.x[test])
        assert raws[task, "none"]["accuracy"] == np.mean(ints == truth)
        for row in discrepancies.ROWS:
            confusion = np.array(raws[task, row]["confusion"])
            assert confusion.sum() == len(test)
            assert np.trace(confusion) / len(test) == pytest.approx(raws[task, row]["accuracy"])
            cells = frame[(frame["task"] == task) & (frame["switch"] == row)].set_index("metric")
            change = row != "none"
            assert cells.loc["accuracy", "ours"] == pytest.approx(
                100 * (raws[task, row]["accuracy"] - change * raws[task, "none"]["accuracy"])
            )
            assert cells.loc["accuracy", "unit"] == ("points" if change else "%")
            assert set(cells["n"]) == {1}
    assert raws["binary", "time"]["agreement_with_float"] < 0.9


def test_a_dataset_without_every_packet_is_refused(everything):
    with pytest.raises(UserError, match="does not hold every packet"):
        discrepancies.evaluate_all(everything.sample("last"), PROFILE)
