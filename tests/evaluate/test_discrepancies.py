"""Each departure of the released code changes what it says and nothing else, and its row is made from records."""

from dataclasses import fields, replace

import numpy as np
import pytest

from ids_repro import config, records
from ids_repro.config import UserError
from ids_repro.data import dataset
from ids_repro.evaluate import discrepancies, parity_vectors, released_code
from ids_repro.evaluate.rows import predictions
from ids_repro.models.int_mlp import IntMlp
from ids_repro.models.model import load_model, model_path, save_model
from ids_repro.models.scaling import MinMax
from ids_repro.native import library
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


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    table = tmp_path_factory.mktemp("dataset") / "lab.parquet"
    return dataset.prepare(config.SAMPLE, config.SAMPLE.with_suffix(".csv"), table)


def packets(x, flow, time_us):
    """A dataset of these packets, in their units."""
    flow, time_us = np.asarray(flow), np.asarray(time_us)
    index = np.array([np.sum(flow[:i] == f) for i, f in enumerate(flow)])
    x = np.asarray(x, np.int64) << Q
    return dataset.Dataset(x, flow, index, np.arange(len(flow)), time_us, np.zeros(len(flow), np.int8), {})


def small_net(range_=1 << Q, dequant=1 << 32):
    """One layer that gives the int8 value of the first feature, and that of its opposite."""
    weights = np.zeros((12, 2), np.int8)
    weights[0] = 1, -1
    range_ = np.full(12, range_)
    s = np.round(2.0**62 / range_).astype(np.int64)
    return IntMlp(np.zeros(12, np.int64), range_, s, np.array([127 << Q]), [np.full(2, dequant)], [weights])


def in_setup(net):
    return released_code.Setup(None, None, None, None, None, None, net)


def test_running_mean_is_within_the_flow_and_rounded_down():
    data = packets(np.zeros((5, 12)), [7, 2, 7, 7, 2], range(5))
    values = np.array([[0, 3], [100, 1], [10, 3], [21, 4], [101, 2]])
    np.testing.assert_array_equal(
        released_code.running_mean(values, data), [[0, 3], [100, 1], [5, 3], [10, 3], [100, 1]]
    )


def test_one_way_by_hand():
    x = np.zeros((3, 12), int)
    x[:, :5] = [[10, 80, 6, 100, 1], [80, 10, 6, 60, 0], [10, 80, 6, 300, 1]]
    out = released_code.one_way(packets(x, [0, 0, 0], [1000, 1010, 1030]))
    expected = [
        [10, 80, 6, 100, 1, 0, 100, 1, 0, 0, 0, 0],
        [80, 10, 6, 60, 1, 0, 60, 1, 0, 0, 0, 0],  # the first of a flow of its own
        [10, 80, 6, 300, 1, 30, 200, 1, 15, 100, 0, 15],
    ]
    np.testing.assert_array_equal(out.x >> Q, expected)
    assert len(np.unique(out.flow)) == 2


def test_one_way_is_what_the_c_makes_of_one_direction_alone(sample):
    rows = sample.rows[sample.rows["proto"] == 17]  # UDP: a flow never ends by itself within the sample
    x, flow = library.extract(rows)
    index, time_us = np.arange(len(rows)), (rows["ts_ns"] // 1000).astype(np.int64)
    data = dataset.Dataset(x, flow.astype(np.int64), index, index, time_us, np.zeros(len(rows), np.int8), {})
    found = released_code.one_way(data).x
    for way in (x[:, 4] > 0, x[:, 4] == 0):
        assert way.sum() > 100
        np.testing.assert_array_equal(found[way], library.extract(rows[way])[0])


def test_released_features_are_running_deviations_in_another_order():
    x = np.tile(np.arange(12), (3, 1))
    x[:, 9:] = [[0, 0, 0], [10, 1, 4], [20, 2, 2]]
    out = released_code.as_released(packets(x, [0, 0, 0], range(3))).x / (1 << Q)
    np.testing.assert_array_equal(out[2], [0, 1, 2, 3, 5, 4, 6, 8, 7, 10, 2, 1])


@pytest.mark.parametrize(
    ("value", "clip", "expected"),
    [(1.0, True, 127), (1.0, False, 127), (1.004, True, 127), (1.004, False, -128), (2.0, False, -2), (0.5, False, 64),
     (65535.0, False, -127), (65537.0, False, 127)],
)  # fmt: skip
def test_without_the_clip_the_int8_wraps(value, clip, expected):
    x = np.zeros((1, 12), np.int64)
    x[0, 0] = round(value * (1 << Q))
    np.testing.assert_array_equal(released_code.logits(small_net(), x, clip=clip) >> Q, [[expected, -expected]])


def test_without_the_shift_a_65536th_is_one():
    x = np.zeros((1, 12), np.int64)
    x[0, 0] = 1
    assert released_code.logits(small_net(), x)[0, 0] == 0
    assert released_code.logits(small_net(), x, shift=False)[0, 0] >> Q == 127


@pytest.mark.parametrize("task", config.TASKS)
def test_with_clip_and_shift_the_arithmetic_is_q16(models, sample, task):
    x = np.concatenate([library.extract(sample.rows)[0], parity_vectors.random_vectors(5000)])
    np.testing.assert_array_equal(
        released_code.logits(models[task].twins["nn_q16"], x), models[task].twins["nn_q16"].logits(x)
    )


@pytest.mark.parametrize(("width", "s"), [(1, 65536), (33000, 1), (65536, 1), (65537, 0), (10**7, 0)])
def test_truncated_scale(width, s):
    assert released_code.truncate(in_setup(small_net(range_=width << Q))).net.s.tolist() == [s << 30] * 12


def test_dequantiser_with_16_bits():
    for exact, rounded in ((2.4, 2), (2.5, 3), (65.4, 65)):
        made = released_code.round_dequant(in_setup(small_net(dequant=round(exact * (1 << 16)))))
        assert made.net.dequant[0].tolist() == [rounded << 16] * 2


def changed(a, b):
    """Names of what differs between two setups."""

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


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Models and results in a folder of the test's own."""
    for function in (save_model, load_model, model_path):
        monkeypatch.setattr(function, "__defaults__", (tmp_path / "models",))
    monkeypatch.setattr(discrepancies, "DISCREPANCY", tmp_path / "results/discrepancy.jsonl")
    return tmp_path / "results"


def test_departures_become_records_and_records_a_table(everything, models, results):
    for model in models.values():
        save_model(model)
    rows = discrepancies.evaluate_all(everything, PROFILE)
    assert rows == records.read(results)
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
