"""Table I beside what the running kernel said to a program that breaks each constraint: a table, from records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ..published import published
from .exhibit import Block, Exhibit, Results, origin
from .verdicts import DIFFERS, GRADES, HOLDS, Answer, unmeasured

NOTES = (
    "Each constraint is a small program (bpf/constraints.bpf.c), compiled with BCC and given to the kernel as an XDP "
    "program; none is attached. Global variables: other loaders than BCC's put them into a map, which the kernel "
    "knows since version 5.2. Tail calls: a program calls itself in a test run; the kernel counts them since 5.16 so "
    "that 33 are made."
)


def exhibit(results: Results) -> Exhibit:
    """Return Table I: the paper's statement, this kernel's answer, and the alternative."""
    frame, used = results.once(table), results.current("constraint")
    where = f"{origin(used, ('machine', 'kernel', 'commit'))}. Records: constraint.jsonl." if used else ""
    caption = f"Table I. Constraints of eBPF programs, live: {where or results.missing('constraint') + '.'}"
    return Exhibit("table1", caption, frame, [Block("", _text(frame))] if used else [], NOTES, badges=GRADES)


def table(results: Results) -> pd.DataFrame:
    """Return one line for each constraint of Table I that records of kind "constraint" have.

    Returns
    -------
    DataFrame
        constraint, source, user_space, paper: what the paper says of eBPF; ours: what this kernel did; refused_by,
        message; alternative: the paper's; alternative_ours; verdict.
    """
    rows, lines = published()["table1"]["rows"], []
    for record in results.current("constraint"):
        name, raw = record["asked"]["constraint"], record["raw"]
        if name not in rows:
            continue
        paper, broken, other = rows[name], raw["broken"], raw["alternative"]
        line = {"constraint": paper["constraint"], "source": paper.get("source", published()["table1"]["source"])}
        line |= {"user_space": paper["user_space"], "paper": paper["ebpf"], "ours": ours(broken)}
        line |= {"refused_by": broken["refused_by"], "message": broken["message"], "alternative": paper["alternative"]}
        line |= {"alternative_ours": "" if other is None else ours(other)}
        lines.append(line | {"verdict": verdict(paper, broken)})
    columns = ["constraint", "source", "user_space", "paper", "ours", "refused_by", "message", "alternative"]
    return pd.DataFrame(lines, columns=[*columns, "alternative_ours", "verdict"])


def ours(tried: dict[str, Any]) -> str:
    """Return in a word or two what the kernel did with a program."""
    if tried["tail_calls"] is not None:
        return f"{tried['tail_calls']} calls"
    return "refused" if tried["refused_by"] else "loaded"


def verdict(paper: dict[str, Any], broken: dict[str, Any]) -> str:
    """Judge what the kernel did with a program that breaks a constraint of the paper's."""
    if "calls" in paper:
        return HOLDS if broken["tail_calls"] == paper["calls"] else DIFFERS
    return HOLDS if broken["refused_by"] else DIFFERS


def _text(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Constraint": line.constraint,
            "Paper: eBPF": line.paper,
            "This kernel": line.ours,
            "by": line.refused_by,
            "its words": line.message,
            "Paper: alternative": line.alternative,
            "here": line.alternative_ours,
            "Verdict": line.verdict,
        }
        for line in frame.itertuples()
    )


def claims() -> list[dict]:
    """Return Table I in the form of claims."""
    source = published()["table1"]["source"]
    return [
        {"kind": "table1", "of": name, "says": row["ebpf"], "source": row.get("source", source)}
        for name, row in published()["table1"]["rows"].items()
    ]


def answer(claim: Mapping[str, Any], results: Results) -> Answer:
    """Return what this kernel said to the program that breaks one constraint."""
    used = [one for one in results.current("constraint") if one["asked"]["constraint"] == claim["of"]]
    if not used:
        return unmeasured()
    broken, paper = used[-1]["raw"]["broken"], published()["table1"]["rows"][claim["of"]]
    reason = f"kernel {used[-1]['provenance']['kernel']}"
    if broken["refused_by"]:
        reason += f": the {broken['refused_by']} says {broken['message']}"
    else:
        calls = "; kernels count so that 33 are made since version 5.16"
        reason += " loads a program that breaks it" if broken["tail_calls"] is None else calls
    return Answer(ours(broken), verdict(paper, broken), reason, used=used)
