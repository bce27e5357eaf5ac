"""Do what the released code does otherwise than the paper's text: change data, a net or its arithmetic.

We read what it does in the paper's public repository (oakeshott/Kernel-Packet-Processing-...) and copied no line of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..data.dataset import Dataset
from ..data.features import FEATURES
from ..models.fixed import INT8_MAX, hidden_of, round_shift, to_fixed
from ..models.float_mlp import MLP
from ..models.int_mlp import DEQUANT_BITS, S_BITS, IntMlp, quantize_mlp
from ..models.scaling import MinMax
from ..native import library
from ..native.layouts import Q

IAT = [FEATURES.index(name) for name in ("iat", "iat_mean", "iat_dev")]
DEVIATIONS = slice(FEATURES.index("len_dev"), len(FEATURES))
ORDER = [0, 1, 2, 3, 5, 4, 6, 8, 7, 9, 11, 10]  # the interval before the direction, in each of the three triples


@dataclass(frozen=True)
class Setup:
    """Everything that turns packets into the verdicts of one net.

    Parameters
    ----------
    learn : Dataset
        The vectors that the net was trained on, which the float net classifies.
    seen : Dataset
        The vectors of the same packets that the integer net classifies.
    train, test : ndarray of int
        Indices of the training part and of the test part in both.
    mlp : MLP
        The float net.
    scaler : MinMax
        Its normaliser.
    net : IntMlp
        The integer net.
    clip, shift : bool
        Whether the arithmetic of the integer net is the paper's; see `logits`.
    from_zero : bool
        Whether the search for the largest logit starts at 0: if no logit is above 0, the class is 0.
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
        """Return the classes of the test part by the float net and by the integer net.

        The integer net runs in C, or in NumPy if the arithmetic is not the paper's.

        Returns
        -------
        floats, ints : ndarray of shape (n_test,)
        """
        floats = self.mlp.predict(self.scaler.transform(self.learn.x[self.test]))
        x = self.seen.x[self.test]
        if self.clip and self.shift:
            out, _ = library.predict(
                "nn_q16", self.net.to_bytes(), self.net.n_classes, x, hidden=hidden_of(self.net.weights)
            )
        else:
            out = logits(self.net, x, self.clip, self.shift)
        return floats, (np.maximum(out, 0) if self.from_zero else out).argmax(axis=1)


def logits(net: IntMlp, x: np.ndarray, clip: bool = True, shift: bool = True) -> np.ndarray:
    """Return the logits of an integer net with the arithmetic of the paper or of the released code.

    Parameters
    ----------
    net : IntMlp
        A net in the arithmetic q16.
    x : ndarray of shape (n, 12), int64
        Features, Q16.
    clip : bool
        Whether |x| is compared with alpha. The released code compares it with 2^16 alpha; between the two the int8
        wraps, and 1.004 alpha becomes -128.
    shift : bool
        Whether the normalised value, a product of two Q16 numbers, is shifted back by 16 bits. The released code does
        not shift it.

    Returns
    -------
    ndarray of shape (n, n_classes), int64
        Q16.
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
    """Return the mean of values over the packets of a flow up to each packet, rounded down.

    Parameters
    ----------
    values : ndarray of shape (n, k), int64
        k values for each packet.
    data : Dataset
        The packets.

    Returns
    -------
    ndarray of shape (n, k), int64
    """
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
    """Return the features that a flow table with one-way keys makes: each direction is a flow, and x5 is always 1.

    The packets stay the same. So the vector of a two-way flow's last packet is that of the packets in its direction.
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
    """Return the feature vectors of the released code: in another order, with the means of the deviations so far."""
    x = data.x.copy()
    x[:, DEVIATIONS] = running_mean(x[:, DEVIATIONS], data)
    return replace(data, x=x[:, ORDER])


def in_ms_and_ns(learn: Dataset, seen: Dataset) -> tuple[Dataset, Dataset]:
    """Return the vectors to learn from with intervals in ms, and those that the integer net sees with intervals in ns.

    Min-max normalisation removes the unit, so no net has to be trained again.
    """
    in_ms, in_ns = learn.x.copy(), seen.x.copy()
    in_ms[:, IAT] //= 1000
    in_ns[:, IAT] *= 1000
    return replace(learn, x=in_ms), replace(seen, x=in_ns)


def normalised_by(setup: Setup, scaler: MinMax) -> Setup:
    """Return a setup in which both nets have another normaliser."""
    s = to_fixed((1 << Q) / scaler.range_, S_BITS)
    return replace(setup, scaler=scaler, net=replace(setup.net, min_=scaler.min_, range_=scaler.range_, s=s))


def maximum(setup: Setup) -> Setup:
    """Quantize with the largest magnitude as each threshold: of an input over the training part, of a weight column."""
    inputs, weights = setup.mlp.inputs(setup.scaler.transform(setup.learn.x[setup.train])), setup.mlp.weights()
    alpha = [float(np.abs(x).max()) or 1.0 for x in inputs]
    alpha_w = [np.where((top := np.abs(w).max(axis=0)) > 0, top, 1.0) for w in weights]
    return replace(setup, net=quantize_mlp(weights, setup.scaler, alpha, alpha_w))


def refit(setup: Setup) -> Setup:
    """Fit the normaliser on the test part; a feature that is constant in it becomes 0."""
    x = setup.learn.x[setup.test]
    return normalised_by(setup, MinMax(x.min(axis=0), np.maximum(np.ptp(x, axis=0), 1)))


def truncate(setup: Setup) -> Setup:
    """Truncate s to int(2^16 / (max - min)), with max and min in the feature's own unit: 16 fractional bits."""
    return replace(setup, net=replace(setup.net, s=(1 << 2 * Q) // setup.net.range_ << S_BITS - Q))


def round_dequant(setup: Setup) -> Setup:
    """Round 1/(sigma sigma_weight) to 16 fractional bits."""
    cut = DEQUANT_BITS - Q
    rounded = [round_shift(d, cut) << cut for d in setup.net.dequant]
    return replace(setup, net=replace(setup.net, dequant=rounded))
