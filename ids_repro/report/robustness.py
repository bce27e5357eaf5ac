"""What became of commands that were disturbed: how often each fault was tried, what was lost and left, from records."""

from __future__ import annotations

from typing import Any

import pandas as pd

from .exhibit import Block, Exhibit, Results, origin
from .verdicts import DIFFERS, GRADES, HOLDS

TITLES = {
    "SIGKILL": "kill -9, at a random moment",
    "SIGTERM": "SIGTERM, at a random moment",
    "SIGHUP": "SIGHUP to all its processes, at a random moment",
    "full_disk": "the disk is full",
    "read_only_folder": "the folder is read-only",
    "nofile_64": "ulimit -n 64",
    "interface_removed": "its interface is removed, at a random moment",
    "namespace_deleted": "its network namespace is deleted, at a random moment",
    "hping3_hangs": "hping3 hangs",
    "clock_step": "its clock is set an hour back or ahead, at a random moment",
    "two_at_once": "the command is started twice at once",
    "torn_line": "the last record is cut at a random place",
}
COUNTED = ("lost", "left", "wrong")
NOTES = (
    "After each try the command runs again. Lost: finished records, files of a run before, verdicts, or work that a "
    "command said was done. Left, after that: what is attached, pinned or set and should not be, namespaces, "
    "processes, locks, temporary files. Wrong: a traceback, an exit code that does not say what happened, or a second "
    "run that does not do the work. Clocks are stepped for the command alone. make test-faults makes "
    "these records; each has the seed and the moments."
)


def exhibit(results: Results) -> Exhibit:
    """Return the table of faults."""
    frame, used = results.once(table), results.current("fault")
    where = f"{origin(used, ('machine', 'kernel', 'commit'))}. Records: fault.jsonl." if used else ""
    caption = f"Faults that commands survive. {where or 'No records yet: run make test-faults.'}"
    return Exhibit("robustness", caption, frame, [Block("", _text(frame))] if used else [], NOTES, badges=GRADES)


def table(results: Results) -> pd.DataFrame:
    """Return one line for each fault and command that records of kind "fault" have.

    Returns
    -------
    DataFrame
        fault, command, tries; lost, left, wrong: how many sentences the records have of each; verdict.
    """
    sums: dict[tuple[str, str], dict[str, Any]] = {}
    for record in results.current("fault"):
        asked, raw = record["asked"], record["raw"]
        line = sums.setdefault((asked["fault"], asked["command"]), dict.fromkeys(("tries", *COUNTED), 0))
        line["tries"] += asked["tries"]
        for name in COUNTED:
            line[name] += len(raw[name])
    order = list(TITLES)
    lines = [{"fault": fault, "command": command} | line for (fault, command), line in sums.items()]
    lines.sort(key=lambda line: order.index(line["fault"]) if line["fault"] in order else len(order))
    frame = pd.DataFrame(lines, columns=["fault", "command", "tries", *COUNTED])
    frame["verdict"] = [DIFFERS if any(line[name] for name in COUNTED) else HOLDS for line in lines]
    return frame


def _text(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Fault": TITLES.get(line.fault, line.fault),
            "Command": line.command,
            "Tried": f"{line.tries:,}",
            "Lost": f"{line.lost:,}",
            "Left": f"{line.left:,}",
            "Wrong": f"{line.wrong:,}",
            "Verdict": line.verdict,
        }
        for line in frame.itertuples()
    )
