"""The paper's claims about classification and inference time, and what the records say of them.

The paper's scores are of CIC-IDS2017. Scores on other traffic are shown beside them and not judged: their levels depend
on the traffic. What the paper says of one classifier against another is judged on the traffic that there is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import config, metrics
from ..implementations import label
from ..published import published, tolerance
from ..text import rounded
from . import classification
from .classification import NUMBERS, OVERALL, TIMES
from .exhibit import Results
from .verdicts import DIFFERS, HOLDS, NOT_COMPARABLE, Answer, judge, unmeasured

Claim = Mapping[str, Any]
OF_THE_NETS = {"method": "kl", "input": "range"}  # how their thresholds were found, in records of kind "calibration"
SCORES = ("accuracy", "precision", "recall", "f1", "inference_us")


def cells() -> list[dict]:
    """Return each cell of Tables II and III as a claim."""
    found = []
    for task, name in NUMBERS.items():
        whole = published()[name]
        for row, values in whole["rows"].items():
            parts = {OVERALL: values} | values.get("classes", {})
            for of, numbers in parts.items():
                found += [_cell(task, row, of, score, numbers[score]) for score in SCORES if score in numbers]
    return found


def _cell(task: str, row: str, of: str, score: str, value: float) -> dict:
    name = NUMBERS[task]
    place = {"source": published()[name]["source"], "unit": "µs" if score == "inference_us" else ""}
    of = config.BINARY[1] if task == "binary" and score not in ("accuracy", "inference_us") else of
    what = {"task": task, "row": row, "class": of, "metric": score, "value": value}
    return {"kind": "cell", "tolerance": f"{name}.{score}"} | what | place


def binary_losses() -> list[dict]:
    """Return what quantisation costs in Table II as claims: the text speaks of it without a number."""
    rows = published()["table2"]["rows"]
    return [
        {
            "kind": "accuracy_loss",
            "task": "binary",
            "row": row,
            "against": against,
            "value": round(100 * (rows[against]["accuracy"] - rows[row]["accuracy"]), 1),
            "unit": "percentage points",
            "source": "Table II",
        }
        for row, against in (("nn_q16_c", "nn_pytorch"), ("dt_c", "dt_sklearn"))
    ]


def _records(results: Results, kind: str, task: str, rows: Iterable[str], ways: Iterable[str] = ()) -> list[dict]:
    """Return the records of some rows of a table; of times, those that were measured in one of some ways."""
    found = [one for one in results.current(kind) if one["asked"]["task"] == task and one["asked"]["row"] in rows]
    return [one for one in found if not ways or one["asked"]["how"] in ways]


def _other_data(results: Results) -> str:
    """Return the name of the data set that scores are of, if it is not the paper's."""
    names = {record["asked"].get("dataset") for record in results.current("accuracy")} - {published()["dataset"]}
    return ", ".join(str(name or "an unnamed dataset") for name in names)


def _lines(results: Results, task: str) -> dict[tuple[str, str, str], Any]:
    frame = results.once(classification.table, task)
    return {(line.row, line.label, line.metric): line for line in frame.itertuples()}


def cell(claim: Claim, results: Results) -> Answer:
    """Judge one cell of Table II or III."""
    line, timed = results.once(_lines, claim["task"])[claim["row"], claim["class"], claim["metric"]], claim["unit"]
    ways, kind = (TIMES["inference_us"], "inference") if timed else ((), "accuracy")
    used = _records(results, kind, claim["task"], [claim["row"]], ways)
    ends = {"low": line.ours_low, "high": line.ours_high, "used": used}
    if not used:
        return unmeasured()
    if not timed and (other := _other_data(results)):
        reason = f"a score on the {other}: other traffic than {published()['dataset']}, so levels need not agree"
        if math.isnan(line.ours):
            reason = f"the {other} has no flow of this class"
        return Answer(line.ours, NOT_COMPARABLE, reason, **ends)
    if math.isnan(line.ours):
        return Answer(line.ours, NOT_COMPARABLE, "the data has no flow of this class", **ends)
    verdict = judge(claim["value"], line.ours, tolerance(claim), ends["low"], ends["high"])
    if timed:
        reason = f"median and quartiles of {line.n} rounds on {used[-1]['provenance']['cpu']}"
        return Answer(line.ours, verdict, reason + "; another CPU" * (verdict == DIFFERS), **ends)
    reason = f"mean of {line.n} seeds, {metrics.means_of(line.n)}; "
    return Answer(line.ours, verdict, f"{reason}{rounded(line.ours - claim['value'], '+.3f')} to the paper", **ends)


def time_ratio(claim: Claim, results: Results) -> Answer:
    """Judge the time of a row relative to that of another."""
    lines = results.once(_lines, claim["task"])
    row, against = (lines[claim[name], OVERALL, "inference_us"] for name in ("row", "against"))
    ours = _percent(row.ours, against.ours)
    used = _records(results, "inference", claim["task"], [row.row, against.row], TIMES["inference_us"])
    if not math.isfinite(ours):
        return unmeasured()
    ends = _percent(row.ours_low, against.ours_high), _percent(row.ours_high, against.ours_low)
    reason = f"{rounded(row.ours, '.3g')} µs, C at -O2 in a loop, against {rounded(against.ours, '.3g')} µs"
    verdict = judge(claim["value"], ours, tolerance(claim), *ends)
    return Answer(ours, verdict, reason, *ends, used)


def _percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole else math.nan  # a record from elsewhere may say that nothing takes time


def accuracy_loss(claim: Claim, results: Results) -> Answer:
    """Judge the accuracy that one row loses against another, with the models of the same seeds."""
    used = _records(results, "accuracy", claim["task"], [claim["row"], claim["against"]])
    losses = _differences(used, claim["against"], claim["row"], lambda raw: 100 * metrics.accuracy(raw["confusion"]))
    ours = metrics.mean_interval(losses)
    if not ours.n:
        return unmeasured()
    # The paper's own loss may be a gain by chance (DT in Table II): no loss is as good as that.
    paper = max(claim["value"], 0)
    verdict, why = judge(paper, ours.middle, tolerance(claim), ours.low, ours.high), ""
    if verdict == DIFFERS and claim["row"] == "nn_q16_c":
        steps = _calibrated(claim["task"], results)
        why, used = _lost_to_weights(steps), used + steps
    return Answer(ours.middle, verdict, why + _seeds(ours) + _on(results), ours.low, ours.high, used)


def _calibrated(task: str, results: Results) -> list[dict]:
    """Return those records of notebook 03's ablation that are of the quantised nets and say what int8 weights lose."""
    asked = {"task": task} | OF_THE_NETS
    found = [one for one in results.current("calibration") if asked.items() <= one["asked"].items()]
    return [one for one in found if "int8 weights" in one["raw"]["accuracy"]]


def _lost_to_weights(steps: Sequence[Mapping]) -> str:
    """Return how much of what nn_q16 loses its int8 weights lose alone."""
    if not steps:
        return ""
    scores = [one["raw"]["accuracy"] for one in steps]
    whole, alone = (100 * np.mean([one["float"] - one[name] for one in scores]) for name in ("q16", "int8 weights"))
    whole, alone = rounded(whole, ".1f"), rounded(alone, ".1f")
    return f"with int8 weights alone the net loses {alone} of {whole} points on the validation part; "


def _differences(
    used: Iterable[Mapping], more: str, less: str, score: Callable[[Mapping[str, Any]], float]
) -> list[float]:
    """Return how much more one row has than another, for each seed that both have."""
    of: dict[str, dict[int, float]] = {more: {}, less: {}}
    for record in used:
        of[record["asked"]["row"]][record["asked"]["seed"]] = score(record["raw"])
    return [of[more][seed] - of[less][seed] for seed in of[more] if seed in of[less]]


def _seeds(ours: metrics.Interval) -> str:
    ends = f", {metrics.means_of(ours.n)} {rounded(ours.low, '.2f')} to {rounded(ours.high, '.2f')}"
    return f"same seeds, n = {ours.n}" + ends * (ours.n > 1)


def _on(results: Results) -> str:
    other = _other_data(results)
    return f"; on the {other}, not on {published()['dataset']}" * bool(other)


def model_size(claim: Claim, results: Results) -> Answer:
    """Judge the bytes of the integer net's struct beside those of the float net's."""
    used = _records(results, "accuracy", "binary", [claim["row"], claim["against"]])
    sizes = {one["asked"]["row"]: one["raw"]["model_bytes"] for one in used if "model_bytes" in one["raw"]}
    if len(sizes) < 2 or not sizes[claim["against"]]:
        return unmeasured()
    ours = 100 * sizes[claim["row"]] / sizes[claim["against"]]
    verdict = judge(claim["value"], ours, tolerance(claim))
    reason = f"{sizes[claim['row']]:,} of {sizes[claim['against']]:,} bytes, all of both structs"
    more = "; weights take a quarter, but scale factors and the normalisation are int64"
    return Answer(ours, verdict, reason + more * (verdict == DIFFERS), used=used)


def _score(claim: Claim, of: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda raw: classification.scores("multi", raw["confusion"])[of, claim["metric"]]


def _paper(row: str, of: str, metric: str) -> float:
    return published()["table3"]["rows"][row]["classes"][of][metric]


def class_more(claim: Claim, results: Results) -> Answer:
    """Judge whether one classifier has a higher score of a class than another, by as much as the claim says."""
    more, less, of, metric = (claim[name] for name in ("more", "less", "class", "metric"))
    paper = _paper(more, of, metric) - _paper(less, of, metric)
    used = _records(results, "accuracy", "multi", [more, less])
    found = _differences(used, more, less, _score(claim, of))
    ours = metrics.mean_interval(found)
    if not found:
        return unmeasured()._replace(paper=paper)
    if not ours.n:
        return _none_of(of, paper, used)
    means = {row: _mean(results, row, of, metric) for row in (more, less)}
    reason = ", ".join(f"{label(row)} {rounded(value, '.3f')}" for row, value in means.items())
    verdict = judge(paper, ours.middle, tolerance(claim))
    return Answer(ours.middle, verdict, reason + _on(results), ours.low, ours.high, used, paper)


def _none_of(of: str, paper: float, used: list[dict]) -> Answer:
    return Answer(math.nan, NOT_COMPARABLE, f"the data has no flow of the class {of}", used=used, paper=paper)


def _mean(results: Results, row: str, of: str, metric: str) -> float:
    line = results.once(_lines, "multi").get((row, of, metric))
    return math.nan if line is None else line.ours


def class_all(claim: Claim, results: Results) -> Answer:
    """Judge whether all four classifiers are good at a class, or all fail: by the one that is furthest from that."""
    of, metric, worst = claim["class"], claim["metric"], min if claim["kind"] == "class_good" else max
    rows = list(published()["table3"]["rows"])
    paper = worst(_paper(row, of, metric) for row in rows)
    used = _records(results, "accuracy", "multi", rows)
    if {record["asked"]["row"] for record in used} != set(rows):
        return unmeasured()._replace(paper=paper)
    means = {row: _mean(results, row, of, metric) for row in rows}
    if any(map(math.isnan, means.values())):
        return _none_of(of, paper, used)
    verdict = judge(paper, worst(means.values()), tolerance(claim))
    reason = ", ".join(f"{label(row)} {rounded(value, '.3f')}" for row, value in means.items())
    return Answer(worst(means.values()), verdict, reason + _on(results), used=used, paper=paper)


def most_classes(claim: Claim, results: Results) -> Answer:
    """Judge for how many classes of attacks one classifier has the higher score."""
    attacks = [name for name in config.CLASSES if name != config.CLASSES[config.NORMAL]]
    more, less, metric = claim["more"], claim["less"], claim["metric"]
    paper = sum(_paper(more, of, metric) > _paper(less, of, metric) for of in attacks)
    used = _records(results, "accuracy", "multi", [more, less])
    ours = {of: _mean(results, more, of, metric) - _mean(results, less, of, metric) for of in attacks}
    ours = {of: difference for of, difference in ours.items() if np.isfinite(difference)}
    if not ours:
        return unmeasured()._replace(paper=paper)
    better = [of for of, difference in ours.items() if difference > 0]
    limit = tolerance(claim)["least"] * len(ours) / len(attacks)
    reason = f"of {len(ours)} classes of attacks: {', '.join(better) or 'none'}{_on(results)}"
    return Answer(len(better), HOLDS if len(better) >= limit else DIFFERS, reason, used=used, paper=paper)
