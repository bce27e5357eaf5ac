"""What the paper claims, what the records say, and whether the two agree: one line for each statement and each cell.

A number is judged by its tolerance in data/published.json, which was stated before anything was measured.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd

from .. import machine_load
from ..implementations import label
from ..published import published, tolerance
from ..text import rounded
from . import claims_rates, claims_scores, constraints, flow_counts, shipped, style, throughput
from .claims_rates import COVERED, NN, NN_PAPER
from .claims_scores import OVERALL
from .classification import NAMES
from .exhibit import Block, Exhibit, Results, made_by
from .summary import number
from .verdicts import DIFFERS, GRADES, NOT_MEASURED, Answer, in_words

COLUMNS = ("id", "source", "paper", "ours", "low", "high", "tolerance", "verdict", "reason", "record")
ANSWERS: Mapping[str, Callable[[Mapping[str, Any], Results], Answer]] = {
    "flows": flow_counts.answer,
    "class_flows": flow_counts.answer,
    "table1": constraints.answer,
    "cell": claims_scores.cell,
    "time_ratio": claims_scores.time_ratio,
    "accuracy_loss": claims_scores.accuracy_loss,
    "model_size": claims_scores.model_size,
    "class_gain": claims_scores.class_more,
    "class_edge": claims_scores.class_more,
    "class_good": claims_scores.class_all,
    "class_failed": claims_scores.class_all,
    "most_classes": claims_scores.most_classes,
    "max_rate": claims_rates.max_rate,
    "no_loss": claims_rates.no_loss,
    "below_limit": claims_rates.below_limit,
    "order": claims_rates.order,
    "more": claims_rates.more,
    "alike": claims_rates.alike,
    "cpu_full": claims_rates.cpu_full,
    "bypass": claims_rates.bypass,
}
MEASURED_IN = {"flows": "flows", "class_flows": "flows", "table1": "constraint"}  # kinds of records, of claims
OF_SCORES = ("cell", "accuracy_loss", "model_size", "class_gain", "class_edge", "class_good", "class_failed")
MEASURED_IN |= dict.fromkeys((*OF_SCORES, "most_classes"), "accuracy") | {"time_ratio": "inference"}
SELECTED = ("task", "row", "how", "method", "constraint")  # of what was asked, what a record is found by
UNITS = {"classes": "_n", "%": "_percent", "percentage points": "_points", "pps": "_pps"}  # as ids have them
NOTES = (
    "Tolerance: how far ours, or its interval, may be from the paper's number and still hold; stated beforehand in "
    "data/published.json. Holds, better: further in the paper's own direction. Not comparable: these records cannot "
    "tell, for the reason given. Not measured: no record; the reason is the command that makes one. Scores are judged "
    "on the paper's data set alone; what the paper says of one classifier against another is judged on any. The "
    "machine and the link are not the paper's either. Rates: the highest R_TX with at most 1 % lost and its interval "
    "(throughput.md); one is said to be slower than another only beyond brackets that cover the median search with "
    f"{rounded(100 * COVERED, '.0f')} %. Training flows: the released models were trained on 8/15 of all flows. †: "
    "beyond the paper's text, which does not name a layout. "
    f"{style.NETS} Where each number stands in the records: claims.csv."
)


def exhibit(results: Results) -> Exhibit:
    """Return the table of the paper's claims with ours and a verdict."""
    frame = results.once(table)
    caption = f"What {published()['paper']}, claims, and what these records say."
    caption += f" Data set: {results.chosen}." if results.chosen.dataset else ""
    text, tables = _text(frame), frame["source"].str.startswith("Table ") & frame["id"].str.startswith("table")
    blocks = [Block("The text", text[~tables])]
    blocks += [Block(name, text[tables & (frame["source"] == name)]) for name in dict.fromkeys(frame["source"][tables])]
    return Exhibit("claims", caption, frame[[*COLUMNS]], blocks, NOTES, badges=GRADES)


def table(results: Results) -> pd.DataFrame:
    """Return each claim of published.json, and each cell of the paper's tables, beside the records.

    Returns
    -------
    DataFrame
        COLUMNS, and claim: the same in words, unit. Verdicts: the keys of `verdicts.GRADES`. No line is empty in paper,
        verdict or reason.
    """
    told = [*_with_papers_layout(published()["claims"]), *claims_scores.binary_losses(), *flow_counts.of_classes()]
    return pd.DataFrame([_judged(claim, results) for claim in [*told, *constraints.claims(), *claims_scores.cells()]])


def _judged(claim: Mapping[str, Any], results: Results) -> dict[str, Any]:
    answer = ANSWERS[claim["kind"]](claim, results)
    reason = answer.reason
    if answer.verdict == NOT_MEASURED:
        kind = MEASURED_IN.get(claim["kind"], "sweep")
        kind = "inference" if claim.get("metric") == "inference_us" else kind
        reason = f"measure it: {results.chosen.command(kind, made_by(kind))}"
    elif answer.verdict == DIFFERS and machine_load.was_busy(answer.used):
        # Not a refutation: it is said first.
        reason = f"the machine was busy, measure again ({machine_load.in_words(answer.used)}); {reason}"
    if any(map(shipped.is_shipped, answer.used)):
        reason = "; ".join(filter(None, [shipped.SAID.strip(" ()"), reason]))
    paper = claim.get("value", claim.get("says", answer.paper))
    if isinstance(paper, float) and math.isnan(paper):
        paper = re.sub(r"\\", "", claim["quote"])  # the paper's words, where it gives no number
    return {
        "id": _id(claim),
        "claim": _words(claim),
        "source": claim["source"],
        "paper": paper,
        "ours": answer.ours,
        "low": answer.low,
        "high": answer.high,
        "unit": claim.get("unit", ""),
        "tolerance": in_words(tolerance(claim), claim.get("unit", "")),
        "verdict": answer.verdict,
        "reason": reason,
        "record": _where(answer.used),
    }


def _id(claim: Mapping[str, Any]) -> str:
    """Return a name that no other claim has."""
    name = claim["tolerance"].split(".")[0] if claim["kind"] == "cell" else claim["kind"]
    places = ("task", "of", "row", "against", "class", "method", "methods", "by", "more", "less", "metric")
    parts = [claim[place] for place in places if place in claim and (place != "task" or claim["kind"] != "cell")]
    words = ["+".join(part) if isinstance(part, list) else part for part in parts]
    text = ".".join([name + UNITS.get(claim.get("unit", ""), ""), *(word for word in words if word != OVERALL)])
    return text.lower().replace(" ", "_")


def _where(used: Iterable[Mapping[str, Any]]) -> str:
    """Return by what records are found: their file, what was asked, and how many they are."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for record in used:
        found.setdefault(record["kind"], []).append(record["asked"])
    texts = []
    for kind, asked in found.items():
        values = {name: dict.fromkeys(str(one[name]) for one in asked if name in one) for name in SELECTED}
        by = [f"{name}={'|'.join(some)}" for name, some in values.items() if some]
        texts.append(", ".join([f"{kind}.jsonl: {len(asked)} records", *by]))
    return "; ".join(texts)


def _text(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `table` as a person reads it."""
    columns = {"claim": "Claim", "source": "Source", "paper": "Paper", "ours": "Ours", "tolerance": "Tolerance"}
    columns |= {"verdict": "Verdict", "reason": "Reason"}
    text = {name: list(map(number, frame[name], frame["unit"])) for name in ("paper", "ours")}
    return frame.assign(**text).rename(columns=columns)[[*columns.values()]]


def _with_papers_layout(claims: Iterable[dict]) -> list[dict]:
    """Return the claims and, after each about the net's cost, the same claim about a net in the paper's own layout."""
    out = []
    for claim in claims:
        out.append(claim)
        if claim.get("method") == NN:
            out.append(claim | {"method": NN_PAPER})
    return out


def _words(claim: Mapping[str, Any]) -> str:
    """Return a claim in words."""
    row, against = label(claim.get("row", "")), label(claim.get("against", ""))
    task = {"binary": "Binary", "multi": "Multi-class"}.get(claim.get("task"), "")
    metric = NAMES.get(claim.get("metric"), "").partition(" [")[0]
    of, kind = claim.get("class", ""), claim["kind"]
    if kind in RATES:
        return RATES[kind](claim)
    return {
        "cell": ", ".join([f"{task}: {row}", *([of] if of not in ("", OVERALL) else []), metric]),
        "flows": f"Flows in the dataset: {claim.get('of')}",
        "class_flows": f"Training flows: {claim.get('of')}",
        "table1": published()["table1"]["rows"].get(claim.get("of"), {}).get("constraint", ""),
        "time_ratio": f"{task}: inference time of {row} relative to {against}",
        "accuracy_loss": f"{task}: accuracy lost from {against} to {row}",
        "model_size": f"Size of the model: {row} relative to {against}",
        "class_good": f"{of}: all four classifiers work well, least {metric}",
        "class_failed": f"{of}: all four classifiers fail, highest {metric}",
    }.get(kind) or _comparison(claim, metric)


def _comparison(claim: Mapping[str, Any], metric: str) -> str:
    pair = f"{label(claim['more'])} above {label(claim['less'])}"
    return f"{claim['class']}: {pair}, {metric}" if "class" in claim else f"Classes of attacks with {pair}, {metric}"


def _method(claim: Mapping[str, Any]) -> str:
    return style.method_name(claim["method"]) + " †" * (claim["method"] == NN_PAPER)


def _names(methods: Iterable[str], between: str = ", ") -> str:
    return between.join(map(style.method_name, methods))


BY = {"no_loss": "Highest sending rate without loss", "cpu": f"CPU at {throughput.CPU_PPS:,} pps"}
RATES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "max_rate": lambda claim: "Highest sending rate, hping3 without an interval",
    "no_loss": lambda claim: f"{_method(claim)}: highest sending rate without loss (ours: at most 1 %)",
    "below_limit": lambda claim: f"{_method(claim)}: received less than No Filter at {claim['at_pps']:,} pps",
    "order": lambda claim: f"Received at the highest rate: {_names(claim['methods'], ' ≥ ')}",
    "more": lambda claim: f"{BY[claim['by']]}: {_names(claim['more'])} above {_names(claim['less'])}",
    "alike": lambda claim: (
        f"Received at {claim['at_pps']:,} pps: {_names(claim['methods'][1:])} "
        f"relative to {_names(claim['methods'][:1])}"
    ),
    "cpu_full": lambda claim: f"{_method(claim)}: CPU used at {claim['at_pps']:,} pps, where it loses packets",
    "bypass": lambda claim: f"CPU used at whatever rate: {_names(claim['methods'])}",
}
