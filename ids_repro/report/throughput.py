"""The sweep as a table: the highest rate without loss, and the fall and the CPU at the paper's rates."""

from __future__ import annotations

import re
import statistics
import string
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from .. import metrics, trial_length
from ..published import claim
from ..text import rounded
from . import style
from .exhibit import Block, Exhibit, Results, circumstances
from .sweep_points import ASKED, BUSY, COMPARED, CPU, LINE, at_rate, lengths, medians, trial_points

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
    "Highest rate: the throughput of RFC 2544, Sec. 26.1, but with at most 1 % of the packets lost where it tolerates "
    "no loss. A trial that lost at most 1 % held. The rate is searched once in each repeat. A search tries the "
    "geometric mean of the fastest rate that held and the next one that lost, until these two are near enough, or the "
    "search has made its most trials. Resolution: their median distance at the end. A pause of the machine makes a "
    "trial lose, but nothing makes it hold what the method cannot take: so one rate that held outweighs two slower "
    "ones that lost. The highest rate is the lower median of the rates that held at the ends of the searches. The "
    "brackets reach from the slowest of these to the fastest of those that lost at the ends. ≥: no search found a "
    "rate that lost. Where at least half of them found no rate that held, it is less than the slowest of those that "
    "lost there. Alike: methods that share a letter differ only within their brackets. Of Flow Extraction: the "
    "quotient of the rates and of the ends of their brackets. No search: live frames were sent at the rates that the "
    "profile names and at no other one, or hping3 sent, whose rate cannot be set. Then there are no brackets, and no "
    "method is said to be faster than another. Fastest tried that held: of these rates, the fastest at which most "
    "trials held (R_TX, the lower median over repeats). ≥: no trial lost. Where there is none, it is less than the "
    "slowest R_TX that lost. R_RX and CPU at a rate: on the straight line between the medians over repeats on either "
    "side of it, of rates that were tried in all repeats; –: not measured on both sides. Below No Filter: of the same "
    "generator; the brackets hold for any two repeats, one of the method and one of No Filter. ≈: within the "
    "brackets, both are equal. CPU busy and its parts: each is a median of its own, so the parts need not add up. "
    + style.NETS
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
        least_lost_pps: the slowest of the rates that lost at their ends (infinite: none); resolution_percent: the
        median distance of the two rates at their ends (NaN: none has both); alike: see `letters`. Where no search was
        made, searches is 0, there is no interval, highest_pps is the fastest rate tried at which most trials held (0:
        none), lost_in counts repeats, least_lost_pps is of all trials, and tried says how many held at each rate.
        of_flow_percent: of what XDP_DRV (Flow Extraction) has, with of_flow_low_percent and
        of_flow_high_percent; slowest_pps, fastest_pps: the R_TX measured. At the paper's limit of 800,000 pps:
        r_rx_pps; limit_pps, No Filter's; fall_percent below it, from fall_low_percent to fall_high_percent for
        any two repeats; between_low_pps and between_high_pps, the measured rates around. At 300,000 pps: usr_percent,
        ... of the server's CPU, and busy_percent with busy_min_percent and busy_max_percent over repeats. compared,
        differences: as `trial_points`, summed. NaN: not measured.
        Live frames first, then hping3; methods in the paper's order.
    """
    trials, middle = results.once(trial_points), results.once(medians)
    # All methods are sent the same traffic, so they are searched with it or none is.
    searched, lines = set(trials[trials["of_search"]][[*LINE[1:]]].itertuples(index=False, name=None)), []
    for kind, part in trials.groupby(list(LINE)):
        method, rates = kind[0], _highest if kind[1:] in searched else _tried
        line = {"method": method, "name": style.method_name(method, trials)} | dict(zip(LINE, kind, strict=True))
        line |= {"trials": len(part), **rates(part), "alike": ""} | dict.fromkeys(OF_FLOW, float("nan"))
        line |= {"slowest_pps": part["r_tx_pps"].min(), "fastest_pps": part["r_tx_pps"].max()}
        lines.append(line | _at_the_papers_rates(middle, *kind) | part[[*COMPARED]].sum(min_count=1).to_dict())
    if not lines:
        return pd.DataFrame(columns=[*LINE, "highest_pps", "fastest_pps", "fall_percent"])
    frame = pd.DataFrame(lines)
    _compare(frame)
    places = [style.place(method) for method in frame["method"]]
    order = [lengths(trials).index(length) for length in frame["trial_s"]]
    by = ["generator", "flows", "order", "place"]
    frame = frame.assign(place=places, order=order).sort_values(by, ascending=[False, True, True, True])
    return frame.drop(columns=["place", "order"]).reset_index(drop=True)


def _compare(frame: pd.DataFrame) -> None:
    """Set what compares the methods of `table` that were searched with the same traffic: letters and quotients."""
    for _, part in frame[frame["searches"] > 0].groupby(list(LINE[1:])):
        frame.loc[part.index, "alike"] = letters(part["low_pps"], part["high_pps"])
    for _, part in frame[np.isfinite(frame["high_pps"]) & (frame["highest_pps"] > 0)].groupby(list(LINE[1:])):
        base = part[part["method"] == BASELINE]
        if len(base):
            for name, (ours, theirs) in OF_FLOW.items():
                frame.loc[part.index, name] = 100 * part[ours] / base[theirs].item()


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
        "least_lost_pps": min(lost for _, lost in ends),
        "resolution_percent": float(np.median(apart)) if apart else float("nan"),
        "tried": "",
    }


def _tried(part: pd.DataFrame) -> dict[str, float | str]:
    """Return the same of a line without searches: the fastest rate tried at which most trials held, and no interval."""
    part = part.assign(held=metrics.held(part["r_tx_pps"], part["r_rx_pps"]))
    points = sorted(
        (statistics.median_low(one["r_tx_pps"]), int(one["held"].sum()), len(one))
        for _, one in part.groupby(list(ASKED), dropna=False)
    )
    lost = part[~part["held"]]
    return {
        "highest_pps": max((pps for pps, held, n in points if 2 * held > n), default=0.0),
        "searches": 0,
        "lost_in": lost["repeat"].nunique(),
        "least_lost_pps": lost["r_tx_pps"].min() if len(lost) else float("inf"),
        "tried": ", ".join(f"{held} of {n} at {style.kpps(pps)}" for pps, held, n in points),
    } | dict.fromkeys(("low_pps", "high_pps", "resolution_percent"), float("nan"))


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
    # Each of both differs between repeats: the least fall is from No Filter's least to the method's most.
    ends = (("r_rx_pps", "r_rx_pps"), ("r_rx_max_pps", "r_rx_min_pps"), ("r_rx_min_pps", "r_rx_max_pps"))
    fall, least, most = (100 * (1 - ours[mine] / limit[others]) for mine, others in ends)
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
        title += f", trials of {trial_s:g} s" * several + ", no search" * (not part["searches"].any())
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
        **_text_of_rates(line),
        f"R_RX at {rounded(LIMIT_PPS / 1e3, '.0f')} kpps": "–"
        if np.isnan(line.r_rx_pps)
        else rounded(line.r_rx_pps / 1e3, ",.0f"),
        "below No Filter [%]": fall if line.method != "no_filter" else "",
        f"CPU busy at {rounded(CPU_PPS / 1e3, '.0f')} kpps [%] (usr, sys, soft)": busy,
        **({"Verdicts unlike user space's": _unlike(line)} if line.flows == "replay" else {}),
    }


def _text_of_rates(line) -> dict[str, str]:
    """Return what the searches found or, if there were none, what was tried."""
    if not line.searches:
        return {"Fastest tried that held [kpps]": rate(line), "Trials that held, at R_TX [kpps]": line.tried}
    return {
        "Highest rate [kpps]": rate(line),
        "Alike": line.alike,
        "of Flow Extraction [%]": _of_flow(line),
        "Searches (trials)": f"{line.searches} ({line.trials})",
        "Resolution [%]": "–" if np.isnan(line.resolution_percent) else rounded(line.resolution_percent, ".0f"),
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
    return f"{'≈ ' * (low < 100 < high)}{rounded(line.of_flow_percent, '.0f')} {_brackets(low, high)}"


def rate(line) -> str:
    """Return the highest rate of a line of `table`, in kpps, with its interval if it was searched.

    "≥": nothing was lost. "<": no rate held, or only in the lesser part of the searches or trials.
    """
    if not line.highest_pps:
        return f"< {style.kpps(line.least_lost_pps)}"
    highest = style.kpps(line.highest_pps)
    if not line.lost_in:
        return f"≥ {highest}"
    return f"{highest} {_brackets(line.low_pps, line.high_pps, style.kpps)}" if line.searches else highest


def _brackets(low: float, high: float, text: Callable[[float], str] = lambda value: rounded(value, ",.0f")) -> str:
    return f"[{text(low)}, " + (f"{text(high)}]" if np.isfinite(high) else "∞)")


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
    searches = sorted(set(frame["searches"]) - {0})
    covers = [rounded(100 * metrics.coverage(n), ".0f") for n in searches]
    shortest = trials["trial_s"].min()
    points = 100 * trial_length.error(CPU_PPS * shortest)
    made = f"{', '.join(map(str, searches))} searches for each rate, whose brackets cover the median search with "
    made += f"{', '.join(covers)} %. "
    return made * bool(searches) + (
        f"At {rounded(CPU_PPS / 1e3, '.0f')} kpps a trial of {shortest:g} s knows a loss of "
        f"1 % within {rounded(points, '.2g')} points, if {trial_length.BURST} packets are lost in a row. "
    )
