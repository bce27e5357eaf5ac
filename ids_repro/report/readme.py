"""The numbers of the READMEs, each rendered from records: `make readme` writes them again, and a test compares them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from .. import config, metrics, records
from ..files import replaced
from ..published import claim, published
from ..require import COMMANDS, Needs
from ..text import rounded
from ..trial_length import error
from . import blinding, classification, detector, kernel_cost, packet_by_packet, throughput
from .exhibit import Block, Results, circumstances, origin
from .shipped import EXAMPLE

READMES = config.ROOT / "README.md", config.BPF / "README.md"
MARK = re.compile(r"(<!-- numbers: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
# A variant of the kernel program, the method of the sweep that runs it, and the words for it.
PROGRAMS = (
    ("flow", "xdp_drv_flow", "flow extraction alone"),
    ("dt", "xdp_drv_dt", "with the tree"),
    ("nn_fused_packed", "xdp_drv_nn_fused", "with the net, fused"),
    ("nn_q16_packed", "", "with the net, q16, one struct"),
    ("nn_q16_paper", "xdp_drv_nn_q16_paper", "with the net, q16, the paper's layout"),
    ("flow_lru", "", "flow extraction alone, with the kernel's LRU map"),
)


def render(text: str, results: Results) -> str:
    """Return a text in which each part between `<!-- numbers: NAME -->` and `<!-- end -->` is made from records.

    Parameters
    ----------
    text : str
        Markdown. NAME is a key of PARTS.
    results : Results
    """
    return MARK.sub(lambda found: found[1] + PARTS[found[2]](results) + "\n" + found[3], text)


def write(folder: Path = EXAMPLE) -> None:
    """Render the READMEs again from the records of a folder."""
    results = Results(records.read_some(folder))
    for path in READMES:
        text = render(path.read_text(), results)
        with replaced(path) as file:
            file.write(text.encode())


def _where(results: Results) -> str:
    used = results.current("sweep")
    place, profile = origin(used, ("machine", "kernel", "commit")), circumstances(used)["profile"]
    command = "make reproduce" + f" PROFILE={profile}" * (profile != "smoke")
    return (
        f"*Fig. 4 as `{command}` drew it: {place}. Left: the paper's range of rates; right: ours. Its records are "
        "in `data/example/`.*"
    )


def _scores(results: Results) -> pd.DataFrame:
    """Return accuracy and inference time of the binary task: one line for each row of Table II."""
    lines = results.once(classification.table, "binary")
    lines = lines[(lines["label"] == classification.OVERALL) & lines["metric"].isin(["accuracy", "inference_us"])]
    return lines.pivot(index="row", columns="metric", values=["ours", "paper"])


def _rate(results: Results, method: str) -> str:
    """Return the highest rate of a method with live frames of one flow, and its interval."""
    frame = results.once(throughput.table)
    best = frame[(frame["method"] == method) & (frame["generator"] == "live_frames") & (frame["flows"] == "one")]
    return throughput.rate(next(best.itertuples())) if len(best) else ""


def _outcome(results: Results) -> str:
    """Return what came out, in five lines."""
    scores, cost = _scores(results), results.once(kernel_cost.table).set_index("variant")
    accuracy, time = scores["ours"]["accuracy"], scores["ours"]["inference_us"]
    theirs, their_time = scores["paper"]["accuracy"], scores["paper"]["inference_us"]
    alarms = results.once(packet_by_packet.table).set_index(["task", "row"])["false alarm in flow"]
    best = results.once(detector.table).set_index(["row", "test", "budget"]).loc[("dt_deep", "other_recording", 0.01)]
    lost = results.once(blinding.table)
    lost = lost[(lost["flows"] == 1 << 16) & (lost["packets"] == 2) & (lost["rate_pps"] == lost["rate_pps"].max())]
    kept = lost[~lost["answered"]].set_index("table")["share_found"]
    fused, as_laid_out = _rate(results, "xdp_drv_nn_fused"), _rate(results, "xdp_drv_nn_q16_paper")
    new, new_lru = (cost.loc[variant, "new_flows_ns"] for variant in ("flow", "flow_lru"))
    paper_kpps = rounded(claim("no_loss", method="xdp_drv_nn_fused")["value"] / 1e3, ".0f")
    q16, float_net, paper_q16, paper_float = (
        rounded(one, ".3f")
        for one in (accuracy["nn_q16_kernel"], accuracy["nn_pytorch"], theirs["nn_q16_c"], theirs["nn_pytorch"])
    )
    lost_q16, lost_fused = (
        rounded(100 * (accuracy["nn_pytorch"] - accuracy[f"nn_{name}_kernel"]), ".1f") for name in ("q16", "fused")
    )
    found, flagged = (rounded(100 * best[name], ".1f") for name in ("found", "false_alarms"))
    lines = [
        f"**Accuracy.** In the paper's int8 arithmetic the net loses {lost_q16} points: {q16} in the kernel, "
        f"{float_net} in PyTorch (the paper, on CIC-IDS2017: {paper_q16} and {paper_float}). In our own arithmetic it "
        f"loses {lost_fused}. NumPy, C, XDP and TC agree in every bit.",
        f"**Time.** One decision of the net takes {rounded(time['nn_q16_c'], '.2g')} µs in C and "
        f"{rounded(time['nn_fused_c'], '.2g')} µs in our own arithmetic, {rounded(time['nn_pytorch'], '.3g')} µs in "
        f"PyTorch (the paper: {their_time['nn_q16_c']} and {their_time['nn_pytorch']} µs).",
        f"**Throughput.** XDP with the net receives {as_laid_out} kpps without loss as the paper lays it out, and "
        f"{fused} kpps as we do. The paper has {paper_kpps} kpps, between two machines.",
        f"**Floods.** A packet that starts a flow takes {rounded(new, '.0f')} ns, and {rounded(new_lru, '.0f')} ns "
        "with the kernel's LRU map. While new flows of two packets each flood the table, "
        f"{rounded(100 * kept['shared'], '.1f')} % of other packets still find their flow; with the LRU map "
        f"{rounded(100 * kept['lru'], '.1f')} %.",
        "**Live use.** The paper's net, which judges each packet, raises an alarm in "
        f"{rounded(alarms['binary', 'nn_q16_c'], '.0f')} % of the normal flows. Our detector finds {found} % of the "
        f"attack flows of another recording and flags {flagged} % of the normal ones.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _table2(results: Results) -> str:
    scores, paper = _scores(results), published()["table2"]["rows"]
    names = results.once(classification.table, "binary").set_index("row")["name"].to_dict()

    def cell(row: str, whose: str, metric: str, digits: str) -> str:
        value = scores[whose][metric][row]
        return "" if pd.isna(value) else rounded(value, digits)

    return Block(
        "",
        pd.DataFrame(
            {
                "Implementation": names[row],
                "accuracy": cell(row, "ours", "accuracy", ".3f"),
                "the paper's": cell(row, "paper", "accuracy", ".3f"),
                "time [µs]": cell(row, "ours", "inference_us", ".3g"),
                "the paper's ": cell(row, "paper", "inference_us", "g"),
            }
            for row in sorted(scores.index, key=lambda row: (row not in paper, list(names).index(row)))
        ),
    ).markdown()


def _programs(results: Results) -> str:
    cost = results.once(kernel_cost.table).set_index("variant")
    told = {"xdp_drv_nn_q16_paper": "xdp_drv_nn_fused"}  # the paper measured one net and does not name its layout

    def theirs(method: str) -> str:
        found = [one for one in published()["claims"] if one.get("method") == told.get(method, method)]
        return next((rounded(one["value"] / 1e3, ".0f") for one in found if one["kind"] == "no_loss"), "")

    return Block(
        "",
        pd.DataFrame(
            {
                "XDP program": words,
                "known flow [ns]": rounded(cost.loc[variant, "one_flow_ns"], ",.0f"),
                "new flow [ns]": rounded(cost.loc[variant, "new_flows_ns"], ",.0f"),
                "verified instructions": rounded(cost.loc[variant, "verified_insns"], ",.0f"),
                "highest rate [kpps]": _rate(results, method),
                "the paper's": theirs(method),
            }
            for variant, method, words in PROGRAMS
        ),
    ).markdown()


def _detector(results: Results) -> str:
    frame = results.once(detector.table)
    frame = frame[(frame["row"] == "dt_deep") & (frame["test"] == "other_recording")]
    classes = list(frame)[list(frame).index("false_alarms_per_hour") + 1 :]
    return Block(
        "",
        pd.DataFrame(
            {
                "Budget": f"{100 * line['budget']:g} %",
                "attack flows found": f"{rounded(100 * line['found'], '.1f')} %",
                "normal flows flagged": f"{rounded(100 * line['false_alarms'], '.2f')} %",
            }
            | {name: f"{rounded(100 * line[name], '.1f')} %" for name in classes}
            for line in frame.to_dict("records")
        ),
    ).markdown()


def _live(results: Results) -> str:
    return "\n".join(block.markdown() for block in detector.live(results))


def _searches(_: Results) -> str:
    """Return how each profile searches the highest rate."""
    return Block(
        "",
        pd.DataFrame(
            {
                "profile": one.name,
                "loss that counts as none": f"{100 * metrics.TOLERANCE:g} %",
                "resolution": f"{100 * one.resolution:g} %",
                "a trial": f"{one.trial_s:g} s",
                "a loss of 1 % at 300 kpps is known within": f"{rounded(100 * error(3e5 * one.trial_s), '.2f')} points",
                "searches": str(one.repeats),
                "the brackets cover their median with": f"{rounded(100 * metrics.coverage(one.repeats), '.0f')} %",
            }
            for one in config.PROFILES.values()
        ),
    ).markdown()


def _capabilities(_: Results) -> str:
    """Return what commands need: one line for those that need the same."""
    alike: dict[Needs, list[str]] = {}
    for name, needs in COMMANDS.items():
        alike.setdefault(needs, []).append(name)
    return Block(
        "",
        pd.DataFrame(
            {
                "command": ", ".join(names),
                "capabilities": ", ".join(needs.capabilities),
                "user": "root" if needs.root else "any",
                "needs nothing with": needs.unless,
            }
            for needs, names in alike.items()
        ),
    ).markdown()


def _flow_table(results: Results) -> str:
    """Return what our flow table and the kernel's LRU map cost, and what they keep while a flood passes."""
    cost = results.once(kernel_cost.table).set_index("variant")
    lines = [
        {
            "": f"{words} [ns]",
            blinding.NAMES["shared"]: rounded(cost.loc[ours, time], ".0f"),
            blinding.NAMES["lru"]: rounded(cost.loc[theirs, time], ".0f"),
        }
        for words, ours, theirs, time in (
            ("flow extraction, a packet of a known flow", "flow", "flow_lru", "one_flow_ns"),
            ("flow extraction, a packet that starts a flow", "flow", "flow_lru", "new_flows_ns"),
            ("with the net, fused, a packet of a known flow", "nn_fused_packed", "nn_fused_lru", "one_flow_ns"),
        )
    ]
    found = results.once(blinding.table)
    for (flows, rate, packets, answered, seconds), part in found.groupby(
        ["flows", "rate_pps", "packets", "answered", "flood_s"]
    ):
        if rate in (0, found["rate_pps"].max()) and flows < found["flows"].max():
            words = f"for {seconds:g} s {rate / 1e6:g} million/s, {blinding.kind(packets, answered)}"
            share = part.set_index("table")["share_found"]
            lines.append(
                {
                    "": f"room for {flows:,} flows: packets that find theirs, {words if rate else 'no flood'} [%]",
                    blinding.NAMES["shared"]: rounded(100 * share["shared"], ".3f"),
                    blinding.NAMES["lru"]: rounded(100 * share["lru"], ".3f"),
                }
            )
    flagged: dict[tuple, dict[str, str]] = {}
    for record in results.current("blinded_verdicts"):
        rate, packets, answered, table = (
            record["asked"][name] for name in ("rate_pps", "packets", "answered", "table")
        )
        words = f"{rate / 1e6:g} million/s, {blinding.kind(packets, answered)}" if rate else "no flood"
        line = flagged.setdefault(
            (rate, packets, answered), {"": f"packets of attacks that the net flags, {words} [%]"}
        )
        line[blinding.NAMES[table]] = rounded(blinding.flagged_percent(record), ".1f")
    lines += [flagged[key] for key in sorted(flagged)]
    return Block("", pd.DataFrame(lines)).markdown()


PARTS: Mapping[str, Callable[[Results], str]] = {
    "where": _where,
    "outcome": _outcome,
    "table2": _table2,
    "programs": _programs,
    "detector": _detector,
    "live": _live,
    "searches": _searches,
    "capabilities": _capabilities,
    "flow_table": _flow_table,
}
