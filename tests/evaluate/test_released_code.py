"""Each function of released_code gives what the released code gives, computed by hand or by the C of this project."""

import numpy as np
import pytest

from ids_repro import config
from ids_repro.data import dataset
from ids_repro.evaluate import parity_vectors, released_code
from ids_repro.models.int_mlp import IntMlp
from ids_repro.native import library
from ids_repro.native.layouts import Q


def packets(x, flow, time_us):
    """Return a dataset of these packets; features are in their own units."""
    flow, time_us = np.asarray(flow), np.asarray(time_us)
    index = np.array([np.sum(flow[:i] == f) for i, f in enumerate(flow)])
    x = np.asarray(x, np.int64) << Q
    return dataset.Dataset(x, flow, index, np.arange(len(flow)), time_us, np.zeros(len(flow), np.int8), {})


def small_net(range_=1 << Q, dequant=1 << 32):
    """Return a net of one layer whose logits are the int8 value of the first feature and its opposite."""
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
    rows = sample.rows[sample.rows["proto"] == 17]  # UDP, because such a flow does not end within the sample
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
