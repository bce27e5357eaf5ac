"""Tasks run in other processes and give their results in order; tests/data/test_extract_many.py has a Dask cluster."""

import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from machine_state import heed_signals

from ids_repro import config, parallel


def test_results_come_in_the_order_of_the_items():
    assert parallel.run(math.factorial, [20, 3, 0]) == [math.factorial(20), 6, 1]


def test_what_a_call_raises_is_raised_here():
    with pytest.raises(ValueError, match="negative"):
        parallel.run(math.factorial, [1, -1])


def test_threads_give_results_in_the_order_of_the_items_and_no_more_run_at_once_than_asked():
    at_once, running, most = threading.Lock(), [], []

    def call(n: int) -> int:
        with at_once:
            running.append(n)
            most.append(len(running))
        time.sleep(0.01 * (3 - n % 3))
        with at_once:
            running.remove(n)
        return n * n

    assert list(parallel.in_threads(call, range(9), most=2)) == [n * n for n in range(9)]
    assert max(most) <= 2
    assert list(parallel.in_threads(call, [])) == []


def test_after_an_error_in_a_thread_no_other_call_begins():
    begun = []

    def call(n: int) -> None:
        begun.append(n)
        time.sleep(0.05)
        raise ValueError(n)

    with pytest.raises(ValueError, match="^0$"):
        list(parallel.in_threads(call, range(100)))
    assert len(begun) < 100


def wait(_: bytes) -> None:
    """Say that this worker has begun, and go on for longer than the test waits."""
    os.write(1, b"begun\n")
    time.sleep(300)


def end(_: bytes) -> None:
    """End this worker as the kernel does if memory runs out, once the others have begun too."""
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("what", "number"), [("wait", signal.SIGINT), ("wait", signal.SIGTERM), ("wait", signal.SIGHUP), ("end", None)]
)
def test_tasks_larger_than_a_pipe_hinder_no_end(what, number):
    """With more tasks than workers, so that one waits to be read when the workers end.

    Each process of the command gets the signal, as from a terminal. Only the first has to answer.
    """
    answer = f"signal.signal({number or signal.SIGINT:d}, signal.default_int_handler)"
    run = f"parallel.run(test_parallel.{what}, [bytes(1_000_000)] * {3 * os.cpu_count()})"
    command = [sys.executable, "-c", f"import signal, test_parallel; from ids_repro import parallel; {answer}; {run}"]
    path = {"PYTHONPATH": f"{config.ROOT}:{Path(__file__).parent}"}
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True}
    with subprocess.Popen(command, env=os.environ | path, preexec_fn=heed_signals, **how) as process:
        try:
            if what == "wait":
                for _ in range(os.cpu_count()):
                    assert process.stdout.readline() == b"begun\n"
                os.killpg(process.pid, number)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (b"KeyboardInterrupt" if what == "wait" else b"a worker process of the tasks was killed") in err
    assert b"resource_tracker" not in err
