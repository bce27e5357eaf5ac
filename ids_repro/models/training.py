"""Train the paper's float models: the MLP with PyTorch, the decision tree with scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from .. import cluster
from ..config import UserError
from .float_mlp import MLP

Progress = Callable[[float, float, float], None]
# The optimiser, the schedule of its step size, and what shuffles the vectors.
Steps = tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler | None, torch.Generator]
LEARNING_RATE = 1e-3  # Sec. V-A1
DEPTH = 5  # of the tree, Sec. V-A1
LOOK = 1000  # within an epoch, progress is reported each time after this many steps


def train_mlp(
    x: np.ndarray,
    y: np.ndarray,
    validation: tuple[np.ndarray, np.ndarray],
    n_classes: int,
    seed: int,
    epochs: int,
    batch_size: int,
    progress: Progress = lambda *_: None,
    learning_rate: float = LEARNING_RATE,
    one_cycle: bool = False,
) -> tuple[MLP, list[dict]]:
    """Train the MLP with Adam and keep the epoch with the best validation accuracy.

    Parameters
    ----------
    x, y : ndarray of shape (n, 12), and of shape (n,), int
        Normalised features and classes of the training part.
    validation : tuple of ndarray
        The same two of the validation part.
    n_classes, seed, epochs, batch_size : int
        2 or 7 classes; the seed is that of the weights and the shuffling.
    progress : callable, optional
        It is called after each epoch, and every LOOK steps in a longer one. It gets the epochs done, the mean loss in
        this epoch so far, and the validation accuracy of the last complete epoch (NaN in the first).
    learning_rate, one_cycle : float, bool
        Adam's step size. With `one_cycle` it rises to this and then falls to nearly zero (Smith and Topin, 2019).

    Returns
    -------
    model : MLP
    history : list of dict
        "epoch", "loss" (mean cross-entropy of the training part) and "accuracy" (of the validation part) of each epoch.

    Raises
    ------
    UserError
        If a feature is not finite, or if the loss is not finite after an epoch.
    """
    model, numbers = _new_net(x, n_classes, seed)
    training = torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y)
    optimiser = torch.optim.Adam(model.parameters(), lr=learning_rate, fused=True)
    steps = epochs * -(-len(x) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, steps) if one_cycle else None
    return model, _fit(model, (optimiser, schedule, numbers), training, validation, epochs, batch_size, progress)


def _new_net(x: np.ndarray, n_classes: int, seed: int) -> tuple[MLP, torch.Generator]:
    """Return a net with random weights, and what drew them: a generator of its own, because other threads train too."""
    if not np.isfinite(x).all():
        raise UserError("a feature in the training part is not a finite number: extract the data again")
    torch.set_num_threads(1)  # threads do not speed up so small a net, and one thread adds in the same order everywhere
    numbers = torch.Generator().manual_seed(seed)
    return MLP.drawn(n_classes, x.shape[1], numbers), numbers


def _fit(
    model: MLP,
    steps: Steps,
    training: tuple[torch.Tensor, torch.Tensor],
    validation: tuple[np.ndarray, np.ndarray],
    epochs: int,
    batch_size: int,
    progress: Progress,
) -> list[dict]:
    """Train for all epochs, give the net the weights of the best one, and return the history."""
    history, best, accuracy, kept = [], -1.0, float("nan"), None
    for epoch in range(epochs):
        for share, loss in _train_epoch(model, steps, training, batch_size):
            cluster.stop_if_unwanted()
            if share < 1:
                progress(epoch + share, loss, accuracy)
        if not np.isfinite(loss):
            raise UserError(f"the loss is {loss} after epoch {epoch + 1}: look for extreme values in the data")
        accuracy = float(np.mean(model.predict(validation[0]) == validation[1]))
        history.append({"epoch": epoch, "loss": loss, "accuracy": accuracy})
        if accuracy > best:
            best, kept = accuracy, {k: v.clone() for k, v in model.state_dict().items()}
        progress(epoch + 1, loss, accuracy)
    model.load_state_dict(kept)
    return history


def _train_epoch(
    model: MLP, steps: Steps, training: tuple[torch.Tensor, torch.Tensor], batch_size: int
) -> Iterator[tuple[float, float]]:
    """Train on every vector once, in random order.

    Yields
    ------
    share : float
        Share of the vectors done: after every LOOK steps, and 1 at the end.
    loss : float
        Mean cross-entropy of these vectors.
    """
    (optimiser, schedule, numbers), (x, y) = steps, training
    total, done = 0.0, 0
    # One permutation per epoch of tensors in memory: a DataLoader would spend its time on single vectors.
    order = torch.randperm(len(y), generator=numbers)
    for step, batch in enumerate(zip(x[order].split(batch_size), y[order].split(batch_size), strict=True), start=1):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        optimiser.step()
        if schedule is not None:
            schedule.step()
        total, done = total + loss.item() * len(batch[1]), done + len(batch[1])
        if step % LOOK == 0 or done == len(y):
            yield done / len(y), total / done


def train_tree(
    x: np.ndarray, y: np.ndarray, seed: int, depth: int = DEPTH, least_in_leaf: int = 1, criterion: str = "gini"
) -> DecisionTreeClassifier:
    """Train the decision tree, by default the paper's (Sec. V-A1).

    Parameters
    ----------
    x : ndarray of shape (n, 12)
        Features in their own units, because a tree needs no normalisation.
    y : ndarray of shape (n,), int
        Classes.
    seed : int
        Seed of the choice among splits that are equally good.
    depth : int
        Steps of the longest walk from the root to a leaf.
    least_in_leaf : int
        Training vectors that each leaf must have.
    criterion : {"gini", "entropy"}
        Measure of how good a split is.
    """
    tree = DecisionTreeClassifier(
        max_depth=depth, min_samples_leaf=least_in_leaf, criterion=criterion, random_state=seed
    )
    return tree.fit(x, y)
