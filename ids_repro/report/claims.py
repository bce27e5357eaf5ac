"""What the paper claims, what the records say, and whether the two agree."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from .. import metrics
from ..implementations import label
from ..published import published
from . import classification, flow_counts, style, throughput
from .exhibit import Block, Exhibit, Results
from .summary import number
from .sweep_points import at_rate, lengths, medians, trial_points
from .verdicts import BETTER, DIFFERS, GRADES, HOLDS, NO_RECORDS, NOT_COMPARABLE, Answer

NN, NN_PAPER = "xdp_drv_nn_fused", "xdp_drv_nn_q16_paper"
# How far a value may be from the paper's and still count as the same; the paper gives no intervals.
SAME, SAME_POINTS = 0.9, 10.0
NOTES = (
    "The machine, the link and the dataset are not the paper's, so levels need not agree. Holds: as the paper says "
    "(rates and time ratios to within a tenth or their interval, received less than No Filter to within 10 points, "
    "accuracy to within the interval over seeds, flows to within 1 % or what the draw of a training part explains). "
    "Holds, better: further in the paper's own direction. Not comparable: these records cannot tell, for the reason "
    "given. Rates: the highest R_TX with at most 1 % lost and its interval (throughput.md). Training flows: the "
    "released models were trained on 8/15 of all flows. †: beyond the paper's text, which does not name a layout. "
    f"{style.NETS} Records: flows.jsonl, accuracy.jsonl, inference.jsonl, sweep.jsonl."
)


def exhibit(results: Results) -> Exhibit:
    """Return the table of the paper's claims with ours and a verdict."""
    frame = results.once(table)
    caption = f"What {published()['paper']}, claims, and what these records say."
    caption += f" Data set: {results.chosen}." if results.chosen.dataset else ""
    return Exhibit("claims", caption, frame, [Block("", _text(frame))], NOTES, badges=GRADES)


def table(results: Results) -> pd.DataFrame:
    """Return each claim of published.json beside the records.

    Parameters
    ----------
    results : Results
        Records of kinds "flows", "accuracy", "inference" and "sweep" are used.

    Returns
    -------
    DataFrame
        claim, source, paper, ours, unit, verdict, detail: the reason. Verdicts: "holds", "holds: better" (further in
        the paper's own direction), "differs", "not comparable" (these records cannot tell), "no records yet".
    """
    answer = {
        "flows": flow_counts.answer,
        "class_flows": flow_counts.answer,
        "time_ratio": _time_ratio,
        "accuracy_loss": _accuracy_loss,
        "max_rate": _max_rate,
        "no_loss": _no_loss,
        "below_limit": _below_limit,
        "order": _order,
        "more": _more,
    }
    lines = []
    for claim in [*_with_papers_layout(published()["claims"]), *_binary_losses(), *flow_counts.of_classes()]:
        ask = answer[claim["kind"]]
        line = {"claim": _words(claim), "source": claim["source"], "paper": claim.get("value", float("nan"))}
        ours = ask(claim, results)
        lines.append(line | {"ours": ours.ours, "unit": claim.get("unit", ""), **ours._asdict()})
    return pd.DataFrame(lines)


def _text(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `table` as a person reads it."""
    columns = {"claim": "Claim", "source": "Source", "paper": "Paper", "ours": "Ours", "verdict": "Verdict"}
    text = {name: list(map(number, frame[name], frame["unit"])) for name in ("paper", "ours")}
    return frame.assign(**text).rename(columns=columns | {"detail": "Reason"})[[*columns.values(), "Reason"]]


def _with_papers_layout(claims: Iterable[dict]) -> list[dict]:
    """Return the claims and, after each about the net's cost, the same claim about a net in the paper's own layout."""
    out = []
    for claim in claims:
        out.append(claim)
        if claim.get("method") == NN:
            out.append(claim | {"method": NN_PAPER})
    return out


def _binary_losses() -> list[dict]:
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


def _words(claim: Mapping[str, Any]) -> str:
    row, against = label(claim.get("row", "")), label(claim.get("against", ""))
    method = style.method_name(claim.get("method", "")) + " †" * (claim.get("method") == NN_PAPER)
    task = {"binary": "binary", "multi": "multi-class"}.get(claim.get("task"), "")
    by = {"no_loss": "Highest sending rate without loss", "cpu": f"CPU at {throughput.CPU_PPS:,} pps"}
    return {
        "flows": f"Flows in the dataset: {claim.get('of')}",
        "class_flows": f"Training flows: {claim.get('of')}",
        "time_ratio": f"{task.capitalize()}: inference time of {row} relative to {against}",
        "accuracy_loss": f"{task.capitalize()}: accuracy lost from {against} to {row}",
        "max_rate": "Highest sending rate, hping3 without an interval",
        "no_loss": f"{method}: highest sending rate without loss (ours: at most 1 %)",
        "below_limit": f"{method}: received less than No Filter at {claim.get('at_pps', 0):,} pps",
        "order": "Received at the highest rate: " + " ≥ ".join(map(style.method_name, claim.get("methods", ()))),
        "more": f"{by.get(claim.get('by'))}: {_names(claim.get('more', ()))} above {_names(claim.get('less', ()))}",
    }[claim["kind"]]


def _names(methods: Iterable[str]) -> str:
    return ", ".join(map(style.method_name, methods))


def _time_ratio(claim: Mapping[str, Any], results: Results) -> Answer:
    frame = results.once(classification.table, claim["task"])
    times = frame[frame["metric"] == "inference_us"].set_index("row")["ours"]
    ours = 100 * times[claim["row"]] / times[claim["against"]]
    if not math.isfinite(ours):
        return Answer(ours, NO_RECORDS)
    detail = f"{times[claim['row']]:.3g} µs, C at -O2 in a loop, against {times[claim['against']]:.3g} µs"
    if ours > claim["value"] / SAME:
        return Answer(ours, DIFFERS, detail)
    return Answer(ours, BETTER if ours < SAME * claim["value"] else HOLDS, detail)


def _accuracy_loss(claim: Mapping[str, Any], results: Results) -> Answer:
    of: dict[str, dict[int, float]] = {claim["row"]: {}, claim["against"]: {}}
    for record in results.current("accuracy"):
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
    detail = f"same seeds, n = {ours.n}" + (
        f", {metrics.means_of(ours.n)} {ours.low:.2f} to {ours.high:.2f}" if ours.n > 1 else ""
    )
    # The paper's own loss may be a gain by chance (DT in Table II): no loss is as good as that.
    allowed = max(claim["value"], 0) + 0.05
    return Answer(ours.middle, HOLDS if min(ours.middle, ours.low) <= allowed else DIFFERS, detail)


def _line(results: Results, method: str) -> Any:
    """Return a method's line of `throughput.table` with the most trials; of several, that of new flows sent fastest.

    All lines that the claims compare are of one length of trials: the one that most trials have.
    """
    frame = _of_one_length(results)
    part = frame[frame["method"] == method]
    if part.empty:
        return None
    return next(part.sort_values(["trials", "flows", "fastest_pps"], ascending=[False, True, False]).itertuples())


def _of_one_length(results: Results) -> pd.DataFrame:
    frame = results.once(throughput.table)
    return frame[frame["trial_s"].isin(lengths(results.once(trial_points))[:1])]


def _measured(line: Any) -> str:
    sender = f"{style.GENERATORS[line.generator][1]}, {style.FLOWS[line.flows]}"
    return f"{line.trials} trials of {_kpps(line.slowest_pps)} to {_kpps(line.fastest_pps)} kpps, {sender}"


def _why(claim: Mapping[str, Any], results: Results) -> str:
    """Return why a rate differs from the paper's."""
    paper = _line(results, NN_PAPER)
    if claim["method"] == NN and paper is not None:
        ours = f"{throughput.rate(paper)} kpps" if claim["kind"] == "no_loss" else f"{paper.fall_percent:.1f} %"
        return f"a faster program of the net: in the paper's layout it is {ours} here"
    return "another CPU, and a veth in place of a NIC"


def _max_rate(claim: Mapping[str, Any], results: Results) -> Answer:
    fastest = _of_one_length(results).groupby("generator")["fastest_pps"].max()
    if "hping3" not in fastest:
        return Answer(float("nan"), NO_RECORDS)
    ours, others = fastest["hping3"], fastest.drop("hping3")
    detail = "one CPU of this machine" + "".join(
        f"; {style.GENERATORS[name][1]}: {_kpps(pps)} kpps" for name, pps in others.items()
    )
    verdict = HOLDS if ours >= SAME * claim["value"] else DIFFERS
    return Answer(ours, BETTER if SAME * ours > claim["value"] else verdict, detail)


def _no_loss(claim: Mapping[str, Any], results: Results) -> Answer:
    line, paper = _line(results, claim["method"]), claim["value"]
    if line is None:
        return Answer(float("nan"), NO_RECORDS)
    ours = line.highest_pps
    detail = f"{throughput.rate(line)} kpps; {_measured(line)}"
    if SAME * line.low_pps > paper:
        return Answer(ours, BETTER, f"{detail}; {_why(claim, results)}")
    if ours >= SAME * paper or line.low_pps <= paper < line.high_pps < math.inf:
        return Answer(ours, HOLDS, detail)
    if line.high_pps == math.inf:
        return Answer(ours, NOT_COMPARABLE, f"too few trials sent faster; {detail}")
    return Answer(ours, DIFFERS, f"{detail}; {_why(claim, results)}")


def _below_limit(claim: Mapping[str, Any], results: Results) -> Answer:
    line = _line(results, claim["method"])
    if line is None or _line(results, "no_filter") is None:
        return Answer(float("nan"), NO_RECORDS)
    ours = line.fall_percent
    if math.isnan(ours):
        return Answer(ours, NOT_COMPARABLE, f"no trials on both sides of that rate; {_measured(line)}")
    low, high = (round(percent, 1) + 0.0 for percent in (line.fall_low_percent, line.fall_high_percent))
    detail = f"{low} to {high} % over repeats; between measured rates "
    detail += f"of {_kpps(line.between_low_pps)} and {_kpps(line.between_high_pps)} kpps"
    if abs(ours - claim["value"]) <= SAME_POINTS:
        return Answer(ours, HOLDS, detail)
    return Answer(ours, BETTER if ours < claim["value"] else DIFFERS, f"{detail}; {_why(claim, results)}")


def _order(claim: Mapping[str, Any], results: Results) -> Answer:
    lines = [_line(results, method) for method in claim["methods"]]
    if None in lines or len({(line.generator, line.flows) for line in lines}) > 1:
        return Answer(float("nan"), NO_RECORDS)
    points, (generator, flows) = results.once(medians), (lines[0].generator, lines[0].flows)
    same = points[(points["generator"] == generator) & (points["flows"] == flows)]
    same = same[same["trial_s"] == lines[0].trial_s]
    parts = [same[same["method"] == method] for method in claim["methods"]]
    at_pps = min(part["r_tx_pps"].max() for part in parts)
    rates = [at_rate(part, at_pps)["r_rx_pps"] for part in parts]
    detail = f"at {_kpps(at_pps)} kpps, in kpps: {', '.join(map(_kpps, rates))}"
    if min(rates) >= (1 - metrics.TOLERANCE) * at_pps:
        return Answer(float("nan"), NOT_COMPARABLE, f"none of them lost packets; {detail}")
    return Answer(float("nan"), HOLDS if _falls(rates) else DIFFERS, detail)


def _falls(values: Sequence[float]) -> bool:
    """Return whether no value exceeds the one before it by more than what counts as no loss."""
    return all(before >= (1 - metrics.TOLERANCE) * after for before, after in zip(values, values[1:], strict=False))


def _more(claim: Mapping[str, Any], results: Results) -> Answer:
    lines = {method: _line(results, method) for method in (*claim["more"], *claim["less"])}
    if None in lines.values():
        return Answer(float("nan"), NO_RECORDS)
    if claim["by"] == "no_loss":
        values = {method: line.highest_pps for method, line in lines.items()}
        text = [f"{line.name} {throughput.rate(line)} kpps" for line in lines.values()]
    else:
        values = {method: line.usr_percent + line.sys_percent + line.soft_percent for method, line in lines.items()}
        text = [f"{line.name} {values[method]:.0f} %" for method, line in lines.items()]
    if any(map(math.isnan, values.values())):
        return Answer(float("nan"), NOT_COMPARABLE, "not measured on both sides of that rate")
    holds = min(values[method] for method in claim["more"]) > max(values[method] for method in claim["less"])
    return Answer(float("nan"), HOLDS if holds else DIFFERS, ", ".join(text))


def _kpps(rate: float) -> str:
    return f"{rate / 1e3:,.0f}"
