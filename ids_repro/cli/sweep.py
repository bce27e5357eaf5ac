"""The command sweep, between namespaces of this machine or between two machines."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import PROFILES, SAMPLE, UserError, profile
from ..files import require_file
from ..text import say
from .add import only_with

if TYPE_CHECKING:
    from ..sweep.link_ssh import TwoMachines
    from .add import Add


def _sweep(args: argparse.Namespace) -> int:
    """Make the trials that are missing; the exit code is 1 if one of them did not end ok."""
    from ..models import pipeline
    from ..require import require_rights
    from ..sweep.plan import at_rates, plan_trials, read_rates
    from ..sweep.replay import Replay
    from ..sweep.run import SWEEP, run_sweep

    require_rights("sweep", "a sweep")
    over = two_machines(args)
    chosen = profile(args.profile)
    plan_trials(chosen, args.methods, args.flows)  # refuses a wrong name before a model is trained
    require_file(args.capture)
    replay = Replay(args.capture)
    of = replay if args.flows == "replay" else None
    chosen = chosen if args.rates is None else at_rates(chosen, read_rates(args.rates, of))
    plan = {"methods": args.methods, "flows": args.flows}
    made = run_sweep(pipeline.any_model("binary"), chosen, **plan, over=over, replay=replay)
    wrong = [record for record in made if record["status"] != "ok"]
    for record in wrong:
        say(f"{record['asked']['method']}: {record['status']}: {record['reason']}", sys.stderr)
    say(f"{SWEEP}: {len(made)} trials made, {len(wrong)} of them not ok")
    return int(bool(wrong))


def two_machines(args: argparse.Namespace) -> TwoMachines | None:
    """Return what the options say of a link to a second machine, None if none of them is given.

    Raises
    ------
    UserError
        If only some of the options that a link needs are given.
    """
    from ..sweep.link_ssh import TwoMachines

    given = {name: value for name in TwoMachines.__dataclass_fields__ if (value := getattr(args, name)) is not None}
    if not given:
        return None
    for option in ("client", "client_iface", "server_iface"):
        if option not in given:
            raise UserError(f"a sweep between two machines needs --{option.replace('_', '-')} too")
    return TwoMachines(**given)


def add_sweep(add: Add) -> None:
    """Add the command sweep."""
    command = add("sweep", _sweep, "measure throughput and CPU of every method, Figs. 4 and 5 (root)")
    command.add_argument("--profile", default="smoke", help=", ".join(PROFILES))
    text = "names with commas between them, all or every (those too that all leaves out); default: the profile's"
    command.add_argument("--methods", help=text)
    text = "a new flow per packet, one flow, a capture's; both: live frames' one, at some rates the others"
    command.add_argument("--flows", choices=("both", "new", "one", "replay"), default="both", help=text)
    text = "rates of live frames in packets/s, instead of the profile's, or multiples of a capture's own, such as 4x"
    command.add_argument("--rates", metavar="R,R", help=text)
    text = "whose packets live frames replay; by default the lab capture"
    capture = command.add_argument("--capture", type=Path, default=SAMPLE, metavar="FILE", help=text)
    only_with(capture, "--flows both or replay", lambda args: args.flows in ("both", "replay"))
    _add_two_machines(command)


def _add_two_machines(command: argparse.ArgumentParser) -> None:
    """Add the options that `two_machines` reads: one for each field of `sweep.link_ssh.TwoMachines`."""
    text = "the machine that sends, ssh://root@host[:port]; without, client and server are namespaces of this one"
    command.add_argument("--client", metavar="URL", help=text)
    command.add_argument("--client-iface", metavar="IF", help="its end of the measured link")
    command.add_argument("--server-iface", metavar="IF", help="this machine's end")
    text = "this project's checkout on the client; as here by default"
    command.add_argument("--client-dir", metavar="DIR", help=text)
    text = "IPv4 address to send to; the server's own by default, which it answers with resets"
    command.add_argument("--target", metavar="ADDRESS", help=text)
    command.add_argument("--ssh-config", type=Path, metavar="FILE", help="for ssh, instead of your own")
