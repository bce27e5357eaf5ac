"""What BCC needs is named when it is missing."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ids_repro import config
from ids_repro.kernel.bcc import DIST_PACKAGES
from ids_repro.kernel.program import Program
from ids_repro.kernel.variants import Variant

pytestmark = pytest.mark.root


WITHOUT = {
    "headers": (("/usr/src", "/lib/modules"), "BCC needs kernel headers and none are installed: run 'make system'"),
    "bcc": ((DIST_PACKAGES,), "BCC is not installed (No module named 'bcc'): run 'make system'"),
}


@pytest.mark.parametrize("what", WITHOUT)
def test_what_bcc_needs_and_is_missing_is_named_with_its_remedy(what):
    folders, message = WITHOUT[what]
    # A mount namespace in which those folders are empty; the machine itself keeps them.
    hide = "".join(f"[ ! -d {folder} ] || mount -t tmpfs none {folder}; " for folder in folders)
    load = f"{sys.executable} -c 'from ids_repro.kernel.program import *; Program(Variant())'"
    done = subprocess.run(["unshare", "-m", "sh", "-c", hide + load], cwd=config.ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]
    assert "ids_repro.config.UserError" in done.stderr


@pytest.mark.bpf
def test_while_it_compiles_other_threads_stay_in_their_folder():
    seen = set()
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(Program, Variant())
        while not made.done():
            seen.add(Path.cwd())
        made.result().close()
    assert seen == {Path.cwd()}


BROKEN = {
    "for another Python": ("print 'hello'", "BCC cannot be imported (SyntaxError: "),
    "without its C library": (
        "import ctypes; ctypes.CDLL('libbcc.so.none')",
        "BCC cannot be imported (OSError: libbcc.so.none",
    ),
    "of another version": (
        "from bcc.libbcc import lib",
        "BCC cannot be imported (ModuleNotFoundError: No module named 'bcc.lib",
    ),
    "that ends the program": ("raise RuntimeError('no kernel')", "BCC cannot be imported (RuntimeError: no kernel)"),
    "that exits": ("raise SystemExit(3)", "BCC cannot be imported (SystemExit: 3)"),
    "with an error of its own kind": ("raise BaseException('no')", "BCC cannot be imported (BaseException: no)"),
    "of that name from PyPI": ("", "is another package than BCC"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_bcc_that_fails_in_any_way_is_one_sentence_with_its_remedy(tmp_path, what):
    text, message = BROKEN[what]
    (tmp_path / "bcc").mkdir()
    (tmp_path / "bcc/__init__.py").write_text(text + "\n")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from ids_repro.config import UserError
from ids_repro.kernel.bcc import libbcc
try:
    libbcc()
except UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=config.ROOT, capture_output=True, text=True)
    assert message in done.stdout and "run 'make system venv'" in done.stdout
    assert done.stderr == ""
