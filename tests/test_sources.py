"""Which files some code is made of: compared with what Python really loads, and for each way to name a file."""

import json
import subprocess
import sys

import pytest

from ids_repro.config import BPF, NOTEBOOKS, ROOT
from ids_repro.sources import files_of

BOOKS = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def code_of(book) -> str:
    cells = json.loads(book.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


@pytest.mark.parametrize("book", BOOKS, ids=lambda path: path.stem)
def test_every_module_that_a_notebook_loads_is_among_its_files(book):
    imports = "\n".join(line for line in code_of(book).splitlines() if line.startswith(("import ", "from ")))
    show = "import sys; print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('ids_repro.')), sep='\\n')"
    run = subprocess.run(
        [sys.executable, "-c", f"{imports}\n{show}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(run.stdout.split())
    assert len(loaded) > 15
    assert loaded <= {str(path) for path in files_of(code_of(book))}


@pytest.fixture
def made(tmp_path):
    """Write a small package and return a function that returns the names of the files of some code."""
    files = {
        "ids_repro/__init__.py": "",
        "ids_repro/config.py": "",
        "ids_repro/alone.py": "from .room import used",
        "ids_repro/room/__init__.py": "'''A room.'''",
        "ids_repro/room/used.py": "from ..config import ROOT\ndef f():\n    from . import late",
        "ids_repro/room/late.py": "argv = ['-m', 'ids_repro.room.program']; page = 'page.html.j2'; data = 'facts.json'",
        "ids_repro/room/program.py": "import ids_repro.native.build",
        "ids_repro/room/page.html.j2": "",
        "ids_repro/room/other.py": "",
        "ids_repro/native/__init__.py": "",
        "ids_repro/native/build.py": "",
        "ids_repro/kernel/__init__.py": "",
        "ids_repro/kernel/bcc.py": "",
        "data/facts.json": "",
        "data/others.json": "",
        "bpf/flow.h": "",
        "bpf/ids.bpf.c": "",
        "bpf/user/library.c": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    root = "ids_repro/__init__.py"
    return lambda code: {str(path.relative_to(tmp_path)) for path in files_of(code, tmp_path)} - {root}


def test_imports_in_functions_programs_templates_data_and_compiled_c_count(made):
    room = {f"ids_repro/room/{name}" for name in ("__init__.py", "used.py", "late.py", "program.py", "page.html.j2")}
    native = {"ids_repro/native/__init__.py", "ids_repro/native/build.py", "bpf/flow.h", "bpf/user/library.c"}
    assert made("from ids_repro.room import used") == {*room, *native, "ids_repro/config.py", "data/facts.json"}
    assert made("from ids_repro.alone import used") == made("import ids_repro.room.used") | {"ids_repro/alone.py"}
    assert made("import ids_repro.room.other") == {"ids_repro/room/__init__.py", "ids_repro/room/other.py"}
    assert made("import numpy") == set()


def test_only_what_loads_kernel_programs_is_made_of_them(made):
    assert "bpf/ids.bpf.c" in made("from ids_repro.kernel import bcc")
    assert "bpf/ids.bpf.c" not in made("from ids_repro.native import build")
    files = {book.stem: set(files_of(code_of(book))) for book in BOOKS}
    assert {name for name, there in files.items() if BPF / "ids.bpf.c" in there} >= {
        "04_inference",
        "05_packet_processing",
    }
    assert not any(path.is_relative_to(BPF) for path in files["06_report"])
