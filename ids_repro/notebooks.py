"""The notebooks: executed by papermill, each into a copy of its own; their parameters, and how they show tables."""

from __future__ import annotations

import ast
import contextlib
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import NOTEBOOKS, UserError
from .files import replaced
from .ownership import prepare_process
from .text import rounded

if TYPE_CHECKING:
    import pandas as pd

    from .report.exhibit import Exhibit

EXECUTED = NOTEBOOKS / "executed"
LINES = 60  # of a longer table, a notebook shows the first and the last lines
_INJECTED = "# Parameters\n"  # how papermill begins the cell that it puts in

if "ipykernel" in sys.modules:  # this process is a notebook's kernel: every notebook imports this module
    prepare_process()
    # At its end the kernel may answer after its sockets are closed, and log the traceback.
    logging.getLogger("tornado.general").setLevel(logging.CRITICAL)


def parameters(name: str) -> set[str]:
    """Names in the ``parameters`` cell of a notebook."""
    # Imported where they are used: every notebook imports this module, and papermill takes a second.
    import papermill

    return set(papermill.inspect_notebook(str(NOTEBOOKS / f"{name}.ipynb")))


def _assigned(source: str) -> set[str]:
    targets = [t for node in ast.parse(source).body if isinstance(node, ast.Assign) for t in node.targets]
    return {t.id for t in targets if isinstance(t, ast.Name)}


def refuse_unknown(cells: list[str]) -> None:
    """Refuse parameters that the notebook does not have; papermill itself only warns and goes on.

    Parameters
    ----------
    cells : list of str
        The cells run so far, IPython's ``In``: the parameters cell is followed by what papermill injected.

    Raises
    ------
    UserError
        Naming the first unknown parameter and those there are.
    """
    for own, injected in zip(cells, cells[1:], strict=False):
        if injected.startswith(_INJECTED):
            _refuse(_assigned(injected), _assigned(own), "this notebook")


def table(frame: pd.DataFrame | Mapping[str, Mapping], caption: str = "") -> Exhibit:
    """Return a table as notebooks show it: text to the left, numbers with four digits to the right, no row numbers.

    Parameters
    ----------
    frame : DataFrame or mapping of mappings
        An index of its own becomes the first column. Of mappings, each of the inner ones is a line.
    caption : str
        What stands above it.
    """
    import pandas as pd

    from .report.exhibit import Block, Exhibit

    frame = frame if isinstance(frame, pd.DataFrame) else pd.DataFrame.from_dict(frame, orient="index")
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.rename_axis(frame.index.name or "").reset_index()
    notes, n = "", len(frame)
    if n > LINES:
        frame = pd.concat([frame[: LINES // 2], frame[-(LINES // 2) :]])
        notes = f"The first and the last {LINES // 2} of {n:,} lines."
    frame = frame.convert_dtypes().astype(object)  # a column with a gap keeps whole numbers whole
    cells = [[_cell(value) for value in line] for line in frame.where(frame.notna(), None).to_numpy()]
    return Exhibit("", caption, frame, [Block("", pd.DataFrame(cells, columns=map(str, frame.columns)))], notes)


def _cell(value: Any) -> str:
    """Return a value as a cell's text: whole numbers in full, others with four digits, nothing for what is missing."""
    if isinstance(value, bool | str) or not isinstance(value, Real):
        return "" if value is None else str(value)
    if isinstance(value, Integral) or abs(value) >= 1000:
        return rounded(value, ",.0f")
    return rounded(value, "#.4g").rstrip(".") if value else "0"


def _refuse(given: Iterable[str], known: set[str], where: str) -> None:
    unknown = sorted(set(given) - known)
    if unknown:
        raise UserError(f"{where} has no parameter {unknown[0]!r}; it has {', '.join(sorted(known))}")


def run(name: str, values: Mapping[str, Any], out: Path | None = None) -> Path:
    """Execute one notebook into a new file.

    Parameters
    ----------
    name : str
        Its stem.
    values : mapping
        Values for its parameters.
    out : Path, optional
        The executed copy; notebooks/executed/NAME.ipynb by default.

    Raises
    ------
    UserError
        For an unknown parameter, if the copy cannot be written, or if a cell fails: with the cell's own sentence if it
        was a UserError.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    from .network.namespaces import clean_up

    _refuse(values, parameters(name), f"notebook {name}")
    out = out or EXECUTED / f"{name}.ipynb"
    source = NOTEBOOKS / f"{name}.ipynb"
    try:
        with _executed(out, source) as part:
            papermill.execute_notebook(
                str(source),
                str(part),
                dict(values),
                kernel_name="python3",
                kernel_manager_class=_kernel_manager(),
                progress_bar=False,
                extra_arguments=["--log-level=50"],
            )
    except PapermillExecutionError as error:
        known = error.ename == UserError.__name__
        what = error.evalue if known else f"{error.ename}: {error.evalue}"
        raise UserError(f"{name}: {what}; the executed copy with the whole story: {out}") from None
    except BaseException:
        clean_up()  # an interrupted driver kills its kernel, which then cannot clean up itself
        raise
    return out


def _kernel_manager() -> type:
    """Return a kernel manager that starts this Python as "python3", whatever the user has installed by that name."""
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    class ThisPython(AsyncKernelManager):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**{"kernel_spec_manager": KernelSpecManager(kernel_dirs=[])} | kwargs)

    return ThisPython


@contextlib.contextmanager
def _executed(out: Path, source: Path) -> Iterator[Path]:
    """Yield a private path for an executed notebook, which gets its name when the block ends, in whatever way."""
    with replaced(out, [source], keep=True) as file:
        part = Path(file.name)
        try:
            yield part
        finally:  # the notebook says where papermill wrote it
            file.seek(0)
            text = file.read().replace(str(part).encode(), str(out).encode())
            file.seek(0)
            file.write(text)
            file.truncate()
