"""Whatever happens to a command, nothing is lost, nothing is left when it was started again, and it does its work then.

    make test-faults            # the long form: 30 tries of each signal with each command; it resumes

The short form tries each fault of tests/faults.py once. IDS_FAULTS_SEED is printed; with it, the same moments come
again, and IDS_FAULTS_ONLY=SIGKILL:sweep:7,SIGHUP:record:0 tries some of them alone.
"""

import os
import time
from dataclasses import replace

import numpy as np
import pytest
from fault_commands import METHODS, Lab
from faults import FAULTS, rounds, run
from made_models import port_tree

from ids_repro import config, records
from ids_repro.models.model_file import save_model
from ids_repro.native.layouts import TREE_LEAF
from ids_repro.provenance import checkout_sha256
from ids_repro.report import robustness
from ids_repro.report.exhibit import Results

pytestmark = [pytest.mark.root, pytest.mark.quiet, pytest.mark.bpf]
SEED = int(os.environ.get("IDS_FAULTS_SEED", 1))
TRIES = int(os.environ.get("IDS_FAULTS_TRIES", 0))  # of each signal with each command; 0: the short form
OTHERS, BATCH = 3, 5  # tries of each other fault with each command; how many make one record
SECONDS = float(os.environ.get("IDS_FAULTS_S", 1e9 if TRIES else 45))


@pytest.fixture(scope="module")
def lab(project, models, tmp_path_factory):
    """A copy of the project whose sweeps are short."""
    folder = tmp_path_factory.mktemp("faults")
    project.add_short_sweep("faults", METHODS)
    project.save(models)
    tree = port_tree(2)
    harmless = replace(tree, low=np.where(tree.feature == TREE_LEAF, 0, tree.low))
    made = {"first": tree, "second": harmless}
    two = {
        name: save_model(replace(models["binary"], twins=models["binary"].twins | {"dt": one}), folder / name)
        for name, one in made.items()
    }
    two["second"] = two["second"].rename(folder / "second.npz")
    lab = Lab(project, folder, two)
    yield lab
    lab.close()


def chosen():
    """Return the tries that are asked for: one, all of the long form, or one of each fault."""
    if only := os.environ.get("IDS_FAULTS_ONLY"):
        tries = [one.split(":") for one in only.split(",")]
        return [(fault, command, range(int(number), int(number) + 1)) for fault, command, number in tries]
    if TRIES:
        return rounds(TRIES, OTHERS, BATCH)
    return [(name, fault.commands[0], range(1)) for name, fault in FAULTS.items()]


def test_no_fault_loses_or_leaves_anything_and_a_rerun_does_the_work(lab, tmp_path):
    path = (config.RESULTS if TRIES else tmp_path) / "fault.jsonl"
    identity, bad, end = {"checkout_sha256": checkout_sha256()}, [], time.monotonic() + SECONDS
    print(f"\nseed {SEED}")
    for fault, command, numbers in chosen():
        asked = {"fault": fault, "command": command, "seed": SEED, "first": numbers.start, "tries": len(numbers)}
        if time.monotonic() > end:
            print("the time is over; a rerun goes on")
            break
        if records.key(asked, identity) in records.done(path, "fault"):
            continue
        started = records.now()
        raw = run(lab, fault, command, numbers, SEED)
        made = records.append(path, "fault", asked, raw, started=started, identity=identity)
        bad += [f"{fault}, {command}, {one}" for name in ("lost", "left", "wrong") for one in raw[name]]
        print(
            f"{fault}, {command}: {len(numbers)} tries, {made['provenance']['duration_s']:.1f} s", *bad[-3:], flush=True
        )
    if TRIES:
        robustness.exhibit(Results(records.read(path))).write()
    assert bad == []
