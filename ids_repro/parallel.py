"""Run independent tasks on this machine's cores or on a Dask cluster."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tqdm import tqdm

from . import cluster
from .config import UserError
from .progress import show_progress

PATIENCE_S = 10  # how long a scheduler may take to answer
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # what ends a command


def run(
    function: Callable[[Any], Any],
    items: Sequence,
    scheduler: str | None = None,
    title: str = "tasks",
    patience_s: float = PATIENCE_S,
    files: Iterable[Path] = (),
) -> list:
    """Call a function on each item, in as many processes as there are cores, and show a progress bar.

    If this process is interrupted or killed, its workers end at once. On a cluster, tasks that have not begun are taken
    back, and the others end at their next `cluster.stop_if_unwanted`.

    Parameters
    ----------
    function : callable
        Takes one argument. It must be importable by its name.
    items : sequence
        The arguments. They and the results must be picklable.
    scheduler : str, optional
        Address of a Dask scheduler, such as "tcp://10.0.0.1:8786"; this machine's cores by default. The cluster's
        workers must see the same files under the same paths.
    title : str
        Title of the progress bar.
    patience_s : float
        How long the scheduler may take to answer, and to have a worker [s].
    files : iterable of Path
        Absolute paths of files and folders that every worker of the cluster must see.

    Returns
    -------
    list
        The results in the order of the items.

    Raises
    ------
    UserError
        If a worker process was killed, or as `cluster.run` does.
    Exception
        Whatever a call raises.
    """
    if scheduler:
        return cluster.run(function, items, scheduler, title, patience_s, files)
    return _on_cores(function, items, title)


def in_threads(function: Callable[[Any], Any], items: Sequence, most: int | None = None) -> Iterator:
    """Call a function on each item, in as many threads as there are cores, and yield the results in order.

    This is for work that C does, which lets other threads of Python go on meanwhile. When the caller ends early, calls
    that have not begun are left out.

    Parameters
    ----------
    function : callable
        Takes one argument.
    items : sequence
        The arguments.
    most : int, optional
        No more threads than these.

    Raises
    ------
    Exception
        Whatever a call raises.
    """
    with ThreadPoolExecutor(min(os.cpu_count() or 1, most or len(items) or 1)) as pool:
        yield from pool.map(function, items)


def _on_cores(function: Callable[[Any], Any], items: Sequence, title: str) -> list:
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that other threads hold
    ours, theirs = context.Pipe(duplex=False)
    workers = min(len(items), os.cpu_count() or 1)
    with _held_back(ENDINGS):  # it starts the tracker of semaphores
        executor = ProcessPoolExecutor(workers, context, _end_with, (ours,))
    with ours, theirs, executor as pool:
        try:
            with _held_back(ENDINGS):
                futures = [pool.submit(function, item) for item in items]
            for _ in show_progress(as_completed(futures), total=len(futures), desc=title, unit="task"):
                pass
            return [future.result() for future in futures]
        except BrokenProcessPool:
            theirs.close()
            text = f"a worker process of the {title} was killed, perhaps because memory ran out"
            raise UserError(f"{text}; give this machine more memory, or take fewer at once") from None
        except BaseException:
            theirs.close()
            raise
        finally:
            if sys.version_info < (3, 12):  # CPython's issue 94777, which 3.11.5 mends too
                # All tasks are done, or nobody will read one. If a task is larger than a pipe, a thread would wait for
                # ever for somebody to read the rest of it.
                pool._call_queue._reader.close()


@contextlib.contextmanager
def _held_back(numbers: Iterable[signal.Signals]) -> Iterator[None]:
    """Deliver these signals after the block; processes that are started in it never get them.

    A terminal sends Ctrl-C, or that it is closed, to every process of a command. Only this process has to answer.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with(parent: Connection) -> None:
    """Let this worker end at once when the other end of a pipe is closed, by the parent or by its death."""

    def wait() -> None:
        with contextlib.suppress(OSError, EOFError):
            parent.recv()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
    tqdm.set_lock(threading.RLock())  # its own lock is a semaphore of the system, which a sudden end would leave behind
