"""Min-max normalisation (Sec. IV-B)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..config import UserError
from ..data.features import FEATURES


@dataclass(frozen=True)
class MinMax:
    """Min-max normalisation fitted on the training part (Sec. IV-B).

    Parameters
    ----------
    min_, range_ : ndarray of shape (12,), int64
        Smallest value and width of each feature, Q16.
    """

    min_: np.ndarray
    range_: np.ndarray

    @classmethod
    def fit(cls, x: np.ndarray) -> MinMax:
        """Fit on features of shape (n, 12), int64, Q16.

        Raises
        ------
        UserError
            If a feature is constant.
        """
        low, high = x.min(axis=0), x.max(axis=0)
        for name, width in zip(FEATURES, high - low, strict=True):
            if width == 0:
                raise UserError(f"the feature {name!r} is constant in the training part: nothing to normalise by")
        return cls(low, high - low)

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Normalise features of shape (n, 12), int64, Q16, to float64; the training part falls into [0, 1]."""
        return (x - self.min_) / self.range_
