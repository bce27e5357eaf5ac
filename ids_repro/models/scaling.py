"""Min-max normalisation (Sec. IV-B)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..config import UserError
from ..data.features import FEATURES
from ..native.layouts import Q


def mean_length(x: np.ndarray) -> dict[str, float]:
    """Return what a model says of the packets that it was trained on, features of shape (n, 12) in Q16: their length.

    Returns
    -------
    dict of str to float
        "mean_length" [byte], for `Model.about`.
    """
    return {"mean_length": round(float(x[:, FEATURES.index("len")].mean()) / (1 << Q), 1)}


@dataclass(frozen=True)
class MinMax:
    """Normalisation of each feature by its smallest and largest value in the training part (Sec. IV-B).

    Parameters
    ----------
    min_, range_ : ndarray of shape (12,), int64
        Smallest value and width of each feature, Q16.
    """

    min_: np.ndarray
    range_: np.ndarray

    @classmethod
    def fit(cls, x: np.ndarray, constant: int | None = None, names: Sequence[str] = FEATURES) -> MinMax:
        """Find each feature's smallest value and width.

        Parameters
        ----------
        x : ndarray of shape (n, M_0), int64
            Features of the training part, Q16.
        constant : int, optional
            Width to take for a feature that is constant, Q16. A large one makes nothing of other values of it.
        names : sequence of str
            Names of the features.

        Raises
        ------
        UserError
            If a feature is constant and no width is given for it.
        """
        low, width = x.min(axis=0), np.ptp(x, axis=0)
        for at in np.flatnonzero(width == 0):
            if constant is None:
                what = f"the feature {names[at]!r} is constant in the training part: nothing to normalise by"
                raise UserError(f"{what}; leave it out (leave_out of notebook 02)")
            width[at] = constant
        return cls(low, width)

    def over(self, features: np.ndarray, width: int) -> MinMax:
        """Return the normalisation of all features, when it was fitted on those of these indices alone.

        Parameters
        ----------
        features : ndarray of int
            The indices.
        width : int
            Width to take for the others, Q16.
        """
        low, wide = np.zeros(len(FEATURES), np.int64), np.full(len(FEATURES), width)
        low[features], wide[features] = self.min_, self.range_
        return MinMax(low, wide)

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Normalise features.

        Parameters
        ----------
        x : ndarray of shape (n, 12), int64
            Features, Q16.

        Returns
        -------
        ndarray of shape (n, 12), float64
            (x - min) / range. Values of the training part lie in [0, 1].
        """
        return (x - self.min_) / self.range_
