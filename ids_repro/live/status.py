"""What the program on an interface is doing now, as numbers and as a table."""

from __future__ import annotations

import time

import numpy as np

from ..kernel import attach as hooks
from ..kernel.info import prog_info, timed_runs
from ..native.layouts import FOUND, KERNEL_REASONS
from ..require import capable
from ..text import printable, rounded
from .program import Live

# The model of a generation whose name is missing: a swap forgot the oldest of 16 names, then somebody killed it.
UNNAMED = {"file": "?", "sha256": "?", "mean_length": None}


def look(live: Live, seconds: float = 1.0) -> dict:
    """Look at a program for a while.

    Parameters
    ----------
    live : Live
    seconds : float
        [s]

    Returns
    -------
    dict
        "iface", "mode", "since", "classifier", "arithmetic", "n_classes", "action": what is attached.
        "missing": from which side of TC, "ingress" or "egress", somebody took the program off, while it is still at the
        other one. "packets", "reasons", "lost", "mean_length": since then: counts, of suspects that found the ring
        buffer full, and [byte].
        "packets_per_s", "ns_per_packet": of these seconds. The latter is by the kernel's clock, None without packets,
        and absent without CAP_SYS_ADMIN.
        "flows", "flows_max": flows that the flow table holds, timed-out ones included, and has room for.
        "new_flows_per_s": of these seconds. "evicted_unproven", "evicted_proven": flows that lost their place in a full
        bucket (bpf/README.md); "busy" among the reasons: another CPU had the lock.
        "generation", "verdicts": the model that decides now; counts by class, of all generations.
        "models": "generation", "file", "sha256", "verdicts", and "mean_length" in training of the last 16 generations.
        "flagged", "flagged_per_min": flows that a detector flagged, by the class that it took their packet for, since
        then and in these seconds; None of other models.
    """
    begin, first, old = time.monotonic(), live.counts(), live.flagged()
    timed = _timed(live, seconds)
    counts, (retired, kept), took_s = live.counts(), live.by_generation(), time.monotonic() - begin
    verdicts = retired["n"] + sum(one["n"] for one in kept.values())  # read once, so that the table adds up
    return {
        **_about(live),
        "packets": int(counts["packets"]),
        "packets_per_s": float(counts["packets"] - first["packets"]) / took_s,
        **timed,
        "reasons": dict(zip(KERNEL_REASONS, counts["reason"].tolist(), strict=False)),
        "lost": int(counts["lost"]),
        **_flows(live, first, counts, took_s),
        **{"generation": max(kept), "verdicts": live.by_class(verdicts), **_flagged(live, old, took_s)},
        "models": [
            {"generation": n, **live.models.get(str(n), UNNAMED), "verdicts": live.by_class(of_model["n"])}
            for n, of_model in kept.items()
        ],
    }


def _timed(live: Live, seconds: float) -> dict[str, float | None]:
    """Wait, and return the time per packet if this process has the capability to let the kernel take it."""
    if not capable("CAP_SYS_ADMIN"):
        time.sleep(seconds)
        return {}
    before = prog_info(live.fd)
    with timed_runs():
        time.sleep(seconds)
        after = prog_info(live.fd)
    runs = int(after["run_cnt"] - before["run_cnt"])
    return {"ns_per_packet": int(after["run_time_ns"] - before["run_time_ns"]) / runs if runs else None}


def _about(live: Live) -> dict:
    names = ("classifier", "arithmetic", "n_classes", "action")
    about = {"iface": live.iface, "mode": live.mode, "since": live.since}
    about["missing"] = hooks.missing(live.iface, live.mode, live.number)
    return about | {name: getattr(live.variant, name) for name in names}


def _flagged(live: Live, old: np.ndarray, took_s: float) -> dict:
    """Return what `look` says of flagged flows; `old` is how many there were at its begin."""
    if not live.variant.evidence:
        return {"flagged": None, "flagged_per_min": None}
    now = live.flagged()
    return {
        "flagged": live.flagged_by_class(now),
        "flagged_per_min": {name: 60 * n / took_s for name, n in live.flagged_by_class(now - old).items()},
    }


def _flows(live: Live, first: np.void, counts: np.void, took_s: float) -> dict:
    """Return what `look` says of packets' lengths and the flow table, from the counts at its begin and at its end."""
    parsed = int(sum(counts["reason"][KERNEL_REASONS.index(name)] for name in ("ok", "busy")))
    started = (counts["found"] - first["found"])[1:].sum()
    about = {"mean_length": int(counts["bytes"]) / parsed if parsed else None, "flows": live.flows_held()}
    about |= {"flows_max": live.variant.flows, "new_flows_per_s": float(started) / took_s}
    return about | dict(zip(FOUND[2:], counts["found"].tolist()[2:], strict=False))


def table(found: dict) -> str:
    """Return what `look` found as lines of text."""
    net = f", {found['arithmetic']}" * (found["classifier"] == "nn")
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found["since"]))
    hook = found["mode"].replace("_", "-")  # as the option --hook
    lines = [
        f"{found['iface']}: {found['classifier']}{net}, {found['n_classes']} classes, on {hook}, "
        f"action {found['action']}, since {since}",
        *(f"somebody took it off at {hook}: detach it and attach it again" for hook in found["missing"]),
        f"{'packets':14}{found['packets']:>16,}{rounded(found['packets_per_s'], '>12,.0f')} /s",
        *(f"  {name:12}{n:>16,}" for name, n in found["reasons"].items() if n),
        f"{'flows':14}{found['flows']:>16,}  of {found['flows_max']:,}, timed-out ones included",
        f"{'  new':14}{'':16}{rounded(found['new_flows_per_s'], '>12,.0f')} /s",
        *(f"  {name.replace('_', ' '):18}{found[name]:>10,}" for name in FOUND[2:]),
    ]
    if "ns_per_packet" in found:
        ns = found["ns_per_packet"]
        lines.append(f"{'ns per packet':14}{'no packet' if ns is None else rounded(ns, ',.0f'):>16}")
    if found["mean_length"] is not None:
        learnt = found["models"][-1]["mean_length"]
        lines.append(f"{'mean length':14}{rounded(found['mean_length'], '>16,.0f')}  byte" + _beside(learnt))
    if found["action"] == "redirect" or found["flagged"] is not None:
        lines.append(f"{'lost suspects':14}{found['lost']:>16,}")
    for name, n in (found["flagged"] or {}).items():
        lines.append(f"{'flagged ' + name:22}{n:>8,}{rounded(found['flagged_per_min'][name], '>12,.0f')} flows/min")
    columns = found["verdicts"]
    lines.append("".join(["verdicts      ", *(f"{name:>14}" for name in columns), "  model"]))
    for model in reversed(found["models"]):
        name = f"  {'>' if model['generation'] == found['generation'] else ' '}gen. {model['generation']}"
        counts = "".join(f"{n:>14,}" for n in model["verdicts"].values())
        lines.append(f"{name:14}{counts}  {printable(model['file'])} {printable(model['sha256'])[:12]}")
    lines.append("".join(["  all         ", *(f"{n:>14,}" for n in columns.values())]))
    return "\n".join(lines)


def _beside(learnt: float | None) -> str:
    return "" if learnt is None else f"; the model was trained on {rounded(learnt, ',.0f')}"
