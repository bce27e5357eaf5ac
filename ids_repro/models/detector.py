"""Train a detector: it scores every packet, and flags a flow when a score reaches a threshold set for a budget.

The paper's models learn one vector of each flow, give a class, and are asked once per flow. Asked at every packet, they
raise an alarm in half of the normal flows or more. A detector learns from every packet, and its threshold is such that
at most a given share of normal flows is ever flagged. Its evidence for a flow is the highest score of the flow's
packets so far, so one bit of the flow's state says whether that has reached the threshold.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import StratifiedKFold

from .. import parallel
from ..config import FALSE_ALARMS, NORMAL, SAMPLE, SAMPLE_LABELS, UserError, number
from ..data.dataset import Dataset, prepare
from ..progress import show_progress
from .file_header import MOST_CHARACTERS
from .model import Model, Seen
from .model_file import model_path, read_model
from .scaling import mean_length
from .scorers import FIT, Fit, Fitted, Progress, Settings, fitted_twin

FOLDS = 5
AT_ONCE = 1_000_000  # packets of the data that trees learn at once, in folds: 1 GB
PATH = model_path("detector", 0)


class Learnt(NamedTuple):
    """What was trained on flows, and what it says of flows that it was not trained on.

    Attributes
    ----------
    fitted : Fitted
    best : ndarray of shape (n_flows,)
        Highest score of each flow that was scored.
    attack : ndarray of shape (n_flows,), bool
        Whether the flow is an attack.
    """

    fitted: Fitted
    best: np.ndarray
    attack: np.ndarray


def train(
    data: Dataset,
    false_alarms: float = FALSE_ALARMS,
    seed: int = 0,
    settings: Settings | None = None,
    progress: Progress = lambda _: None,
) -> Model:
    """Train a detector, a tree and a net, and choose their thresholds.

    Parameters
    ----------
    data : Dataset
        A vector for every packet of the flows to learn from.
    false_alarms, seed, settings
        See `train_part`.
    progress : callable
        Gets the share of the work that is done.

    Returns
    -------
    Model
        Of task "binary", with `detector`.

    Raises
    ------
    UserError
        As `train_part` does.
    """
    number("false_alarms", false_alarms)
    settings, learnt = settings or Settings(), {}
    for nth, (struct, fit) in enumerate(FIT.items()):
        learnt[struct] = fit_and_score(
            fit, data, seed, settings, lambda done, nth=nth: progress((nth + done) / len(FIT))
        )
    return assembled(learnt, data, false_alarms, seed, settings)


def assembled(learnt: Mapping[str, Learnt], data: Dataset, false_alarms: float, seed: int, settings: Settings) -> Model:
    """Make a detector of a net and a tree that were trained already, and choose their thresholds.

    Parameters
    ----------
    learnt : mapping of str to Learnt
        What `fit_and_score` returned for each part in FIT.
    data, false_alarms, seed, settings
        With which it did; see `train`.

    Returns
    -------
    Model
    """
    twins, detector, floats = {}, {}, {}
    for struct, part in learnt.items():
        fitted, detector[struct] = _with_threshold(struct, part, false_alarms, settings)
        twins[struct] = fitted.twin
        floats |= fitted.floats
    about = {"data": data.meta["name"], "labels": data.named()["labels"], "sampling": "every"}
    about |= {name: data.meta[name] for name in ("arriving_at", "damage") if data.meta.get(name)}
    about = {name: text[:MOST_CHARACTERS] for name, text in about.items()}
    about |= settings.about() | mean_length(data.x)
    return Model("binary", seed, data_sha256=data.meta["sha256"], twins=twins, detector=detector, about=about, **floats)


def train_part(
    struct: str,
    data: Dataset,
    false_alarms: float = FALSE_ALARMS,
    seed: int = 0,
    settings: Settings | None = None,
    progress: Progress = lambda _: None,
) -> tuple[Fitted, Seen]:
    """Train the tree or the net of a detector, and choose its threshold (`fit_and_score`).

    Parameters
    ----------
    struct : {"nn_log2", "dt"}
        Which of the two.
    data : Dataset
        A vector for every packet of the flows to learn from: the first 100 of each flow are learnt, all are scored.
    false_alarms : float
        The budget: the largest share of normal flows that may be flagged.
    seed : int
        Of the folds, the weights, the shuffling, and the choice among equally good splits of the tree.
    settings : Settings, optional
    progress : callable
        Gets the share of the work that is done.

    Returns
    -------
    fitted : Fitted
        Its twin has `flag_at`.
    seen : Seen
        What was flagged at this threshold of the flows that the models had not learnt from.

    Raises
    ------
    UserError
        If the budget is out of range, or there are fewer normal flows or fewer attack flows than folds.
    """
    number("false_alarms", false_alarms)
    settings = settings or Settings()
    learnt = fit_and_score(FIT[struct], data, seed, settings, progress)
    return _with_threshold(struct, learnt, false_alarms, settings)


def _with_threshold(struct: str, learnt: Learnt, false_alarms: float, settings: Settings) -> tuple[Fitted, Seen]:
    """Choose the threshold of what was trained; see `train_part`."""
    fitted, best, attack = learnt
    flag_at = threshold(best[~attack], false_alarms)
    seen = Seen(false_alarms, *(float(np.mean(best[some] >= flag_at)) for some in (~attack, attack)))
    twin = replace(fitted.twin, flag_at=flag_at)
    return fitted_twin(struct, twin, fitted.floats, settings.shape.hidden), seen


def fit_and_score(
    fit: Fit, data: Dataset, seed: int, settings: Settings, progress: Progress = lambda _: None
) -> Learnt:
    """Train on flows, and score flows that were not learnt from.

    The flows are parted into five folds. Each fold is scored by a model that was trained on the four others, and then
    one is trained on all; without `Fit.again` only the first fold is scored, and its model is kept.

    Raises
    ------
    UserError
        If there are fewer normal flows or fewer attack flows than folds.
    """
    (flows, label), every = labels(data), data.sample("every")
    attack = label != NORMAL
    for what, n in (("normal", np.sum(~attack)), ("attack", np.sum(attack))):
        if n < FOLDS:
            raise UserError(f"{n} {what} flows to learn from: a detector needs at least {FOLDS}")
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(flows, attack)
    parts = list(itertools.islice(folds, FOLDS if fit.again else 1))
    so_far = _shares(len(parts) + fit.again, progress)

    def trained(nth: int) -> tuple:
        if nth == len(parts):
            return (fit.train(every, seed, settings, so_far[nth]),)
        learn, other = (flows[some] for some in parts[nth])
        fitted = fit.train(every.take(np.isin(every.flow, learn)), seed, settings, so_far[nth])
        some = data.take(np.isin(data.flow, other))
        return fitted, highest(fitted.score(some.x), some.flow)

    most = max(1, AT_ONCE // len(data.x))  # trees learn in C, so several can at once
    made = list(parallel.in_threads(trained, range(len(so_far)), most)) if fit.again else [trained(0)]
    held = np.concatenate([attack[other] for _, other in parts])
    return Learnt(made[-1][0], np.concatenate([best for _, best in made[: len(parts)]]), held)


def _shares(n: int, progress: Progress) -> list[Progress]:
    """Return what each of n pieces of work calls with the share that is done of it; `progress` gets that of all."""
    done = [0.0] * n

    def of(nth: int, share: float) -> None:
        done[nth] = share
        progress(sum(done) / n)

    return [partial(of, nth) for nth in range(n)]


def labels(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return the flows' numbers, sorted, and the label of each."""
    flows, first = np.unique(data.flow, return_index=True)
    return flows, data.label[first]


def highest(score: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Return the highest score of each flow, in the order of the flows' numbers."""
    order = np.argsort(flow, kind="stable")
    begins = np.flatnonzero(np.diff(flow[order], prepend=-1))
    return np.maximum.reduceat(score[order], begins)


def threshold(best: np.ndarray, false_alarms: float) -> int | float:
    """Return the lowest score of a flow at which at most a share of normal flows would be flagged.

    Parameters
    ----------
    best : ndarray of shape (n_flows,)
        Highest score of each normal flow.
    false_alarms : float
        The share.

    Returns
    -------
    int or float
        As the scores are; the next number after the score of the first flow that must not be flagged.
    """
    last = np.sort(best)[::-1][int(false_alarms * len(best))]
    return int(last) + 1 if best.dtype.kind == "i" else float(np.nextafter(last, np.inf))


@contextlib.contextmanager
def progress_bar(title: str, steps: int = 1) -> Iterator[Progress]:
    """Show a progress bar; yield what is called with the number of steps done, also in parts."""
    form = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    with show_progress(total=steps, desc=title, bar_format=form) as bar:
        yield lambda done: bar.update(done - bar.n)


def any_detector(path: Path = PATH) -> Model:
    """Return some detector, for checks to which it does not matter which one.

    It is the saved one. If none is saved, one is trained on the lab capture now, for a moment, and not saved.

    Raises
    ------
    UserError
        If the file cannot be read.
    """
    if path.is_file():
        return read_model(path)
    with tempfile.TemporaryDirectory() as folder:
        data = prepare(SAMPLE, SAMPLE_LABELS, Path(folder) / "lab.parquet")
    return train(data, settings=Settings(epochs=2))
