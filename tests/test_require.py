"""What needs root or a program is refused in one sentence that says what to do."""

import os

import pytest

from ids_repro.config import UserError
from ids_repro.require import require_programs, require_root


def test_root_is_enough_and_others_are_told_what_needs_it():
    if os.geteuid() == 0:
        require_root("this test")
    else:
        with pytest.raises(UserError, match="this test needs root .*: run it with sudo"):
            require_root("this test")


def test_the_first_program_that_is_missing_is_named_with_its_remedy():
    require_programs("sh")
    with pytest.raises(UserError, match="'no-such-a' is not installed: run 'make system'"):
        require_programs("sh", "no-such-a", "no-such-b")
    with pytest.raises(UserError, match="run 'make system-lab'"):
        require_programs("no-such-a", remedy="make system-lab")
