"""Faults of a Dask cluster are named with an address, before the work where possible; its trainings are ours.

tests/data/test_parts.py stops a run on a cluster.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from distributed import Client, LocalCluster

from ids_repro import cluster, config, parallel
from ids_repro.config import UserError
from ids_repro.models import pipeline

ITEMS = [1, 2, 3]


def free_port() -> int:
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return some.getsockname()[1]


def dask(*arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "dask", *arguments, "--host", "127.0.0.1", "--no-dashboard"]
    return subprocess.Popen(command, cwd=config.ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture
def scheduler():
    """Start a scheduler in a process of its own; return its address and the process."""
    port = free_port()
    with dask("scheduler", "--port", str(port)) as process:
        yield f"tcp://127.0.0.1:{port}", process
        process.kill()


@pytest.fixture
def worker(scheduler):
    """Start a worker of that scheduler, without a nanny that would start it again."""
    with dask("worker", scheduler[0], "--nthreads", "2", "--no-nanny") as process:
        with Client(scheduler[0], timeout=20) as client:
            client.wait_for_workers(1, timeout=20)
        yield process
        process.kill()


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def end_this_worker(_) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def full(_) -> None:
    raise OSError(28, "No space left on device", "/x")


def test_trainings_in_threads_of_one_worker_are_those_of_one_process(flows, tmp_path):
    """The trainings run at the same time: what one draws must not depend on the others."""
    short = config.profile("smoke", seeds=(0, 1), epochs=1, min_steps=300)
    where = {"n_workers": 1, "threads_per_worker": 4, "processes": True, "dashboard_address": None}
    with LocalCluster(**where, host="127.0.0.1") as made:
        there = pipeline.train_all(flows, short, made.scheduler_address, folder=tmp_path)
    here = pipeline.train_all(flows, short, folder=tmp_path)
    for one, other in zip(here, there, strict=True):
        assert (one.task, one.seed, one.history) == (other.task, other.seed, other.history)
        for mine, theirs in zip(one.mlp.weights(), other.mlp.weights(), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_a_scheduler_without_workers_is_named(scheduler):
    with pytest.raises(UserError, match=f"the Dask scheduler at {scheduler[0]} has no workers; start one on each"):
        parallel.run(nap, ITEMS, scheduler[0], patience_s=2)


@pytest.mark.usefixtures("worker")
def test_a_file_that_a_worker_does_not_see_is_named_before_the_work(scheduler, tmp_path):
    missing, done = tmp_path / "missing.pcap", tmp_path / "done"
    with pytest.raises(
        UserError, match=rf"the Dask worker tcp://\S+ does not see {missing}; the workers need the same"
    ):
        parallel.run(Path.touch, [done], scheduler[0], files=[tmp_path, missing])
    assert not done.exists()
    parallel.run(Path.touch, [done], scheduler[0], files=[tmp_path])
    assert done.exists()


@pytest.mark.usefixtures("worker")
def test_a_worker_with_other_code_is_named_before_the_work(scheduler):
    def other_code():
        cluster.checkout_sha256 = lambda: "another"

    with Client(scheduler[0]) as client:
        client.run(other_code)
    with pytest.raises(UserError, match=r"the Dask worker tcp://\S+ has another version of this project"):
        parallel.run(nap, ITEMS, scheduler[0])


@pytest.mark.usefixtures("worker")
def test_an_error_on_a_worker_names_it(scheduler):
    with pytest.raises(UserError, match=r"on the Dask worker tcp://\S+: .*No space left on device: '/x'"):
        parallel.run(full, ITEMS, scheduler[0])


def test_a_scheduler_that_goes_away_is_named(scheduler, worker, capfd):
    killed = subprocess.Popen(["sh", "-c", f"sleep 2; kill -9 {scheduler[1].pid}"])
    began = time.monotonic()
    with pytest.raises(UserError, match=f"the Dask scheduler at {scheduler[0]} went away before all tasks were done"):
        parallel.run(nap, [600, 600], scheduler[0], patience_s=3)
    assert time.monotonic() - began < 15
    assert killed.wait() == 0
    assert not re.search("Traceback|ERROR", capfd.readouterr().err)


@pytest.mark.usefixtures("worker")
def test_that_all_workers_ended_is_said(scheduler):
    with pytest.raises(UserError, match=f"the Dask scheduler at {scheduler[0]} has no workers; start one on each"):
        parallel.run(end_this_worker, [1], scheduler[0], patience_s=2)


def test_a_task_that_ends_every_worker_names_the_last_one():
    where = {"n_workers": 1, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with (
        LocalCluster(**where, host="127.0.0.1", silence_logs=60) as made,
        pytest.raises(UserError, match=r"Dask workers ended while they ran a task, the last one tcp://\S+, perhaps"),
    ):
        parallel.run(end_this_worker, [1], made.scheduler_address)
