"""Run the six notebooks with papermill, in order, each into a copy of its own. Unknown parameters are refused."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import papermill
from papermill.exceptions import PapermillExecutionError
from tqdm.auto import tqdm

from .config import NOTEBOOKS, UserError
from .network.namespaces import clean_up

EXECUTED = NOTEBOOKS / "executed"
_INJECTED = "# Parameters\n"  # the first line of the cell that papermill adds


def names() -> list[str]:
    """Return the names of the notebooks' files, without ending, in their order."""
    return [path.stem for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))]


def parameters(name: str) -> set[str]:
    """Return the names that the ``parameters`` cell of a notebook sets."""
    return set(papermill.inspect_notebook(str(NOTEBOOKS / f"{name}.ipynb")))


def _assigned(source: str) -> set[str]:
    """Return the names that a cell assigns to."""
    targets = [t for node in ast.parse(source).body if isinstance(node, ast.Assign) for t in node.targets]
    return {t.id for t in targets if isinstance(t, ast.Name)}


def refuse_unknown(cells: list[str]) -> None:
    """Refuse parameters that the notebook does not have; papermill itself only warns about them.

    Parameters
    ----------
    cells : list of str
        The source of the cells that ran so far (IPython's ``In``). The parameters cell is followed by the cell that
        papermill added.

    Raises
    ------
    UserError
        If a parameter is unknown; the text names it and the notebook's own parameters.
    """
    for own, injected in zip(cells, cells[1:], strict=False):
        if injected.startswith(_INJECTED):
            _refuse(_assigned(injected), _assigned(own), "this notebook")


def _refuse(given: Iterable[str], known: set[str], where: str) -> None:
    unknown = sorted(set(given) - known)
    if unknown:
        raise UserError(f"{where} has no parameter {unknown[0]!r}; it has {', '.join(sorted(known))}")


def run(name: str, values: Mapping[str, Any], out: Path | None = None) -> Path:
    """Execute one notebook into a new file.

    Parameters
    ----------
    name : str
        One of `names`.
    values : mapping
        Values for its parameters.
    out : Path, optional
        Where to write the executed copy; notebooks/executed/NAME.ipynb by default.

    Returns
    -------
    Path
        The executed copy.

    Raises
    ------
    UserError
        If a parameter is unknown or a cell fails. If the cell raised a UserError, the text is that error's.
    """
    _refuse(values, parameters(name), f"notebook {name}")
    out = out or EXECUTED / f"{name}.ipynb"
    out.parent.mkdir(parents=True, exist_ok=True)
    source = str(NOTEBOOKS / f"{name}.ipynb")
    try:
        papermill.execute_notebook(
            source,
            str(out),
            dict(values),
            kernel_name="python3",
            progress_bar=False,
            extra_arguments=["--log-level=40"],
        )
    except PapermillExecutionError as error:
        known = error.ename == UserError.__name__
        what = error.evalue if known else f"{error.ename}: {error.evalue}"
        raise UserError(f"{name}: {what}\n(the executed copy has the traceback: {out})") from None
    except BaseException:
        clean_up()  # papermill kills the notebook's kernel when it is interrupted, so the kernel cannot do this itself
        raise
    return out


def run_all(profile: str, only: Iterable[str] = ()) -> list[Path]:
    """Execute the notebooks in order with one profile, with a progress bar.

    Parameters
    ----------
    profile : str
        Name of a profile in `config.PROFILES`.
    only : iterable of str
        Run only the notebooks whose names begin with one of these, such as "05"; all by default.

    Returns
    -------
    list of Path
        The executed copies.

    Raises
    ------
    UserError
        If no name begins with one of `only`; also as `run`.
    """
    chosen = [name for name in names() if not only or any(name.startswith(o) for o in only)]
    if not chosen:
        raise UserError(f"no notebook begins with {', '.join(only)}; there are {', '.join(names())}")
    out = []
    for name in (bar := tqdm(chosen, desc="reproduce", unit="notebook")):
        bar.set_postfix_str(name)
        out.append(run(name, {"profile": profile}))
    return out
