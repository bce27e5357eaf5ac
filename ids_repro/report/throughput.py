"""The sweep as a table: the highest rate without loss, and the fall and the CPU at the paper's rates."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable

import numpy as np
import pandas as pd

from .. import metrics, trial_length
from ..published import claim
from ..text import rounded
from . import style
from .exhibit import Block, Exhibit, Results, circumstances
from .sweep_points import BUSY, COMPARED, CPU, LINE, at_rate, lengths, medians, trial_points

BASELINE = "xdp_drv_flow"  # what a classifier is added to
# A rate as a share of the baseline's, and the ends of its interval: which of its rates, and of the baseline's.
OF_FLOW = {
    "of_flow_percent": ("highest_pps", "highest_pps"),
    "of_flow_low_percent": ("low_pps", "high_pps"),
    "of_flow_high_percent": ("high_pps", "low_pps"),
}
LIMIT_PPS = claim("max_rate")["value"]  # 800,000
CPU_PPS = claim("no_loss", method="xdp_drv_nn_fused")["value"]  # 300,000
NOTES = (
    "Highest rate: the throughput of RFC 2544, Sec. 26.1, but with at most 1 % of the packets lost where it "
    "tolerates no loss. It is searched once in each repeat. A search cuts its trials, by rising R_TX, where the "
    "fewest are on the wrong side (lost below the cut, or held above it, which counts twice). With live frames it "
    "then tries the geometric mean of the two rates around the cut, until they are near enough. Resolution: the "
    "median distance of these two at the end. The highest rate is the median of the rates that held; the brackets "
    "reach from the slowest of them to the fastest that lost. ≥: no trial lost; if each did, the rate is below the "
    "slowest. Alike: methods that share a letter differ only within their brackets. R_RX and CPU at a rate: on the "
    "straight line between the medians measured on either side of it; –: not measured on both sides. Below No "
    "Filter: of the same generator; in brackets the least and the most over repeats. Of Flow Extraction: the "
    "quotient of the rates and of the ends of their brackets. ≈: within the brackets, both are equal. " + style.NETS
)


def exhibit(results: Results) -> Exhibit:
    """Return the table of the highest rate of each method, of its fall below No Filter and of the server's CPU."""
    frame = results.once(table)
    return Exhibit("throughput", caption(results), frame, blocks(frame), NOTES)


def table(results: Results) -> pd.DataFrame:
    """Return one line per method, generator, kind of flows and length of the trials.

    Parameters
    ----------
    results : Results
        Records of kind "sweep" are used.

    Returns
    -------
    DataFrame
        method, name, generator, flows, trial_s, trials; highest_pps with its interval low_pps to high_pps (infinite:
        nothing lost), as `metrics.highest_rate`; searches: how many; lost_in: in how many of them packets were lost;
        resolution_percent: the median distance of the two rates at their ends (NaN: none has both); alike: see
        `letters`; of_flow_percent: of what XDP_DRV (Flow Extraction) has, with of_flow_low_percent and
        of_flow_high_percent; slowest_pps, fastest_pps: the R_TX measured. At the paper's limit of 800,000 pps:
        r_rx_pps; limit_pps, No Filter's; fall_percent below it, from fall_low_percent to fall_high_percent over
        repeats; between_low_pps and between_high_pps, the measured rates around. At 300,000 pps: usr_percent, ... of
        the server's CPU, and busy_percent with busy_min_percent and busy_max_percent over repeats. compared,
        differences: as `trial_points`, summed. NaN: not measured.
        Live frames first, then hping3; methods in the paper's order.
    """
    trials, middle = results.once(trial_points), results.once(medians)
    lines = []
    for kind, part in trials.groupby(list(LINE)):
        method = kind[0]
        line = {"method": method, "name": style.method_name(method, trials)} | dict(zip(LINE, kind, strict=True))
        line |= {"trials": len(part), **_highest(part), "alike": ""} | dict.fromkeys(OF_FLOW, float("nan"))
        line |= {"slowest_pps": part["r_tx_pps"].min(), "fastest_pps": part["r_tx_pps"].max()}
        lines.append(line | _at_the_papers_rates(middle, *kind) | part[[*COMPARED]].sum(min_count=1).to_dict())
    if not lines:
        return pd.DataFrame(columns=[*LINE, "highest_pps", "fastest_pps", "fall_percent"])
    frame = pd.DataFrame(lines)
    for _, part in frame.groupby(list(LINE[1:])):
        frame.loc[part.index, "alike"] = letters(part["low_pps"], part["high_pps"])
    for _, part in frame[np.isfinite(frame["high_pps"])].groupby(list(LINE[1:])):
        base = part[part["method"] == BASELINE]
        if len(base):
            for name, (ours, theirs) in OF_FLOW.items():
                frame.loc[part.index, name] = 100 * part[ours] / base[theirs].item()
    places = [style.place(method) for method in frame["method"]]
    order = [lengths(trials).index(length) for length in frame["trial_s"]]
    by = ["generator", "flows", "order", "place"]
    frame = frame.assign(place=places, order=order).sort_values(by, ascending=[False, True, True, True])
    return frame.drop(columns=["place", "order"]).reset_index(drop=True)


def _highest(part: pd.DataFrame) -> dict[str, float]:
    """Return the highest rate of the trials of one line of the table, and how its searches ended."""
    ends = [metrics.edge_of_loss(one["r_tx_pps"], one["r_rx_pps"]) for _, one in part.groupby("repeat")]
    best = metrics.highest_rate(ends)
    apart = [100 * (lost / held - 1) for held, lost in ends if held and np.isfinite(lost)]
    return {
        "highest_pps": best.middle,
        "low_pps": best.low,
        "high_pps": best.high,
        "searches": best.n,
        "lost_in": sum(np.isfinite(lost) for _, lost in ends),
        "resolution_percent": float(np.median(apart)) if apart else float("nan"),
    }


def letters(low: Iterable[float], high: Iterable[float]) -> list[str]:
    """Return letters for intervals: two that overlap share one, two that do not share none.

    This is the compact letter display of H.-P. Piepho, J. Comput. Graph. Stat. 13 (2004), for intervals on a line.

    Parameters
    ----------
    low, high : iterable of float, length n
        Intervals that only touch do not overlap.

    Returns
    -------
    list of str, length n
        "a" stands for the highest ones.
    """
    ends = list(zip(low, high, strict=True))
    # All that overlap at the low end of one of them are a group, if no other group has them all.
    groups = [{i for i, (a, b) in enumerate(ends) if a <= at < b or a == at == b} for at, _ in sorted(ends)[::-1]]
    groups = [one for n, one in enumerate(groups) if not any(one < two for two in groups) and one not in groups[:n]]
    names = string.ascii_lowercase + string.ascii_uppercase
    return ["".join(name for name, group in zip(names, groups, strict=False) if i in group) for i in range(len(ends))]


def _at_the_papers_rates(
    middle: pd.DataFrame, method: str, generator: str, flows: str, trial_s: float
) -> dict[str, float]:
    """Return what a line of Fig. 4 and No Filter's receive at the paper's limit, and the CPU's split at its NN's."""
    same = middle[(middle["generator"] == generator) & (middle["flows"] == flows) & (middle["trial_s"] == trial_s)]
    part = same[same["method"] == method]
    ours = at_rate(part, LIMIT_PPS)
    limit = at_rate(same[same["method"] == "no_filter"], LIMIT_PPS)
    fall, least, most = (
        100 * (1 - ours[name] / limit["r_rx_pps"]) for name in ("r_rx_pps", "r_rx_max_pps", "r_rx_min_pps")
    )
    found = {"r_rx_pps": ours["r_rx_pps"], "limit_pps": limit["r_rx_pps"]}
    found |= {"fall_percent": fall, "fall_low_percent": least, "fall_high_percent": most}
    found |= {"between_low_pps": ours["below_pps"], "between_high_pps": ours["above_pps"]}
    cpu = at_rate(part, CPU_PPS)
    return found | {f"{name}_percent": cpu[name] for name in (*CPU, *BUSY)}


def blocks(frame: pd.DataFrame) -> list[Block]:
    """Return `table` as a person reads it: a block for each generator, kind of flows and length of the trials."""
    parts, several = [], frame["trial_s"].nunique() > 1
    for (generator, flows, trial_s), part in frame.groupby(list(LINE[1:]), sort=False):
        title = f"Sent by {style.GENERATORS[generator][1]}, {style.FLOWS[flows]}"
        title += f", trials of {trial_s:g} s" * several
        parts.append(Block(title, pd.DataFrame([_text(line) for line in part.itertuples()])))
    return parts


def _text(line) -> dict[str, str]:
    cpu = [getattr(line, f"{name}_percent") for name in CPU]
    shares = ", ".join(rounded(share, ".0f") for share in cpu[:3])
    busy = "–" if np.isnan(cpu[0]) else f"{rounded(line.busy_percent, '.0f')} ({shares})"
    fall = "–"
    if np.isfinite(line.fall_percent):
        ends = (line.fall_percent, line.fall_low_percent, line.fall_high_percent)
        fall, low, high = (rounded(end, ".1f") for end in ends)
        fall = f"{'≈ ' * (ends[1] < 0 < ends[2])}{fall} [{low}, {high}]"
    return {
        "Method": line.name,
        "Highest rate [kpps]": rate(line),
        "Alike": line.alike,
        "of Flow Extraction [%]": _of_flow(line),
        "Searches (trials)": f"{line.searches} ({line.trials})",
        "Resolution [%]": "–" if np.isnan(line.resolution_percent) else rounded(line.resolution_percent, ".0f"),
        f"R_RX at {rounded(LIMIT_PPS / 1e3, '.0f')} kpps": "–"
        if np.isnan(line.r_rx_pps)
        else rounded(line.r_rx_pps / 1e3, ",.0f"),
        "below No Filter [%]": fall if line.method != "no_filter" else "",
        f"CPU busy at {rounded(CPU_PPS / 1e3, '.0f')} kpps [%] (usr, sys, soft)": busy,
        **({"Verdicts unlike user space's": _unlike(line)} if line.flows == "replay" else {}),
    }


def _unlike(line) -> str:
    """Return in how many of its packets a replay differs from user space, where it lost none."""
    return (
        "–" if np.isnan(line.compared) else f"{rounded(line.differences, ',.0f')} of {rounded(line.compared, ',.0f')}"
    )


def _of_flow(line) -> str:
    """Return the highest rate as a share of Flow Extraction's; both have an interval, so the share has one too."""
    if np.isnan(line.of_flow_percent):
        return ""
    if line.method == BASELINE:
        return "100"
    low, high = line.of_flow_low_percent, line.of_flow_high_percent
    share, low_text, high_text = (rounded(one, ".0f") for one in (line.of_flow_percent, low, high))
    return f"{'≈ ' * (low < 100 < high)}{share} [{low_text}, {high_text}]"


def rate(line) -> str:
    """Return the highest rate of a line of `table` with its interval, in kpps; "≥": no trial lost, "<": each did."""
    if not line.lost_in:
        return f"≥ {rounded(line.highest_pps / 1e3, ',.0f')}"
    if not line.highest_pps and np.isfinite(line.high_pps):  # even the slowest trial lost packets
        return f"< {rounded(line.high_pps / 1e3, ',.0f')}"
    high = f"{rounded(line.high_pps / 1e3, ',.0f')}]" if np.isfinite(line.high_pps) else "∞)"
    return f"{rounded(line.highest_pps / 1e3, ',.0f')} [{rounded(line.low_pps / 1e3, ',.0f')}, {high}"


def caption(results: Results) -> str:
    """Return what was measured, where, how the server was held, and from which records."""
    used, title = results.current("sweep"), "Throughput by method"
    if not used:
        return f"{title}: {results.missing('sweep')}."
    facts, seconds = circumstances(used), ", ".join(f"{s:g}" for s in lengths(results.once(trial_points)))
    # The number of a kernel thread says nothing to a reader and differs between trials.
    held = dict.fromkeys(re.sub(r"\b(thread) \d+", r"\1", r["raw"]["held"]) for r in used if r["raw"].get("held"))
    return (
        f"{title}. Profile {facts.get('profile', 'not given')}; {facts['machine']}; kernel {facts['kernel']}; commit "
        f"{facts['commit']}. Trials of {seconds} s. {_exactness(results)}"
        + f"Load: {facts.get('load')}. " * ("load" in facts)
        + f"Server held to one CPU: {', '.join(held)}. " * bool(held)
        + style.REPLAY * ("replay" in set(results.once(trial_points)["flows"]))
        + "Records: sweep.jsonl."
    )


def _exactness(results: Results) -> str:
    """Return how often the rate was searched, what its interval covers, and how exactly a trial knows its loss."""
    trials = results.once(trial_points)
    frame = results.once(table)
    searches = sorted(set(frame["searches"]))
    covers = [rounded(100 * metrics.coverage(n), ".0f") for n in searches]
    shortest = trials["trial_s"].min()
    points = 100 * trial_length.error(CPU_PPS * shortest)
    return (
        f"{', '.join(map(str, searches))} searches for each rate, whose brackets cover the median search with "
        f"{', '.join(covers)} %. At {rounded(CPU_PPS / 1e3, '.0f')} kpps a trial of {shortest:g} s knows a loss of "
        f"1 % within {rounded(points, '.2g')} points, if {trial_length.BURST} packets are lost in a row. "
    )
