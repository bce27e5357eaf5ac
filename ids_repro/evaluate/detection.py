"""Test detectors on flows that they did not learn: what is found at how many false alarms, and after how long.

There are three tests, and they stand side by side: flows of the same recording at random, as the paper parts them; the
later flows of the same recording; and another recording. The first is the easiest, because parts of one attack are in
both of its parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from .. import config, parallel, records
from ..data.dataset import Dataset
from ..data.features import as_float
from ..models.detector import Learnt, Progress, assembled, fit_and_score, highest, labels, threshold
from ..models.float_tree import FloatTree
from ..models.int_mlp_fused import quantize_fused
from ..models.int_tree import quantize_tree
from ..models.model import Model
from ..models.scaling import MinMax
from ..models.scorers import FIT, Fit, Fitted, Settings, fitted_twin
from ..models.training import train_mlp, train_tree
from ..models.verdicts import first_alarms
from ..record_schema import CURVE_POINTS
from .recordings import Recording, by_flow, by_time

TESTS = ("by_flow", "by_time", "other_recording")
CURVE = np.geomspace(1e-4, 1, CURVE_POINTS)  # shares of normal flows flagged at which a curve says what is found
PACKETS, MS = (1, 2, 3, 5, 10, 20, 50, 100), (0.1, 1, 10, 100, 1_000, 10_000)
BOOSTED = {"max_iter": 200, "max_leaf_nodes": 31, "early_stopping": False}


def _paper_tree(part: Dataset, seed: int, settings: Settings, progress: Progress) -> Fitted:
    """Train the paper's tree, which learns one vector of each flow. Its scores are those of its leaves."""
    last = part.sample("last")
    tree = FloatTree.of(train_tree(as_float(last.x), last.target("binary"), seed))
    progress(1.0)
    return fitted_twin("dt", quantize_tree(tree, 2), {})


def _paper_net(part: Dataset, seed: int, settings: Settings, progress: Progress) -> Fitted:
    """Train the paper's net, in our arithmetic. Its score is the difference of its logits."""
    last, size = part.sample("last"), config.PROFILES["smoke"].batch_size
    y, scaler = last.target("binary"), MinMax.fit(last.x)
    inputs = scaler.transform(last.x)
    epochs = -(-settings.paper_steps // -(-len(y) // size))
    net, _ = train_mlp(inputs, y, (inputs, y), 2, seed, epochs, size, lambda done, *_: progress(done / epochs))
    return fitted_twin("nn_fused", quantize_fused(net.weights(), scaler), {})


def _boosted(part: Dataset, seed: int, settings: Settings, progress: Progress) -> Fitted:
    """Train boosted trees, which are too large for the kernel: what these features allow."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    with threadpool_limits(1):  # its threads would wait for each other, because every CPU has a trial already
        fitted = HistGradientBoostingClassifier(random_state=seed, **BOOSTED)
        fitted.fit(as_float(part.x), part.target("binary"))
    progress(1.0)

    def score(x: np.ndarray) -> np.ndarray:
        with threadpool_limits(1):
            return fitted.decision_function(as_float(x))

    return Fitted(score)


# What is tested. The first two learn as the paper says; the others learn every packet.
ROWS = {
    "dt_paper": Fit(_paper_tree),
    "nn_paper": Fit(_paper_net),
    "nn_log2": FIT["nn_log2"],
    "dt_deep": FIT["dt"],
    "boosted": Fit(_boosted),
}
DETECTOR = {"nn_log2": "nn_log2", "dt": "dt_deep"}  # the parts of a detector, by the names in FIT, and their rows


class Trial(NamedTuple):
    """One test of one detector.

    Attributes
    ----------
    row : str
        A name in ROWS.
    test : str
        A name in TESTS.
    learn, held : Recording
        What it learns, and what it is tested on.
    seed : int
    budgets : tuple of float
        Budgets of false alarms.
    settings : Settings
    """

    row: str
    test: str
    learn: Recording
    held: Recording
    seed: int
    budgets: tuple[float, ...]
    settings: Settings


def parted(test: str, recording: Recording, other: Recording | None, seed: int) -> tuple[Recording, Recording]:
    """Return what a test learns and what it is tested on.

    Parameters
    ----------
    test : {"by_flow", "by_time", "other_recording"}
    recording : Recording
        What is learnt from.
    other : Recording, optional
        Another one. Only the last test needs it.
    seed : int
        Of the first test's parts.

    Raises
    ------
    UserError
        If one of the two has no normal or no attack flow.
    """
    learn, held = {
        "by_flow": lambda: by_flow(recording, seed),
        "by_time": lambda: by_time(recording),
        "other_recording": lambda: (recording, other),
    }[test]()
    name = test.replace("_", " ")
    return learn.require_both(f"the part to learn from, {name}"), held.require_both(f"the part to test on, {name}")


def run(trial: Trial, progress: Progress = lambda _: None) -> dict[str, Any]:
    """Train and test one detector.

    Returns
    -------
    dict
        "outcomes": what `outcome` returns, for each budget. "curve": "flagged" and "found", the shares of normal and of
        attack flows flagged, at thresholds chosen by the tested flows themselves.
    """
    return _run(trial, progress)[0]


def _run(trial: Trial, progress: Progress = lambda _: None) -> tuple[dict[str, Any], Learnt | None]:
    """Return what `run` returns, and what was trained if it is a part of a detector that learnt a whole recording."""
    learnt = fit_and_score(ROWS[trial.row], trial.learn.data, trial.seed, trial.settings, progress)
    score = learnt.fitted.score(trial.held.data.x)
    thresholds = [threshold(learnt.best[~learnt.attack], budget) for budget in trial.budgets]
    raw = {
        "outcomes": [
            outcome(trial.held, score, flag_at) | {"budget": budget}
            for budget, flag_at in zip(trial.budgets, thresholds, strict=True)
        ],
        "curve": _curve(trial.held, score),
    }
    kept = trial.test == TESTS[-1] and trial.row in DETECTOR.values()
    return raw, learnt if kept else None


def outcome(recording: Recording, score: np.ndarray, flag_at: float) -> dict[str, Any]:
    """Return what a detector finds on-line: a flow is flagged at its first packet whose score reaches `flag_at`.

    Parameters
    ----------
    recording : Recording
    score : ndarray of shape (n_packets,)
        Score of each packet of ``recording.data``.
    flag_at : int or float

    Returns
    -------
    dict
        "found", "false_alarms": shares of the attack and of the normal flows that are flagged. "by_class": the first
        for each class of attacks. "incidents": share of the attacks of the schedule of which a flow is flagged; None
        without a schedule. "packets_to_alarm", "ms_to_alarm": medians over the flagged attack flows, of the number of
        the packet that raised the flag, from 1, and of the time since the flow's first packet; None if no flow is
        flagged. "by_packet", "by_ms": shares of the attack flows that are flagged by their packet of the numbers in
        PACKETS, and within the times in MS. "false_alarms_per_hour": normal flows flagged per hour of the whole
        recording. "flows": how many, by class.
    """
    data = recording.data
    (flows, label), at = labels(data), np.unique(data.flow, return_inverse=True)[1]
    first = first_alarms(score >= flag_at, at)
    flagged, attack = first < len(at), label != config.NORMAL
    begin = np.full(len(flows), np.iinfo(np.int64).max)
    np.minimum.at(begin, at, data.time_us)
    hit = first[flagged & attack]
    number, ms = data.index[hit] + 1, (data.time_us[hit] - begin[flagged & attack]) / 1e3
    share, rate = len(hit) / max(attack.sum(), 1), recording.normal_per_hour
    classes = [k for k in np.unique(label) if k != config.NORMAL]
    return {
        "found": float(np.mean(flagged[attack])),
        "false_alarms": float(np.mean(flagged[~attack])),
        "by_class": {config.CLASSES[k]: float(np.mean(flagged[label == k])) for k in classes},
        "incidents": _incidents(recording.incident, flagged, attack),
        "packets_to_alarm": float(np.median(number)) if len(hit) else None,
        "ms_to_alarm": float(np.median(ms)) if len(hit) else None,
        "by_packet": {str(n): share * float(np.mean(number <= n)) if len(hit) else 0.0 for n in PACKETS},
        "by_ms": {str(limit): share * float(np.mean(ms <= limit)) if len(hit) else 0.0 for limit in MS},
        "false_alarms_per_hour": rate and rate * float(np.mean(flagged[~attack])),
        "flows": {config.CLASSES[k]: int(np.sum(label == k)) for k in np.unique(label)},
    }


def _incidents(incident: np.ndarray | None, flagged: np.ndarray, attack: np.ndarray) -> float | None:
    if incident is None:
        return None
    return float(np.mean(np.isin(np.unique(incident[attack]), incident[flagged & attack])))


def _curve(recording: Recording, score: np.ndarray) -> dict[str, list[float]]:
    _, label = labels(recording.data)
    best, attack = highest(score, recording.data.flow), label != config.NORMAL
    marks = [threshold(best[~attack], share) if share < 1 else best.min() for share in CURVE]
    shares = {"flagged": best[~attack], "found": best[attack]}
    return {name: [float(np.mean(some >= mark)) for mark in marks] for name, some in shares.items()}


def evaluate_all(
    recording: Recording,
    other: Recording,
    profile: config.Profile,
    budgets: Sequence[float] = (config.FALSE_ALARMS, config.FALSE_ALARMS / 10),
    results: Path = config.RESULTS,
) -> tuple[list[dict], Model]:
    """Train and test every row of ROWS in every test with every seed of a profile, on all CPUs, and record each.

    Parameters
    ----------
    recording : Recording
        What is learnt from.
    other : Recording
        What the last test is made on.
    profile : Profile
        Its `detector_seeds`.
    budgets : sequence of float
        Of false alarms; the model has the first.
    results : Path
        Folder of the records, which are appended to detector.jsonl.

    Returns
    -------
    list of dict
        The records, of kind "detector".
    Model
        The detector of the first seed that learnt all of `recording`, as `detector.train` makes it.
    """
    settings = Settings.of(profile)
    parts = {(test, seed): parted(test, recording, other, seed) for test in TESTS for seed in profile.detector_seeds}
    about = tuple(budgets), settings
    trials = [Trial(row, test, *part, seed, *about) for row in ROWS for (test, seed), part in parts.items()]
    started, made, learnt, seed = records.now(), [], {}, profile.detector_seeds[0]
    for trial, (raw, kept) in zip(trials, parallel.run(_run, trials, title="detectors"), strict=True):
        learnt[trial.row, trial.test, trial.seed] = kept
        asked = {"row": trial.row, "test": trial.test, "seed": trial.seed, "budgets": list(budgets)}
        asked |= recording.data.named() | {"other": other.data.meta["name"], "profile": profile.name}
        identity = {"data_hash": recording.data.meta["sha256"], "other_hash": other.data.meta["sha256"]}
        identity |= {"settings": settings.about() | {"paper_steps": settings.paper_steps}}
        at = {"started": started, "identity": identity}
        made.append(records.append(results / "detector.jsonl", "detector", asked, raw, **at))
    whole = {struct: learnt[row, TESTS[-1], seed] for struct, row in DETECTOR.items()}
    return made, assembled(whole, recording.data, budgets[0], seed, settings)
