"""The commands that make the tables and figures: reproduce measures first, figures reads records alone."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ..config import FIGURES, PROFILES, RESULTS, TASKS, Profile, profile
from ..text import duration, say
from .add import Add, add_number

# What the notebooks take beside the sweep, on two CPUs of an AMD EPYC: seconds, and seconds for one more of what a
# profile asks for. The nets of all seeds are updated at once. Notebooks 02 and 04 train them for each task, and 07
# trains one for each of its seeds and its three tests, on both CPUs.
FIXED_S, UPDATE_S, ROUND_S, DETECTOR_S, FLOODS = 90, 200e-6, 5, 25, 25


def duration_s(settings: Profile) -> float:
    """Return how long a reproduction with this profile takes at most, if no notebook is skipped [s]."""
    from ..sweep import plan

    updates = settings.min_steps * (2 * len(TASKS) + 1.5 * len(settings.detector_seeds))
    rest_s = FIXED_S + UPDATE_S * updates + ROUND_S * settings.timing_rounds + FLOODS * settings.flood_s
    rest_s += DETECTOR_S * len(settings.detector_seeds) + 2 * settings.live_s + 2 * settings.flooded_s
    return rest_s + plan.duration_s(plan.most_trials(settings), settings.trial_s)


def _reproduce(args: argparse.Namespace) -> int:
    from .. import stages
    from ..require import require_programs, require_rights, require_root

    settings = profile(args.profile)  # refuses a wrong name before anything else
    root = os.geteuid() == 0
    chosen = stages.choose(args.only)
    if not any(stage.without_root is not None for stage in chosen):
        require_root(f"notebook {chosen[0].name}")
    require_programs("cc")
    if root and any(stage.measures for stage in chosen):
        require_rights("reproduce", "reproducing the tables and figures")
        require_programs("hping3", "ethtool", "ip")
    if root and not args.only:
        about = duration(duration_s(settings))
        say(f"profile {args.profile}: about {about} if every notebook has to run; a rerun resumes")
    stages.run_all(args.profile, chosen, args.fresh, root)
    say(f"done: open {FIGURES / 'report.html'}")
    return 0


def add_reproduce(add: Add) -> None:
    """Add the command reproduce."""
    command = add(
        "reproduce",
        _reproduce,
        "run the notebooks whose inputs or code have changed, in order (root for 05 and the kernel)",
    )
    command.add_argument("--profile", default="smoke", help=", ".join(PROFILES))
    command.add_argument("--only", nargs="+", default=(), metavar="NN", help="only these notebooks, such as 05 06")
    command.add_argument("--fresh", action="store_true", help="run notebooks too of which nothing has changed")


def _figures(args: argparse.Namespace) -> int:
    from .. import records
    from ..report import page
    from ..report.style import COLUMN_IN

    rows = records.read_some(args.results)
    page.write_all(rows, args.figures, args.width_in or COLUMN_IN, args.methods, args.dataset)
    say(f"done: open {args.figures / 'report.html'}")
    return 0


def add_figures(add: Add) -> None:
    """Add the command figures."""
    command = add("figures", _figures, "tables, figures and report again from records alone")
    command.add_argument("--results", type=Path, default=RESULTS, help="a folder of .jsonl files, or one such file")
    command.add_argument("--figures", type=Path, default=FIGURES, help="where to write")
    add_number(command, "--width-in", help="of Figs. 4 and 5, in inches; one column by default")
    command.add_argument("--dataset", metavar="NAME", help="the data set to report; by default the newest record's")
    command.add_argument("--methods", default="all", help="in Figs. 4 and 5, such as no_filter,xdp_drv_nn_fused")
