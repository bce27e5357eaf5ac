"""Which files of this checkout a piece of Python is made of: the modules that it imports, and what these name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from .config import ROOT

PACKAGE = Path(__file__).parent.name
# Modules that compile C, and which files of bpf/ that is.
COMPILED = {f"{PACKAGE}.native.build": ("*.h", "user/*.[ch]"), f"{PACKAGE}.kernel.bcc": ("*.[ch]",)}
_FILE_NAME = re.compile(r"\w[\w.-]*\.\w+")


def files_of(code: str, root: Path = ROOT) -> list[Path]:
    """Return the files that some Python code runs or reads because it imports modules of this package.

    Parameters
    ----------
    code : str
        Python, such as the cells of a notebook. An import inside a function counts like any other.
    root : Path
        The checkout.

    Returns
    -------
    list of Path
        The modules that it imports, those that these import, and so on, with modules that run as programs of their own
        ("ids_repro.sweep.load_agent"). Also files that a module names and that stand beside it or in data/, such as a
        template, and the files of bpf/ if a module compiles them.
    """
    known = _modules(root)
    todo, modules, files = list(_named(ast.parse(code), "", known)), set(), set()
    while todo:
        name = todo.pop()
        if name in modules:
            continue
        modules.add(name)
        tree, path = _parsed(known[name]), known[name]
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        todo += [*_named(tree, package, known), *filter(None, [name.rpartition(".")[0]])]
        files |= {path, *_files_named(tree, (path.parent, root / "data"))}
        files |= {file for pattern in COMPILED.get(name, ()) for file in (root / "bpf").glob(pattern)}
    return sorted(files)


def _modules(root: Path) -> dict[str, Path]:
    """Return the file of every module by its dotted name; a folder's own name stands for its `__init__.py`."""
    files = {path.relative_to(root).with_suffix("").parts: path for path in (root / PACKAGE).rglob("*.py")}
    return {".".join(parts[:-1] if parts[-1] == "__init__" else parts): path for parts, path in files.items()}


@cache
def _parsed(path: Path) -> ast.AST:
    return ast.parse(path.read_text(), str(path))


def _named(tree: ast.AST, package: str, known: dict[str, Path]) -> set[str]:
    """Return the modules that a syntax tree imports or has as a text; `package` is where its relative imports begin."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            source = ".".join([*above, *filter(None, [node.module])])
            found |= {source, *(f"{source}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return found & set(known)


def _files_named(tree: ast.AST, folders: tuple[Path, ...]) -> Iterator[Path]:
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and len(text) < 100 and _FILE_NAME.fullmatch(text):
            yield from (folder / text for folder in folders if (folder / text).is_file())
