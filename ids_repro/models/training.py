"""The float models of the paper: the MLP in PyTorch, the decision tree in scikit-learn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from ..config import UserError
from ..native.layouts import TREE_DEPTH
from .float_mlp import MLP

LEARNING_RATE = 1e-3  # Sec. V-A1
LOOK = 1000  # steps between two looks at the loss in a long epoch


def train_mlp(
    x: np.ndarray,
    y: np.ndarray,
    validation: tuple[np.ndarray, np.ndarray],
    n_classes: int,
    seed: int,
    epochs: int,
    batch_size: int,
    progress: Callable[[float, float, float], None] = lambda *_: None,
) -> tuple[MLP, list[dict]]:
    """Train the MLP with Adam and keep the epoch with the best validation accuracy.

    Parameters
    ----------
    x : ndarray of shape (n, 12)
        Normalised features.
    y : ndarray of shape (n,), int
        Classes.
    validation : tuple of ndarray
        The same two for the validation part.
    n_classes, seed, epochs, batch_size : int
        2 or 7 classes; the seed of weights and shuffling.
    progress : callable, optional
        Called after each epoch, and in a long one every LOOK steps, with (epochs done, mean loss so far in this epoch,
        validation accuracy of the last epoch or NaN).

    Returns
    -------
    model : MLP
    history : list of dict
        "epoch", "loss" (cross-entropy on the training part) and "accuracy" (on the validation part) of each epoch.

    Raises
    ------
    UserError
        If a feature is not finite, or the loss is not after an epoch.
    """
    if not np.isfinite(x).all():
        raise UserError("a feature in the training part is not a finite number: extract the data again")
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # a net this small only waits for its threads; and one thread makes the same sums anywhere
    model = MLP(n_classes, x.shape[1])
    data, target = torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y)
    optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    history, best, accuracy, kept = [], -1.0, float("nan"), None
    for epoch in range(epochs):
        total, done = 0.0, 0
        # one permutation an epoch over tensors in memory: a DataLoader would spend its time on single samples
        order = torch.randperm(len(data))
        for step, batch in enumerate(zip(data[order].split(batch_size), target[order].split(batch_size), strict=True)):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
            loss.backward()
            optimiser.step()
            total, done = total + loss.item() * len(batch[1]), done + len(batch[1])
            if step % LOOK == LOOK - 1 and done < len(data):
                progress(epoch + done / len(data), total / done, accuracy)
        if not np.isfinite(total):
            raise UserError(f"the loss is {total} after epoch {epoch + 1}: look for extreme values in the data")
        accuracy = float(np.mean(model.predict(validation[0]) == validation[1]))
        history.append({"epoch": epoch, "loss": total / len(data), "accuracy": accuracy})
        if accuracy > best:
            best, kept = accuracy, {k: v.clone() for k, v in model.state_dict().items()}
        progress(epoch + 1, total / len(data), accuracy)
    model.load_state_dict(kept)
    return model, history


def train_tree(x: np.ndarray, y: np.ndarray, seed: int) -> DecisionTreeClassifier:
    """Train the decision tree of depth 5 (Sec. V-A1).

    Parameters
    ----------
    x : ndarray of shape (n, 12)
        Features in their own units: a tree needs no normalisation.
    y : ndarray of shape (n,), int
        Classes.
    """
    return DecisionTreeClassifier(max_depth=TREE_DEPTH, random_state=seed).fit(x, y)
