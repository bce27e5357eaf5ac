"""Train the float models of a task: the net and the tree of each seed, in the shape that is chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from tqdm import tqdm

from ..config import TASKS, Profile, UserError
from ..data import dataset
from ..data.features import FEATURES, as_float
from ..text import rounded
from .fixed import RANGE_END
from .float_tree import FloatTree
from .model import Model
from .scaling import MinMax, mean_length
from .shape import PAPER, Shape, of_all_features
from .training import Part, train_mlps, train_tree

AT_ONCE = 4_000_000  # vectors of training parts that are in memory for nets that are trained at once: 400 MB


def train_model(data: dataset.Dataset, task: str, seed: int, profile: Profile, shape: Shape = PAPER) -> Model:
    """Train the float net and the float tree on one task with one seed; see `train_models`."""
    return train_models(data, task, [seed], profile, shape=shape)[0]


def train_models(
    data: dataset.Dataset,
    task: str,
    seeds: Sequence[int],
    profile: Profile,
    bar: tqdm | None = None,
    shape: Shape = PAPER,
) -> list[Model]:
    """Train the float net and the float tree on one task with each of some seeds.

    Parameters
    ----------
    data : Dataset
        One vector per flow, from `Dataset.sample`.
    task : {"binary", "multi"}
        A key of `config.TASKS`.
    seeds : sequence of int
        Seeds of the split, the weights and the shuffling.
    profile : Profile
        How long to train.
    bar : tqdm, optional
        A progress bar. It advances by 1 over the epochs of a model and shows loss and validation accuracy.
    shape : Shape
        Hidden layers, depth of the tree, and the features that are left out.

    Returns
    -------
    list of Model
        Not quantized yet.

    Raises
    ------
    UserError
        If the task has only one class, a training part lacks a class, a feature is constant in it, the tree has more
        nodes than the kernel's may have, or the loss is not finite.
    """
    y, splits = data.target(task), {seed: dataset.split(data, seed)[:2] for seed in seeds}
    for train, _ in splits.values():
        _require_classes(y, train, task)
    done: dict[int, Model] = {}
    for some in _alike({seed: len(train) for seed, (train, _) in splits.items()}):
        done |= _train_alike(data, task, {seed: splits[seed] for seed in some}, profile, bar, shape)
    return [done[seed] for seed in seeds]


def train_tasks(data: dataset.Dataset, profile: Profile, bar: tqdm | None = None, shape: Shape = PAPER) -> list[Model]:
    """Train a model for each task and seed of a profile; see `train_models`."""
    return [model for task in TASKS for model in train_models(data, task, profile.seeds, profile, bar, shape)]


def _alike(sizes: Mapping[int, int]) -> Iterator[list[int]]:
    """Yield seeds whose training parts have equally many vectors, as many as may be in memory at once."""
    for size in dict.fromkeys(sizes.values()):
        seeds, at_once = [seed for seed in sizes if sizes[seed] == size], max(1, AT_ONCE // size)
        yield from (seeds[begin : begin + at_once] for begin in range(0, len(seeds), at_once))


def _train_alike(
    data: dataset.Dataset,
    task: str,
    splits: Mapping[int, tuple[np.ndarray, np.ndarray]],
    profile: Profile,
    bar: tqdm | None,
    shape: Shape,
) -> dict[int, Model]:
    """Return the model of each seed; the nets are trained at once."""
    kept, x = shape.kept, np.ascontiguousarray(data.x[:, shape.kept])
    y, sizes = data.target(task), {len(train) for train, _ in splits.values()}
    epochs = max(profile.epochs, -(-profile.min_steps // -(-sizes.pop() // profile.batch_size)))
    names = [FEATURES[at] for at in kept]
    scalers = {seed: MinMax.fit(x[train], names=names) for seed, (train, _) in splits.items()}
    trees = {seed: _tree(x[train], y[train], seed, shape, len(TASKS[task])) for seed, (train, _) in splits.items()}
    begun = bar.n if bar is not None else 0

    def progress(done: float, loss: float, accuracy: float) -> None:
        if bar is not None:
            bar.set_postfix(
                task=task, seeds=len(splits), loss=rounded(loss, ".4f"), validation=rounded(accuracy, ".4f")
            )
            bar.update(begun + len(splits) * done / epochs - bar.n)

    parts = [
        Part(scalers[seed].transform(x[train]), y[train], (scalers[seed].transform(x[held]), y[held]), seed)
        for seed, (train, held) in splits.items()
    ]
    nets = train_mlps(parts, len(TASKS[task]), epochs, profile.batch_size, progress, hidden=shape.hidden)
    models = {}
    for (seed, (train, _)), (mlp, history) in zip(splits.items(), nets, strict=True):
        weights = of_all_features([w.astype(np.float32) for w in mlp.weights()], kept)
        unlike = shape.unlike(PAPER)
        about = mean_length(data.x[train]) | ({"shape": unlike} if unlike else {})
        parts = weights, trees[seed], scalers[seed].over(kept, RANGE_END - 1), history
        models[seed] = Model(task, seed, *parts, data.meta["sha256"], about=about)
    return models


def _tree(x: np.ndarray, y: np.ndarray, seed: int, shape: Shape, n_classes: int) -> FloatTree:
    """Train the tree on the features that are left, and refuse it if it has more nodes than the kernel's may have."""
    tree = FloatTree.of(train_tree(as_float(x), y, seed, shape.tree_depth)).over(shape.kept)
    if fault := tree.fault(n_classes):
        raise UserError(f"{fault}: give a smaller tree_depth")
    return tree


def _require_classes(y: np.ndarray, train: np.ndarray, task: str) -> None:
    there, learnt = (set(np.unique(part).tolist()) for part in (y, y[train]))
    for missing in sorted(there - learnt):
        raise UserError(f"no {TASKS[task][missing]!r} is in the training part: add flows of it, or take its flows out")
    if len(there) < 2:
        raise UserError(f"the {task} task has only {TASKS[task][there.pop()]!r} to learn: add flows of another class")
