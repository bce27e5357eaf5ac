"""What the kernel program says of packets: what a model says of each or, of a detector, what their flows keep."""

from __future__ import annotations

import numpy as np

from .model import Model


def verdicts(
    model: Model, struct: str, found: tuple[np.ndarray, np.ndarray], flow: np.ndarray | None = None
) -> np.ndarray:
    """Return what the kernel program says of vectors: their classes, or of a detector whether their flow is flagged.

    Parameters
    ----------
    model : Model
    struct : str
        Name of one of its integer models.
    found : tuple of ndarray
        Logits and classes of n vectors.
    flow : ndarray of shape (n,), int, optional
        Number of each vector's flow. The vectors are those of packets in the order of arrival. By default each vector
        is a flow of its own.

    Returns
    -------
    ndarray of shape (n,), int
    """
    logits, classes = found
    if model.detector is None:
        return classes
    alarm = logits[:, 1] - logits[:, 0] >= model.twins[struct].flag_at
    return (alarm if flow is None else raised(alarm, flow)).astype(np.int64)


def raised(alarm: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Return for each packet whether it or an earlier packet of its flow raised an alarm.

    Parameters
    ----------
    alarm : ndarray of shape (n,), bool
        Of packets in the order of arrival.
    flow : ndarray of shape (n,), int
        Number of each packet's flow.

    Returns
    -------
    ndarray of shape (n,), bool
    """
    _, at = np.unique(flow, return_inverse=True)
    return np.arange(len(flow)) >= first_alarms(alarm, at)[at]


def first_alarms(alarm: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return which packet of each flow is the first that raises an alarm.

    Parameters
    ----------
    alarm : ndarray of shape (n,), bool
        Of packets in the order of arrival.
    at : ndarray of shape (n,), int
        Each packet's flow, counted from 0 without a gap.

    Returns
    -------
    ndarray of shape (n_flows,), int
        Index of the packet; n if none does.
    """
    first = np.full(at.max(initial=-1) + 1, len(at))
    np.minimum.at(first, at[alarm], np.flatnonzero(alarm))
    return first
