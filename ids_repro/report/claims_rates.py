"""The paper's claims about throughput and CPU (Sec. V-B), and what the records of the sweep say of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from .. import metrics
from ..published import tolerance
from ..text import rounded
from . import style, throughput
from .exhibit import Results
from .sweep_points import BUSY, LINE, at_rate, complete, lengths, medians, trial_points
from .verdicts import BETTER, DIFFERS, HOLDS, NOT_COMPARABLE, Answer, judge, unmeasured

Claim = Mapping[str, Any]
NO_SEARCH = "no search, only the profile's rates were tried"
EQUAL = "; within their intervals they are equal"
COVERED = 0.9  # how probably brackets must cover their medians before one rate is said to differ from another
# What is said if a method that passes by the kernel's stack leaves its CPU idle.
IDLE = {
    "afxdp_nn_fused": "our AF_XDP program sleeps until packets come, where DPDK polls",
    "dpdk_nn_fused": "DPDK polls, so it should leave nothing idle: see its trials in sweep.jsonl",
}
TOO_FEW = f"; too few searches to say that one is slower: that needs brackets with {rounded(100 * COVERED, '.0f')} %"
NN, NN_PAPER = "xdp_drv_nn_fused", "xdp_drv_nn_q16_paper"


def _records(results: Results, *lines: Any) -> list[dict]:
    """Return the trials of some lines of `throughput.table`; a line may be None."""
    wanted = {tuple(getattr(line, name) for name in LINE) for line in lines if line is not None}
    return [one for one, place in zip(results.current("sweep"), results.once(_places), strict=True) if place in wanted]


def _places(results: Results) -> list[tuple]:
    """Return for each trial of the sweep what line of `throughput.table` it belongs to."""
    return list(results.once(trial_points)[[*LINE]].itertuples(index=False, name=None))


def _line(results: Results, method: str) -> Any:
    """Return a method's line of `throughput.table`: one that was searched, if there is any, and the most trials.

    Of several with as many trials it is that of new flows sent fastest.

    All lines that the claims compare are of one length of trials: the one that most trials have.
    """
    return results.once(_lines).get(method)


def _lines(results: Results) -> dict[str, Any]:
    frame = _of_one_length(results)
    if len(frame):
        frame = frame.assign(searched=frame["searches"] > 0)
        frame = frame.sort_values(["searched", "trials", "flows", "fastest_pps"], ascending=[True, True, False, True])
    return {line.method: line for line in frame.itertuples()}


def _of_one_length(results: Results) -> pd.DataFrame:
    frame = results.once(throughput.table)
    return frame[frame["trial_s"].isin(lengths(results.once(trial_points))[:1])]


def _points(results: Results, line: Any, method: str) -> pd.DataFrame:
    """Return the points of Fig. 4 of a method, of the same traffic as a line."""
    points = results.once(medians)
    alike = [points[name] == getattr(line, name) for name in LINE[1:]]
    return points[(points["method"] == method) & alike[0] & alike[1] & alike[2]]


def _measured(line: Any) -> str:
    sender = f"{style.GENERATORS[line.generator][1]}, {style.FLOWS[line.flows]}"
    slowest, fastest = map(style.kpps, (line.slowest_pps, line.fastest_pps))
    return f"{line.trials} trials of {slowest} to {fastest} kpps, {sender}"


def _coverage(lines: Iterable[Any]) -> float:
    """Return how probably the brackets of a searched line cover their median; of several lines the least."""
    return min(metrics.coverage(line.searches) for line in lines)


def _covers(lines: Iterable[Any]) -> str:
    return f"brackets cover the median search with {rounded(100 * _coverage(lines), '.0f')} %"


def _why(claim: Claim, results: Results) -> str:
    """Return why a rate differs from the paper's."""
    paper = _line(results, NN_PAPER)
    if claim["method"] == NN and paper is not None:
        kpps, percent = throughput.rate(paper), rounded(paper.fall_percent, ".1f")
        ours = f"{kpps} kpps" if claim["kind"] == "no_loss" else f"{percent} %"
        return f"a faster program of the net: in the paper's layout it is {ours} here"
    return "another CPU, and a veth in place of a NIC"


def max_rate(claim: Claim, results: Results) -> Answer:
    """Judge how fast hping3 sends."""
    fastest = _of_one_length(results).groupby("generator")["fastest_pps"].max()
    if "hping3" not in fastest:
        return unmeasured()
    ours, others = fastest["hping3"], fastest.drop("hping3")
    reason = "one CPU of this machine" + "".join(
        f"; {style.GENERATORS[name][1]}: {style.kpps(pps)} kpps" for name, pps in others.items()
    )
    lines = [line for line in _of_one_length(results).itertuples() if line.generator == "hping3"]
    return Answer(ours, judge(claim["value"], ours, tolerance(claim)), reason, used=_records(results, *lines))


def no_loss(claim: Claim, results: Results) -> Answer:
    """Judge the highest rate without loss of a method."""
    line, paper = _line(results, claim["method"]), claim["value"]
    if line is None:
        return unmeasured()
    ours, low, high = line.highest_pps, line.low_pps, line.high_pps
    verdict = judge(paper, ours, tolerance(claim))
    reason = f"{throughput.rate(line)} kpps; {_measured(line)}"
    shown = ours or f"< {rounded(line.least_lost_pps, ',.0f')} pps"
    if not line.searches:
        return Answer(shown, NOT_COMPARABLE, f"{NO_SEARCH}: {reason}", used=_records(results, line))
    reason += f"; {_covers([line])}"
    if verdict == DIFFERS and low <= paper < high == math.inf:
        verdict, reason = NOT_COMPARABLE, f"too few trials sent faster; {reason}"
    elif verdict == BETTER or low <= paper < high:
        verdict = judge(paper, ours, tolerance(claim), low, high)
    why = f"; {_why(claim, results)}" * (verdict in (BETTER, DIFFERS))
    return Answer(shown, verdict, reason + why, low, high, _records(results, line))


def below_limit(claim: Claim, results: Results) -> Answer:
    """Judge how much less than No Filter a method receives at the paper's limit."""
    line, limit = _line(results, claim["method"]), _line(results, "no_filter")
    if line is None or limit is None:
        return unmeasured()
    used = _records(results, line, limit)
    ours, low, high = line.fall_percent, line.fall_low_percent, line.fall_high_percent
    if math.isnan(ours):
        return Answer(ours, NOT_COMPARABLE, f"no trials on both sides of that rate; {_measured(line)}", used=used)
    reason = f"{rounded(low, '.1f')} to {rounded(high, '.1f')} % for any two repeats; between measured rates "
    reason += f"of {style.kpps(line.between_low_pps)} and {style.kpps(line.between_high_pps)} kpps"
    verdict = judge(claim["value"], ours, tolerance(claim), low, high)
    why = f"; {_why(claim, results)}" * (verdict != HOLDS)
    return Answer(ours, verdict, reason + why, low, high, used)


def order(claim: Claim, results: Results) -> Answer:
    """Judge whether methods receive the less the later they are named, at the highest rate that all of them were sent.

    That is only known where packets are lost.
    """
    lines = [_line(results, method) for method in claim["methods"]]
    used = _records(results, *lines)
    if None in lines or len({(line.generator, line.flows) for line in lines}) > 1:
        return unmeasured()
    parts = [_points(results, lines[0], method) for method in claim["methods"]]
    at_pps = min(complete(part)["r_tx_pps"].max() for part in parts)
    there = [at_rate(part, at_pps) for part in parts]
    rates = [one["r_rx_pps"] for one in there]
    reason = f"at {style.kpps(at_pps)} kpps, in kpps: {', '.join(map(style.kpps, rates))}"
    if min(rates) >= (1 - metrics.TOLERANCE) * at_pps:
        return Answer(math.nan, NOT_COMPARABLE, f"none of them lost packets; {reason}", used=used)
    # From one method to the next: by the medians, and if each repeat counts as far as it can for the claim.
    pairs, least = list(zip(there, there[1:], strict=False)), 1 - tolerance(claim)["share"]
    if all(before["r_rx_pps"] >= least * after["r_rx_pps"] for before, after in pairs):
        return Answer(math.nan, HOLDS, reason, used=used)
    if any(before["r_rx_max_pps"] < least * after["r_rx_min_pps"] for before, after in pairs):
        return Answer(math.nan, DIFFERS, reason, used=used)
    return Answer(math.nan, NOT_COMPARABLE, reason + EQUAL, used=used)


def more(claim: Claim, results: Results) -> Answer:
    """Judge whether some methods have a higher rate without loss, or need more CPU, than others."""
    lines = {method: _line(results, method) for method in (*claim["more"], *claim["less"])}
    used = _records(results, *lines.values())
    if None in lines.values():
        return unmeasured()
    covered = 1.0
    if claim["by"] == "no_loss":
        found = {method: (line.highest_pps, line.low_pps, line.high_pps) for method, line in lines.items()}
        text = [f"{line.name} {throughput.rate(line)} kpps" for line in lines.values()]
        if not all(line.searches for line in lines.values()):
            return Answer(math.nan, NOT_COMPARABLE, f"{NO_SEARCH}: {', '.join(text)}", used=used)
        covered = _coverage(lines.values())
        text[-1] += f"; {_covers(lines.values())}"
    else:
        found = {m: tuple(getattr(line, f"{name}_percent") for name in BUSY) for m, line in lines.items()}
        text = [f"{line.name} {_percent(*found[method])}" for method, line in lines.items()]
    if any(math.isnan(middle) for middle, *_ in found.values()):
        return Answer(math.nan, NOT_COMPARABLE, "not measured on both sides of that rate", used=used)
    pairs = [(found[one], found[other]) for one in claim["more"] for other in claim["less"]]
    above = all(low >= high for (_, low, _), (_, _, high) in pairs)
    below = any(high <= low for (_, _, high), (_, low, _) in pairs)
    verdict = HOLDS if above else DIFFERS if below and covered >= COVERED else NOT_COMPARABLE
    why = "" if verdict != NOT_COMPARABLE else TOO_FEW if below else EQUAL
    return Answer(math.nan, verdict, ", ".join(text) + why, used=used)


def _percent(middle: float, low: float, high: float) -> str:
    return f"{rounded(middle, '.0f')} [{rounded(low, '.0f')}, {rounded(high, '.0f')}] %"


def alike(claim: Claim, results: Results) -> Answer:
    """Judge how much of what the first method receives the others do, at one sending rate: the least of them."""
    lines = [_line(results, method) for method in claim["methods"]]
    used = _records(results, *lines)
    if None in lines:
        return unmeasured()
    rates = [at_rate(_points(results, line, line.method), claim["at_pps"])["r_rx_pps"] for line in lines]
    reason = ", ".join(f"{line.name} {style.kpps(rate)} kpps" for line, rate in zip(lines, rates, strict=True))
    if any(map(math.isnan, rates)):
        return Answer(math.nan, NOT_COMPARABLE, "not measured on both sides of that rate", used=used)
    ours = 100 * min(rates[1:]) / rates[0]
    return Answer(ours, judge(math.nan, ours, tolerance(claim)), f"received: {reason}", used=used)


def cpu_full(claim: Claim, results: Results) -> Answer:
    """Judge whether the server's CPU is fully used where a method loses packets."""
    line = _line(results, claim["method"])
    used = _records(results, line)
    if line is None:
        return unmeasured()
    there = at_rate(_points(results, line, line.method), claim["at_pps"])
    if math.isnan(there["r_rx_pps"]):
        return Answer(math.nan, NOT_COMPARABLE, "not measured on both sides of that rate", used=used)
    busy, kept = 100 - there["idle"], there["r_rx_pps"] / claim["at_pps"]
    if kept >= 1 - metrics.TOLERANCE:
        return Answer(busy, NOT_COMPARABLE, f"it loses nothing there; {_measured(line)}", used=used)
    reason = f"it receives {rounded(100 * kept, '.1f')} % there"
    return Answer(busy, judge(math.nan, busy, tolerance(claim)), reason, used=used)


def bypass(claim: Claim, results: Results) -> Answer:
    """Judge whether a method that passes by the kernel's stack uses its CPU fully at each rate: by the least share."""
    (method,) = claim["methods"]
    line = _line(results, method)
    used = _records(results, line)
    if line is None:
        return unmeasured()
    points = _points(results, line, method).sort_values("r_tx_pps")
    busy = 100 - points["idle"]
    ends = [f"{rounded(busy.iloc[at], '.0f')} % at {style.kpps(points['r_tx_pps'].iloc[at])} kpps" for at in (0, -1)]
    verdict = judge(claim["value"], busy.min(), tolerance(claim))
    why = f"; {IDLE[method]}" * (verdict == DIFFERS)
    return Answer(busy.min(), verdict, f"{line.name}: {', '.join(ends)}{why}", busy.min(), busy.max(), used)
