"""Train the paper's float models: the MLP with PyTorch, the decision tree with scikit-learn.

The nets of several seeds are trained at once: a step of so small a net costs its calls, not its arithmetic, so ten nets
take hardly longer than two. Each gets the numbers that it would get alone, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from .. import cluster
from ..config import UserError
from ..native.layouts import PAPER_NET, Hidden
from .float_mlp import MLP
from .shape import DEPTH

Progress = Callable[[float, float, float], None]
LEARNING_RATE = 1e-3  # Sec. V-A1
NO_CLASS = -100  # of a vector that does not count
LOOK = 1000  # within an epoch, progress is reported each time after this many steps


class Part(NamedTuple):
    """What one net learns.

    Attributes
    ----------
    x, y : ndarray of shape (n, M_0), and of shape (n,), int
        Normalised features, all twelve or some of them, and classes of the training part.
    validation : tuple of ndarray
        The same two of the validation part.
    seed : int
        Of the weights and the shuffling.
    """

    x: np.ndarray
    y: np.ndarray
    validation: tuple[np.ndarray, np.ndarray]
    seed: int


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
    hidden: Hidden = PAPER_NET,
) -> tuple[MLP, list[dict]]:
    """Train one MLP; see `train_mlps`, and `Part` for the first parameters."""
    part = Part(x, y, validation, seed)
    return train_mlps([part], n_classes, epochs, batch_size, progress, learning_rate, one_cycle, hidden)[0]


def train_mlps(
    parts: Sequence[Part],
    n_classes: int,
    epochs: int,
    batch_size: int,
    progress: Progress = lambda *_: None,
    learning_rate: float = LEARNING_RATE,
    one_cycle: bool = False,
    hidden: Hidden = PAPER_NET,
) -> list[tuple[MLP, list[dict]]]:
    """Train an MLP on each of some parts with Adam, all at once, and keep the epoch with the best validation accuracy.

    Parameters
    ----------
    parts : sequence of Part
        Their training parts have equally many vectors.
    n_classes, epochs, batch_size : int
        2 or 7 classes.
    progress : callable, optional
        It is called after each epoch, and every LOOK steps in a longer one. It gets the epochs done, the mean loss in
        this epoch so far, and the validation accuracy of the last complete epoch (NaN in the first): means of all nets.
    learning_rate, one_cycle : float, bool
        Adam's step size. With `one_cycle` it rises to this and then falls to nearly zero (Smith and Topin, 2019).
    hidden : tuple of int
        Widths of the hidden layers.

    Returns
    -------
    list of (MLP, list of dict)
        Each net and its history: "epoch", "loss" (mean cross-entropy of the training part) and "accuracy" (of the
        validation part) of each epoch.

    Raises
    ------
    UserError
        If a feature is not finite, or if a loss is not finite after an epoch.
    """
    if not all(np.isfinite(part.x).all() for part in parts):
        raise UserError("a feature in the training part is not a finite number: extract the data again")
    torch.set_num_threads(1)  # threads do not speed up so small a net, and one thread adds in the same order everywhere
    nets = _Nets(parts, n_classes, hidden)
    optimiser = torch.optim.Adam(nets.weights, lr=learning_rate, fused=True)
    steps = epochs * -(-nets.n // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, steps) if one_cycle else None
    return _fit(nets, parts, lambda: nets.epoch(optimiser, schedule, batch_size), epochs, progress)


def _fit(
    nets: _Nets,
    parts: Sequence[Part],
    train_epoch: Callable[[], Iterator[tuple[float, np.ndarray]]],
    epochs: int,
    progress: Progress,
) -> list[tuple[MLP, list[dict]]]:
    """Train for all epochs, and return each net as it was after its best one, and its history."""
    kept, histories = [nets.one(at) for at in range(len(parts))], [[] for _ in parts]
    best, accuracy = [-1.0] * len(parts), float("nan")
    for epoch in range(epochs):
        for share, loss in train_epoch():
            cluster.stop_if_unwanted()
            if share < 1:
                progress(epoch + share, float(np.mean(loss)), accuracy)
        if not np.isfinite(loss).all():
            wrong = loss[~np.isfinite(loss)][0]
            raise UserError(f"the loss is {wrong} after epoch {epoch + 1}: look for extreme values in the data")
        for at, history in enumerate(histories):
            right = nets.right(at)
            history.append({"epoch": epoch, "loss": float(loss[at]), "accuracy": right})
            if right > best[at]:
                kept[at], best[at] = nets.one(at), right
        accuracy = float(np.mean([history[-1]["accuracy"] for history in histories]))
        progress(epoch + 1, float(np.mean(loss)), accuracy)
    return list(zip(kept, histories, strict=True))


class _Nets:
    """Nets side by side: each layer is one array of shape (nets, M_{l-1}, M_l).

    Each has a generator of its own for its weights and its order of the vectors, because other threads train too.
    """

    def __init__(self, parts: Sequence[Part], n_classes: int, hidden: Hidden) -> None:
        self.n = len(parts[0].y)
        self._numbers = [torch.Generator().manual_seed(part.seed) for part in parts]
        drawn = [
            MLP.drawn(n_classes, part.x.shape[1], numbers, hidden)
            for part, numbers in zip(parts, self._numbers, strict=True)
        ]
        layers = zip(*(net.layers for net in drawn), strict=True)
        self.weights = [nn.Parameter(torch.stack([one.weight.detach().T for one in layer])) for layer in layers]
        self._x = torch.stack([torch.as_tensor(part.x, dtype=torch.float32) for part in parts])
        self._y = torch.stack([torch.as_tensor(part.y) for part in parts])
        pairs = (part.validation for part in parts)
        self._validation = [(torch.as_tensor(x, dtype=torch.float32)[None], y) for x, y in pairs]

    def one(self, at: int) -> MLP:
        """Return one net as it is now."""
        return MLP.of([layer[at].detach().numpy().copy() for layer in self.weights])

    def right(self, at: int) -> float:
        """Return the validation accuracy of one net as it is now. Few vectors have many epochs: this makes no `MLP`."""
        x, y = self._validation[at]
        with torch.no_grad():
            logits = _logits(x, [layer[at : at + 1] for layer in self.weights])
        return float(np.mean(logits[0].argmax(dim=1).numpy() == y))

    def epoch(
        self,
        optimiser: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler | None,
        batch_size: int,
    ) -> Iterator[tuple[float, np.ndarray]]:
        """Train each net on every vector of its part once, in random order.

        Yields
        ------
        share : float
            Share of the vectors done: after every LOOK steps, and 1 at the end.
        loss : ndarray of shape (nets,)
            Mean cross-entropy of these vectors.
        """
        total, done = torch.zeros(len(self._x), dtype=torch.float64), 0
        # One permutation per epoch of tensors in memory: a DataLoader would spend its time on single vectors.
        order = torch.stack([torch.randperm(self.n, generator=numbers) for numbers in self._numbers])
        x, y = self._x.gather(1, order[..., None].expand(-1, -1, self._x.shape[2])), self._y.gather(1, order)
        # The last batch is filled up with vectors that do not count. At the end of an array that is no multiple of a
        # CPU's vector, PyTorch rounds otherwise, so that the numbers would depend on how many nets there are.
        lack = -self.n % batch_size
        x, y = nn.functional.pad(x, (0, 0, 0, lack)), nn.functional.pad(y, (0, lack), value=NO_CLASS)
        batches = zip(x.split(batch_size, dim=1), y.split(batch_size, dim=1), strict=True)
        for step, (inputs, truth) in enumerate(batches, start=1):
            optimiser.zero_grad()
            logits = _logits(inputs, self.weights)
            n, classes = min(batch_size, self.n - done), truth.flatten()
            losses = nn.functional.cross_entropy(logits.flatten(0, 1), classes, reduction="none", ignore_index=NO_CLASS)
            losses = losses.view(truth.shape)
            losses.sum(dim=1).div(n).sum().backward()
            optimiser.step()
            if schedule is not None:
                schedule.step()
            total, done = total + losses.detach().double().sum(dim=1), done + n
            if step % LOOK == 0 or done == self.n:
                yield done / self.n, (total / done).numpy()


def _logits(values: torch.Tensor, layers: Sequence[torch.Tensor]) -> torch.Tensor:
    """Pass vectors of shape (nets, n, M_0) through layers of shape (nets, M_{l-1}, M_l), each net its own."""
    for layer in layers[:-1]:
        values = torch.relu(torch.bmm(values, layer))
    return torch.bmm(values, layers[-1])


def train_tree(
    x: np.ndarray, y: np.ndarray, seed: int, depth: int = DEPTH, least_in_leaf: int = 1, criterion: str = "gini"
) -> DecisionTreeClassifier:
    """Train the decision tree, by default the paper's (Sec. V-A1).

    Parameters
    ----------
    x : ndarray of shape (n, M_0)
        Features, all twelve or some of them, in their own units, because a tree needs no normalisation.
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
