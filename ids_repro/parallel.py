"""Run independent tasks on this machine's cores or on a Dask cluster."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

from tqdm.auto import tqdm

from .config import UserError

PATIENCE_S = 10  # how long a scheduler may take to answer


def run(
    function: Callable[[Any], Any],
    items: Sequence,
    scheduler: str | None = None,
    title: str = "tasks",
    patience_s: float = PATIENCE_S,
) -> list:
    """Call a function on each item, in as many processes as there are cores, and show a progress bar.

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
        How long the scheduler may take to answer [s].

    Returns
    -------
    list
        The results in the order of the items.

    Raises
    ------
    UserError
        If no scheduler answers at the address.
    Exception
        Whatever a call raises.
    """
    if scheduler:
        return _on_cluster(function, items, scheduler, title, patience_s)
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that other threads hold
    with ProcessPoolExecutor(min(len(items), os.cpu_count() or 1), mp_context=context) as pool:
        futures = [pool.submit(function, item) for item in items]
        for _ in tqdm(as_completed(futures), total=len(futures), desc=title, unit="task"):
            pass
        return [future.result() for future in futures]


def _on_cluster(function: Callable[[Any], Any], items: Sequence, scheduler: str, title: str, patience_s: float) -> list:
    from distributed import Client
    from distributed import as_completed as as_completed_there

    try:
        client = Client(scheduler, timeout=patience_s)
    except (OSError, ValueError) as error:
        start = "dask scheduler --port 8786, then on each machine: dask worker tcp://HOST:8786"
        raise UserError(f"no Dask scheduler answers at {scheduler} ({error}); start one: {start}") from None
    with client:
        futures = client.map(function, items, pure=False)
        for _ in tqdm(as_completed_there(futures), total=len(futures), desc=title, unit="task"):
            pass
        return client.gather(futures)
