"""What the paper claims, what the records say, and whether the two agree."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from . import metrics, plots, records, tables

HOLDS, DIRECTION, WITHIN, DIFFERS = "holds", "holds in direction", "holds within the interval", "differs"
NOT_REACHED, NO_RECORDS, NOT_MEASURED = "rate not reached", "no records yet", "not measured here"
# How far a value may be from the paper's and still be called the same; the paper gives no intervals.
SAME_RATE, SAME_TIME, SAME_POINTS = 0.9, 1.1, 10.0


class Answer(NamedTuple):
    """Our value in the claim's unit (NaN: none), the verdict, and what is behind it."""

    ours: float
    verdict: str
    detail: str = ""


def table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return each claim of published.json beside the records.

    Returns
    -------
    DataFrame
        claim, source, paper, ours, unit, verdict, detail. Verdicts: "holds" (as the paper says, or better); "holds in
        direction" (the effect is there, of another size); "holds within the interval" (over seeds); "differs"; "rate
        not reached" (no trial sent fast enough to tell); "no records yet"; "not measured here".
    """
    rows = list(rows)
    known = {
        "times": pd.concat([tables.table(task, rows) for task in tables.NUMBERS]),
        "accuracy": records.current(rows, "accuracy"),
        "sweep": metrics.medians(metrics.points(rows)),
    }
    answer = {
        "time_ratio": _time_ratio,
        "accuracy_loss": _accuracy_loss,
        "max_rate": _max_rate,
        "no_loss": _no_loss,
        "below_limit": _below_limit,
        "order": _order,
    }
    lines = []
    for claim in [*tables.published()["claims"], *_binary_losses()]:
        ask = answer.get(claim["kind"], lambda claim, known: Answer(float("nan"), NOT_MEASURED, "CIC-IDS2017 only"))
        line = {"claim": _words(claim), "source": claim["source"], "paper": claim.get("value", float("nan"))}
        ours = ask(claim, known)
        lines.append(line | {"ours": ours.ours, "unit": claim.get("unit", ""), **ours._asdict()})
    return pd.DataFrame(lines)


def _binary_losses() -> list[dict]:
    """Return what quantisation costs in Table II, which the text names without a number."""
    rows = tables.published()["table2"]["rows"]
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
        for row, against in (("nn_c_q16", "nn_pytorch"), ("dt_c", "dt_sklearn"))
    ]


def _words(claim: Mapping[str, Any]) -> str:
    names = {row: line["name"] for row, line in tables.published()["table2"]["rows"].items()}
    row, against = names.get(claim.get("row")), names.get(claim.get("against"))
    method = plots.method_name(claim.get("method", ""))
    task = {"binary": "binary", "multi": "multi-class"}.get(claim.get("task"), "")
    return {
        "flows": f"Flows in the dataset: {claim.get('of')}",
        "time_ratio": f"{task.capitalize()}: inference time of {row} relative to {against}",
        "accuracy_loss": f"{task.capitalize()}: accuracy lost from {against} to {row}",
        "max_rate": "Highest sending rate, hping3 without an interval",
        "no_loss": f"{method}: highest sending rate without loss (ours: at most 1 %)",
        "below_limit": f"{method}: received less than No Filter at the highest sending rate",
        "order": "Received at the highest rate: " + " ≥ ".join(map(plots.method_name, claim.get("methods", ()))),
    }[claim["kind"]]


def _time_ratio(claim: Mapping[str, Any], known: Mapping[str, Any]) -> Answer:
    times = known["times"].query("metric == 'inference_us' and task == @claim['task']").set_index("row")["ours"]
    ours = 100 * times[claim["row"]] / times[claim["against"]]
    if not math.isfinite(ours):
        return Answer(ours, NO_RECORDS)
    verdict = HOLDS if ours <= SAME_TIME * claim["value"] else DIRECTION if ours < 100 else DIFFERS
    return Answer(ours, verdict, f"{times[claim['row']]:.3g} µs against {times[claim['against']]:.3g} µs")


def _accuracy_loss(claim: Mapping[str, Any], known: Mapping[str, Any]) -> Answer:
    of: dict[str, dict[int, float]] = {claim["row"]: {}, claim["against"]: {}}
    for record in known["accuracy"]:
        asked = record["asked"]
        if asked["task"] == claim["task"] and asked["row"] in of:
            of[asked["row"]][asked["seed"]] = metrics.accuracy(record["raw"]["confusion"])
    losses = [
        100 * (of[claim["against"]][seed] - of[claim["row"]][seed])
        for seed in of[claim["row"]]
        if seed in of[claim["against"]]
    ]
    ours = metrics.mean_interval(losses)
    if not ours.n:
        return Answer(ours.middle, NO_RECORDS)
    detail = f"same seeds, n = {ours.n}" + (f", 95 % interval {ours.low:.2f} to {ours.high:.2f}" if ours.n > 1 else "")
    # The paper's own loss may be a gain by chance (DT in Table II): no loss is as good as that.
    allowed = max(claim["value"], 0) + 0.05
    verdict = HOLDS if ours.middle <= allowed else WITHIN if ours.low <= allowed else DIFFERS
    return Answer(ours.middle, verdict, detail)


def _of(known: Mapping[str, Any], method: str) -> pd.DataFrame:
    """Return the points of one method by rising R_TX: hping3's, as in the paper, or the first generator's."""
    part = known["sweep"][known["sweep"]["method"] == method]
    generators = list(part["generator"])
    return part[part["generator"] == ("hping3" if "hping3" in generators else next(iter(generators), ""))]


def _max_rate(claim: Mapping[str, Any], known: Mapping[str, Any]) -> Answer:
    rates = known["sweep"].query("generator == 'hping3'")["r_tx_pps"]
    if rates.empty:
        return Answer(float("nan"), NO_RECORDS)
    return Answer(
        rates.max(), HOLDS if rates.max() >= SAME_RATE * claim["value"] else DIFFERS, "of this client and link"
    )


def _no_loss(claim: Mapping[str, Any], known: Mapping[str, Any]) -> Answer:
    part = _of(known, claim["method"])
    ours = metrics.no_loss_rate(part["r_tx_pps"], part["r_rx_pps"])
    if part.empty:
        return Answer(ours, NO_RECORDS)
    detail = (
        f"rates measured: {_pps(part['r_tx_pps'].min())} to {_pps(part['r_tx_pps'].max())}, {part['generator'].iloc[0]}"
    )
    if ours >= SAME_RATE * claim["value"]:
        return Answer(ours, HOLDS, detail)
    return Answer(ours, NOT_REACHED if ours == part["r_tx_pps"].max() else DIFFERS, detail)


def _below_limit(claim: Mapping[str, Any], known: Mapping[str, Any]) -> Answer:
    part, limit = _of(known, claim["method"]), _of(known, "no_filter")
    both = part.merge(limit, on=["generator", "interval_us"], suffixes=("", "_limit"))
    if both.empty:
        return Answer(float("nan"), NO_RECORDS)
    top = both.loc[both["r_tx_pps"].idxmax()]
    ours = 100 * (1 - top["r_rx_pps"] / top["r_rx_pps_limit"])
    detail = f"at {_pps(top['r_tx_pps'])}; No Filter received {_pps(top['r_rx_pps_limit'])}"
    if top["r_tx_pps"] < SAME_RATE * claim["at_pps"]:
        return Answer(ours, NOT_REACHED, detail)
    if abs(ours - claim["value"]) <= SAME_POINTS:
        return Answer(ours, HOLDS, detail)
    return Answer(ours, DIRECTION if ours > 1 else DIFFERS, detail)


def _order(claim: Mapping[str, Any], known: Mapping[str, Any]) -> Answer:
    parts = {method: _of(known, method) for method in claim["methods"]}
    if any(part.empty for part in parts.values()):
        return Answer(float("nan"), NO_RECORDS)
    rates = {method: part["r_rx_pps"].iloc[-1] for method, part in parts.items()}
    detail = ", ".join(f"{plots.method_name(method)} {_pps(rate)}" for method, rate in rates.items())
    return Answer(
        float("nan"), HOLDS if sorted(rates.values(), reverse=True) == list(rates.values()) else DIFFERS, detail
    )


def _pps(rate: float) -> str:
    return f"{rate:,.0f} pps"
