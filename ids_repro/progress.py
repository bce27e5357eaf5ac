"""Progress bars: lines of text in a terminal, widgets in JupyterLab, none in a notebook that papermill executes."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import Any

from tqdm import tqdm


def show_progress(*args: Any, **kwargs: Any) -> tqdm:
    """Return a progress bar of the kind that whoever looks at the output can see.

    A notebook that runs without a front end, as by papermill, gets none: its output would keep each state of the bar.

    Parameters
    ----------
    *args, **kwargs
        What ``tqdm`` takes.
    """
    kernel = _kernel()
    if kernel is None:
        return tqdm(*args, **kwargs)
    # A front end says with every cell whether somebody can answer; papermill and nbconvert say no.
    if not kernel.get_parent("shell").get("content", {}).get("allow_stdin"):
        return tqdm(*args, **kwargs | {"disable": True})
    if "JPY_SESSION_NAME" in os.environ and find_spec("ipywidgets"):  # JupyterLab's server started this kernel
        from tqdm.notebook import tqdm as widget

        return widget(*args, **kwargs)
    return tqdm(*args, file=sys.stdout, **kwargs)


def _kernel() -> Any | None:
    """Return the Jupyter kernel that this process is, None if it is none. IPython is not loaded for that."""
    ipython = sys.modules.get("IPython")
    return getattr(ipython and ipython.get_ipython(), "kernel", None)
