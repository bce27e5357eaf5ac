"""One line per trial of the sweep, medians over repeats, and values between measured rates."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .. import config, records
from .exhibit import Results

# How the server's CPU spent its time, in the words of Fig. 5; "steal" is what the hypervisor took.
CPU = ("usr", "sys", "soft", "idle", "steal")
BUSY = ("busy", "busy_min", "busy_max")  # usr, sys and soft together: the median over repeats, the least, the most
COMPARED = ("compared", "differences")  # of a replay: packets whose verdicts are compared with user space's
# Trials that agree in LINE make one line of Fig. 4; those that also agree in ASKED make one point of it.
LINE, ASKED = ("method", "generator", "flows", "trial_s"), ("interval_us", "rate_pps")
# How clearly a figure draws trials of the length that most trials have, of the next one, and of all others.
SHADES = (1.0, 0.5, 0.25)


def at_rate(part: pd.DataFrame, rate_pps: float) -> pd.Series:
    """Interpolate one line of Fig. 4 at an R_TX.

    Parameters
    ----------
    part : DataFrame
        Of `medians`, of one method, generator, kind of flows and length of the trials.
    rate_pps : float

    Returns
    -------
    Series
        The numbers of `medians`, on the straight line between the `complete` points on either side, whose rates are
        below_pps and above_pps. All are NaN if the rate is outside their range: nothing is extrapolated.
    """
    part = complete(part).sort_values("r_tx_pps")
    x = part["r_tx_pps"].to_numpy()
    names = ["r_rx_pps", "r_rx_min_pps", "r_rx_max_pps", *CPU, *BUSY]
    if not x.size or not x[0] <= rate_pps <= x[-1]:
        return pd.Series(float("nan"), index=[*names, "below_pps", "above_pps"])
    found = {name: np.interp(rate_pps, x, part[name].astype(float)) for name in names}
    return pd.Series(found | {"below_pps": x[x <= rate_pps].max(), "above_pps": x[x >= rate_pps].min()})


def complete(part: pd.DataFrame) -> pd.DataFrame:
    """Return the points of one line of `medians` that have the most trials: those of the rates that were planned.

    A rate that a search tried has one trial, in which "over repeats" means nothing.
    """
    return part[part["trials"] == part["trials"].max()]


def trial_points(results: Results) -> pd.DataFrame:
    """Return one line per trial of the sweep.

    Parameters
    ----------
    results : Results
        Records of kind "sweep" are used.

    Returns
    -------
    DataFrame
        What was asked for: method, generator, flows ("new": one a packet, "one", or "replay": a capture's), interval_us
        (hping3) or rate_pps (live frames), trial_s, repeat. of_search: whether a search chose the rate, because neither
        the profile names it nor the user did. workers. r_tx_pps and r_rx_pps (Sec. V-B1: packets leaving the client,
        and arriving at the server's program, per second); usr, sys, soft, idle, steal in % of the server's CPU; busy:
        the first three together. compared, differences: of a replay that lost nothing, its packets, and by how much the
        counts of their verdicts and reasons differ from user space's; else NaN.
    """
    lines = []
    for record in results.current("sweep"):
        asked, raw = record["asked"], record["raw"]
        # The first records do not name their flows: hping3 took a new port for each packet.
        line = {name: asked.get(name) for name in (*LINE, *ASKED, "repeat")} | {"flows": asked.get("flows") or "new"}
        line["trial_s"] = float(asked.get("trial_s", round(raw["duration_s"], 1)))
        line["of_search"] = _is_of_search(record)
        line["workers"] = raw.get("workers", 1)
        line["r_tx_pps"] = raw["sent_packets"] / raw["duration_s"]
        line["r_rx_pps"] = raw["received_packets"] / raw["duration_s"]
        line["differences"] = raw.get("differences")
        line["compared"] = None if line["differences"] is None else raw["received_packets"]
        line |= {name: raw["cpu_percent"].get(name, 0.0) for name in CPU}
        lines.append(line | {"busy": line["usr"] + line["sys"] + line["soft"]})
    names = [*LINE, *ASKED, "repeat", "of_search", "workers", "r_tx_pps", "r_rx_pps", *CPU, "busy", *COMPARED]
    return pd.DataFrame(lines, columns=names).astype(dict.fromkeys(COMPARED, float) | {"of_search": bool})


def _is_of_search(record: dict) -> bool:
    """Return whether a search chose the rate of a trial: neither the profile names it nor the user did."""
    rate_pps, profile = record["asked"].get("rate_pps"), config.PROFILES.get(records.scope(record)["profile"])
    if rate_pps is None or profile is None or record["asked"].get("chosen"):
        return False
    return rate_pps not in profile.live_pps


def all_trials(results: Results) -> pd.DataFrame:
    """Return one line per trial of the sweep, failed ones too: what was asked, and what became of the packets."""
    lines = []
    for record in results.rows:
        if record["kind"] == "sweep":
            asked, raw = record["asked"], record["raw"]
            line = {name: asked.get(name) for name in (*LINE, *ASKED, "repeat")} | {"status": record["status"]}
            line |= {name: raw.get(f"{name}_packets") for name in ("sent", "received")}
            lines.append(line | {"dropped": sum(raw["dropped_packets"].values()) if "dropped_packets" in raw else None})
    return pd.DataFrame(lines)


def medians(results: Results) -> pd.DataFrame:
    """Return one line per point of Fig. 4, by rising R_TX of each line.

    Returns
    -------
    DataFrame
        The medians over repeats of `trial_points`; r_rx_min_pps and r_rx_max_pps, busy_min and busy_max: the least and
        the most; trials: of how many.
    """
    by = results.once(trial_points).groupby([*LINE, *ASKED], sort=False, dropna=False)
    middle = by[["workers", "r_tx_pps", "r_rx_pps", *CPU, "busy"]].median()
    middle["r_rx_min_pps"], middle["r_rx_max_pps"] = by["r_rx_pps"].min(), by["r_rx_pps"].max()
    middle["trials"] = by.size()
    middle["busy_min"], middle["busy_max"] = by["busy"].min(), by["busy"].max()
    return middle.reset_index().sort_values([*LINE, "r_tx_pps"], ignore_index=True)


def lengths(frame: pd.DataFrame) -> list[float]:
    """Return the lengths of trials [s] in the column trial_s; the one that most lines have comes first.

    Trials of different length are never pooled: a short trial hides losses that a long one shows.
    """
    counts = frame["trial_s"].value_counts()
    return sorted(counts.index, key=lambda length: (-counts[length], -length))


def shades(frame: pd.DataFrame) -> dict[float, float]:
    """Return for each of the `lengths` how clearly a figure draws it: 1 is full, less is pale."""
    return {length: SHADES[min(place, len(SHADES) - 1)] for place, length in enumerate(lengths(frame))}
