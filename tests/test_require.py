"""What needs root or a program is refused in one sentence that says what to do."""

import os
import subprocess

import pytest

from ids_repro.config import UserError
from ids_repro.require import CAPABILITIES, capable, require_capabilities, require_programs, require_root


def test_root_is_enough_and_others_are_told_what_needs_it():
    if os.geteuid() == 0:
        require_root("this test")
    else:
        with pytest.raises(UserError, match="this test needs root .*: run it with sudo"):
            require_root("this test")


def test_the_capabilities_of_this_process_are_those_that_the_kernel_says():
    held = subprocess.run(["sh", "-c", "grep CapEff /proc/self/status"], capture_output=True, text=True).stdout
    mask = int(held.split()[1], 16)
    admin = mask >> CAPABILITIES["CAP_SYS_ADMIN"][0] & 1
    for name, (number, _) in CAPABILITIES.items():
        assert capable(name) == bool(mask >> number & 1 or (admin and name in ("CAP_BPF", "CAP_PERFMON")))
    missing = [name for name in CAPABILITIES if not capable(name)]  # tests/live/test_rights.py takes some away
    if missing:
        with pytest.raises(UserError, match=rf"this test needs {missing[0]} \(.*run it with sudo, or give it"):
            require_capabilities("this test", *CAPABILITIES)
    else:
        require_capabilities("this test", *CAPABILITIES)


def test_the_first_program_that_is_missing_is_named_with_its_remedy():
    require_programs("sh")
    with pytest.raises(UserError, match="'no-such-a' is not installed: run 'make system'"):
        require_programs("sh", "no-such-a", "no-such-b")
    with pytest.raises(UserError, match="run 'make system-lab'"):
        require_programs("no-such-a", remedy="make system-lab")
