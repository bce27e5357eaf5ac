"""What BCC needs is named when it is missing."""

import subprocess
import sys

import pytest

from ids_repro import config
from ids_repro.kernel.bcc import DIST_PACKAGES

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
