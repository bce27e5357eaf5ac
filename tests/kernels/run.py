"""Boot Debian's kernels in virtual machines, and let each judge every variant of the kernel program.

    make test-kernels

Records go to data/results/kernels.jsonl, the table to figures/kernels.*. A rerun goes on where the last one ended.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import sys
from pathlib import Path

from ids_repro import records
from ids_repro.cli.ending import exit_code
from ids_repro.config import BPF, FIGURES, RESULTS, ROOT, UserError
from ids_repro.report import kernels as table
from ids_repro.report.exhibit import Results
from ids_repro.text import say

from . import image, machine, two_machines
from .project import CACHE, PACKETS, project_disk

VECTORS = 1000
LIMIT_S = 3600.0  # of one machine
PATH, SWEEP = RESULTS / "kernels.jsonl", CACHE / "two_machines.jsonl"
GUEST = Path(__file__).with_name("guest.py")
# Facts of the machine that its records keep; the rest of a record's provenance is this checkout's.
FACTS = ("kernel", "cpu", "cpus", "ram_bytes", "compiler", "python", "packages", "started_utc", "duration_s", "link")


def main() -> int:
    """Do what is not done yet; the exit code is 1 if something gave no answer, or differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernels", default="", help="suites with commas between them; all by default")
    parser.add_argument("--limit-s", type=float, default=LIMIT_S, help="for each machine; default: %(default)s")
    parser.add_argument("--only", choices=("table", "sweep"), help="the table of variants, or the sweep; default: both")
    args = parser.parse_args()
    disk, kernels = image.kernels_and_disk()
    kernels = [kernel for kernel in kernels if not args.kernels or kernel["suite"] in args.kernels.split(",")]
    steps = [(measure, kernel) for kernel in kernels if args.only != "sweep"]
    steps += [(sweep, kernels[-1])] if args.only != "table" and kernels else []
    failed = False
    for step, kernel in steps:
        try:
            step(kernel, disk, args.limit_s)
        except UserError as error:
            say(f"{kernel['release']}: {error}", sys.stderr)
            failed = True
    if args.only == "sweep":
        return int(failed)
    exhibit = table.exhibit(Results(records.read_some(PATH)))
    exhibit.write(FIGURES)
    say(exhibit.markdown())
    wrong = exhibit.frame["not_compared"].astype(bool).any() or exhibit.frame["differ"].dropna().sum()
    return int(failed or bool(wrong))


def sweep(kernel: dict, disk: Path, limit_s: float) -> None:
    """Boot two machines, and record the trials of a small sweep between them, unless all went well once."""
    if SWEEP.exists() and all(record["status"] == "ok" for record in records.read(SWEEP)):
        say(f"the sweep between two machines: all {len(records.read(SWEEP))} trials are in {SWEEP}")
        return
    SWEEP.unlink(missing_ok=True)
    say(f"two machines with {kernel['release']}: booting, at most {limit_s:,.0f} s ...")
    for line in two_machines.sweep(kernel, disk, limit_s, CACHE):
        if not line.startswith("{"):
            say(f"  {line}")  # what `sweep` tells its user
            continue
        record = keep(line, SWEEP)
        raw, asked = record["raw"], record["asked"]
        counted = f"{raw['received_packets']:,} of {raw['sent_packets']:,} packets" if raw else record["reason"]
        say(f"  {asked['method']}, {asked['rate_pps'] or asked['generator']}: {record['status']}: {counted}")


def measure(kernel: dict, disk: Path, limit_s: float) -> None:
    """Boot one kernel, and record what it says of each variant that it was not asked about yet."""
    identity = {"programs_sha256": programs_sha256(), "vectors": VECTORS, "packets": PACKETS}
    say(f"{kernel['release']} ({kernel['suite']}, {kernel['version']}): booting, at most {limit_s:,.0f} s ...")
    run = f"echo booted; exec .venv/bin/python -X faulthandler guest.py {VECTORS} {shlex.quote(json.dumps(identity))}"
    console = CACHE / f"console-{kernel['suite']}.log"
    console.unlink(missing_ok=True)
    with project_disk(run, [GUEST], PATH) as project:
        for line in machine.lines(machine.command(kernel, disk, project, console), limit_s, console):
            words = described(keep(line)) if line.startswith("{") else line
            say(f"  {kernel['release']} {words}")


def programs_sha256() -> str:
    """Return the SHA-256 of what decides how the verifier sees the programs: their C, and their flags."""
    paths = [*sorted(BPF.glob("*.[ch]")), ROOT / "ids_repro/kernel/variants.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def keep(line: str, path: Path = PATH) -> dict:
    """Append a record that a machine printed, with what that machine says of itself, and return it."""
    record = json.loads(line)
    made = record["provenance"]
    facts = {name: made[name] for name in FACTS if name in made} | {"mode": "qemu"}
    asked, raw, identity = record["asked"], record["raw"], made["identity"]
    how = record["status"], record["reason"]
    return records.append(path, record["kind"], asked, raw, *how, identity=identity, **facts)


def described(record: dict) -> str:
    """Return a record in a few words."""
    asked, raw = record["asked"], record["raw"]
    name = f"{asked['variant']} ({asked['hook']}, {asked['classes']} classes)"
    if raw["refused"]:
        return f"{name}: refused"
    differ = "nothing to compare" if raw["differ"] is None else f"{raw['differ']} differ"
    differ = "its build for test runs is refused" if raw["not_compared"] else differ
    return f"{name}: {raw['verified_insns']:,} verified instructions, {differ}"


if __name__ == "__main__":
    sys.exit(exit_code("test-kernels", main))
