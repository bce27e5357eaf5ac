"""Run tasks on a Dask cluster: look at its workers first, stop the tasks on Ctrl-C, and name the address at fault."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import UserError
from .progress import show_progress
from .provenance import checkout_sha256

if TYPE_CHECKING:
    from distributed import Client, Future


class Stopped(Exception):
    """The task is no longer wanted: its client was stopped or has ended."""


def stop_if_unwanted() -> None:
    """Raise `Stopped` if this thread runs a task of a Dask worker and the client has cancelled it or is gone.

    Dask cannot end a thread, so a long task asks from time to time. Elsewhere this does nothing.
    """
    if "distributed" not in sys.modules:
        return
    from distributed import get_worker

    try:
        worker = get_worker()
        task = worker.state.tasks.get(worker.get_current_task())
    except (ValueError, KeyError):  # this thread runs no task
        return
    if task is None or task.state == "cancelled":
        raise Stopped


def run(
    function: Callable[[Any], Any],
    items: Sequence,
    scheduler: str,
    title: str,
    patience_s: float,
    files: Iterable[Path] = (),
) -> list:
    """Call a function on each item, each call on a worker; see `parallel.run`.

    Raises
    ------
    UserError
        If no scheduler answers, it has no workers, a worker lacks one of the files or has another checkout, a call
        raises UserError or OSError, or the scheduler or the workers go away. It names the address.
    """
    with _client(scheduler, patience_s) as client:
        _require_workers(client, scheduler, [str(path) for path in files], patience_s)
        futures = client.map(partial(_task, function), items, pure=False)
        try:
            _wait(client, futures, scheduler, title, patience_s)
            return [_result(future) for future in futures]
        except BaseException:
            with contextlib.suppress(Exception):  # the scheduler may be gone
                client.cancel(futures, force=True)
            raise


@contextlib.contextmanager
def _client(scheduler: str, patience_s: float) -> Iterator[Client]:
    """Connect to a scheduler. If the connection breaks in the block, that becomes a UserError."""
    from distributed import CancelledError, Client, TimeoutError

    log = logging.getLogger("distributed")
    level = log.level
    log.setLevel(logging.CRITICAL)  # what went wrong is said in one sentence; Dask would print a page
    try:
        try:
            client = Client(scheduler, timeout=patience_s)
        except (OSError, ValueError, TimeoutError) as error:
            start = "dask scheduler --port 8786, then on each machine: dask worker tcp://HOST:8786"
            raise UserError(f"no Dask scheduler answers at {scheduler} ({error}); start one: {start}") from None
        with client:
            yield client
    except (OSError, TimeoutError, CancelledError) as error:
        text = f"the Dask scheduler at {scheduler} went away before all tasks were done ({type(error).__name__})"
        raise UserError(f"{text}; start it and its workers, then run the command again") from None
    finally:
        log.setLevel(level)


def _require_workers(client: Client, scheduler: str, files: list[str], patience_s: float) -> None:
    """Refuse a cluster without workers, and one with a worker that lacks a file or has another checkout."""
    _await_a_worker(client, scheduler, patience_s)
    ours = checkout_sha256()
    for worker, found in client.run(_look, files, on_error="return").items():
        if isinstance(found, Exception):
            raise UserError(
                f"the Dask worker {worker} cannot run this project's code ({found}); start it with this .venv"
            )
        sha256, missing = found
        if missing:
            raise UserError(f"the Dask worker {worker} does not see {missing[0]}; the workers need the same files")
        if sha256 != ours:
            raise UserError(f"the Dask worker {worker} has another version of this project; give it this checkout")


def _await_a_worker(client: Client, scheduler: str, patience_s: float) -> None:
    from distributed import TimeoutError

    try:
        client.wait_for_workers(1, timeout=patience_s)
    except TimeoutError:
        start = f"start one on each machine: dask worker {scheduler}"
        raise UserError(f"the Dask scheduler at {scheduler} has no workers; {start}") from None


def _look(files: list[str]) -> tuple[str, list[str]]:
    """Return the hash of a worker's checkout, and which of the files it does not see."""
    return checkout_sha256(), [path for path in files if not Path(path).exists()]


def _task(function: Callable[[Any], Any], item: Any) -> Any:
    """Call the function on a worker; an error that the user can correct names the worker."""
    from distributed import get_worker

    try:
        return function(item)
    except (UserError, OSError) as error:
        raise UserError(f"on the Dask worker {get_worker().address}: {error}") from None


def _wait(client: Client, futures: list[Future], scheduler: str, title: str, patience_s: float) -> None:
    """Wait for all tasks and show a progress bar, as long as there are workers."""
    from distributed import TimeoutError, wait

    waiting = set(futures)
    with show_progress(total=len(futures), desc=title, unit="task") as bar:
        while waiting:
            try:
                waiting = wait(waiting, timeout=patience_s, return_when="FIRST_COMPLETED").not_done
            except TimeoutError:
                _await_a_worker(client, scheduler, patience_s)
            bar.update(len(futures) - len(waiting) - bar.n)


def _result(future: Future) -> Any:
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        last = error.last_worker.address
        text = f"Dask workers ended while they ran a task, the last one {last}, perhaps because memory ran out"
        raise UserError(f"{text}; look at its log, and start workers with fewer processes") from None
