"""How the released code departs from the paper's text, as changes of data, of a net and of its arithmetic.

Facts read in the public repository of the paper (oakeshott/Kernel-Packet-Processing-...); no line of it is here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..data.dataset import Dataset
from ..data.features import FEATURES
from ..models.fixed import INT8_MAX, round_shift, to_fixed
from ..models.float_mlp import MLP
from ..models.int_mlp import DEQUANT_BITS, S_BITS, IntMlp, quantize_mlp
from ..models.scaling import MinMax
from ..native import library
from ..native.layouts import Q

IAT = [FEATURES.index(name) for name in ("iat", "iat_mean", "iat_dev")]
DEVIATIONS = slice(FEATURES.index("len_dev"), len(FEATURES))
ORDER = [0, 1, 2, 3, 5, 4, 6, 8, 7, 9, 11, 10]  # the interval stands before the direction, in each of the triples


@dataclass(frozen=True)
class Setup:
    """What stands between the packets and the verdicts of one net.

    Parameters
    ----------
    learn, seen : Dataset
        The vectors that the net was trained on and that the float net classifies; the same packets as the integer net
        sees them.
    train, test : ndarray of int
        Indices into both.
    mlp, scaler, net : MLP, MinMax, IntMlp
        The float net, its normaliser, the integer net.
    clip, shift, from_zero : bool
        Departures that no data can express: see `logits` and `Setup.verdicts`.
    """

    learn: Dataset
    seen: Dataset
    train: np.ndarray
    test: np.ndarray
    mlp: MLP
    scaler: MinMax
    net: IntMlp
    clip: bool = True
    shift: bool = True
    from_zero: bool = False

    def verdicts(self) -> tuple[np.ndarray, np.ndarray]:
        """Classes of the test part by the float net and by the integer net, in C where data alone can tell it so."""
        floats = self.mlp.predict(self.scaler.transform(self.learn.x[self.test]))
        x = self.seen.x[self.test]
        if self.clip and self.shift:
            out, _ = library.predict("nn_q16", self.net.to_bytes(), self.net.n_classes, x)
        else:
            out = logits(self.net, x, self.clip, self.shift)
        return floats, (np.maximum(out, 0) if self.from_zero else out).argmax(axis=1)


def logits(net: IntMlp, x: np.ndarray, clip: bool = True, shift: bool = True) -> np.ndarray:
    """`IntMlp.logits` with the released code's arithmetic.

    Parameters
    ----------
    clip : bool
        False: |x| is compared with 2^16 alpha instead of alpha; between the two the int8 wraps, 1.004 becomes -128.
    shift : bool
        False: the normalised value, a product of two Q16 numbers, is not shifted back.
    """
    a = np.floor((x - net.min_).astype(float) * net.s / 2.0**S_BITS + 0.5).astype(np.int64) << (0 if shift else Q)
    for layer, w in enumerate(net.weights):
        sigma = int(net.sigma[layer])
        limit = (INT8_MAX << (2 * Q if clip else 3 * Q)) // sigma
        q = round_shift(np.clip(a, -limit, limit) * sigma, 2 * Q).astype(np.int8).astype(np.int64)
        q = np.where(np.abs(a) > limit, np.sign(a) * INT8_MAX, q)
        a = round_shift(q @ w.astype(np.int64) * net.dequant[layer], DEQUANT_BITS - Q)
        if layer < len(net.weights) - 1:
            a = np.maximum(a, 0)
    return a


def running_mean(values: np.ndarray, data: Dataset) -> np.ndarray:
    """Mean over a flow's packets up to each one, rounded down; values of shape (n, k), int64, one line a packet."""
    order = np.lexsort((data.index, data.flow))
    start = np.flatnonzero(np.diff(data.flow[order], prepend=-1))
    sizes = np.diff(start, append=len(order))
    count = np.arange(len(order)) - np.repeat(start, sizes) + 1
    sums = np.cumsum(values[order], axis=0)
    before = np.repeat((sums - values[order])[start], sizes, axis=0)
    out = np.empty_like(values)
    out[order] = (sums - before) // count[:, None]
    return out


def one_way(data: Dataset) -> Dataset:
    """Return the features that a table with one-way keys makes: each direction is a flow of its own, x5 always 1.

    The packets stay the same, so that the vector of a flow's last packet is what its own direction knows by then.
    """
    way = replace(data, flow=2 * data.flow + (data.x[:, 4] == 0))
    order = np.lexsort((way.index, way.flow))
    same = np.diff(way.flow[order], prepend=-1) == 0
    iat = np.empty_like(way.time_us)
    iat[order] = np.where(same, np.maximum(np.diff(way.time_us[order], prepend=0), 0), 0)
    now = np.stack([way.x[:, 3], np.full_like(iat, 1 << Q), iat << Q], axis=1)
    mean = running_mean(now, way)
    return replace(way, x=np.concatenate([way.x[:, :3], now, mean, np.abs(now - mean)], axis=1))


def as_released(data: Dataset) -> Dataset:
    """Return the released feature vector: another order, and means of the deviations so far for the deviations."""
    x = data.x.copy()
    x[:, DEVIATIONS] = running_mean(x[:, DEVIATIONS], data)
    return replace(data, x=x[:, ORDER])


def in_ms_and_ns(learn: Dataset, seen: Dataset) -> tuple[Dataset, Dataset]:
    """Return the intervals in ms in the vectors to learn from, in ns in those that the integer net sees.

    Min-max normalisation takes a unit away, so that nothing has to be trained anew.
    """
    in_ms, in_ns = learn.x.copy(), seen.x.copy()
    in_ms[:, IAT] //= 1000
    in_ns[:, IAT] *= 1000
    return replace(learn, x=in_ms), replace(seen, x=in_ns)


def normalised_by(setup: Setup, scaler: MinMax) -> Setup:
    """Put another normaliser before both nets."""
    s = to_fixed((1 << Q) / scaler.range_, S_BITS)
    return replace(setup, scaler=scaler, net=replace(setup.net, min_=scaler.min_, range_=scaler.range_, s=s))


def maximum(setup: Setup) -> Setup:
    """Set each threshold to the largest magnitude: of activations over the training part, of a column of weights."""
    inputs, weights = setup.mlp.inputs(setup.scaler.transform(setup.learn.x[setup.train])), setup.mlp.weights()
    alpha = [float(np.abs(x).max()) or 1.0 for x in inputs]
    alpha_w = [np.where((top := np.abs(w).max(axis=0)) > 0, top, 1.0) for w in weights]
    return replace(setup, net=quantize_mlp(weights, setup.scaler, alpha, alpha_w))


def refit(setup: Setup) -> Setup:
    """Fit the normaliser on the test part; a feature that is constant there becomes 0."""
    x = setup.learn.x[setup.test]
    return normalised_by(setup, MinMax(x.min(axis=0), np.maximum(np.ptp(x, axis=0), 1)))


def truncate(setup: Setup) -> Setup:
    """Cut s to int(2^16 / (max - min)) in the feature's own unit, 16 fractional bits."""
    return replace(setup, net=replace(setup.net, s=(1 << 2 * Q) // setup.net.range_ << S_BITS - Q))


def round_dequant(setup: Setup) -> Setup:
    """Round 1/(sigma sigma_weight) to 16 fractional bits."""
    cut = DEQUANT_BITS - Q
    rounded = [round_shift(d, cut) << cut for d in setup.net.dequant]
    return replace(setup, net=replace(setup.net, dequant=rounded))
