"""System calls on maps: entries come back as they were written, and hash maps are read in batches.

Pins are tested in tests/live/test_attached.py, test runs in test_program.py.
"""

import os
import platform

import numpy as np
import pytest
from loaded_programs import ipv4

from ids_repro.config import UserError
from ids_repro.kernel import bpf_syscall
from ids_repro.kernel.info import MAP_INFO, map_info
from ids_repro.kernel.program import Program
from ids_repro.kernel.variants import Variant


@pytest.mark.root
@pytest.mark.bpf
def test_an_entry_of_an_array_map_comes_back_as_it_was_written():
    fd = bpf_syscall.create_array(24)
    try:
        info = bpf_syscall.object_info(fd, MAP_INFO)
        assert (info["type"], info["value_size"], info["max_entries"]) == (bpf_syscall.MAP_TYPE_ARRAY, 24, 1)
        for value in (bytes(range(24)), np.arange(3)):
            bpf_syscall.write_element(fd, 0, value)
            assert bpf_syscall.read_element(fd, 0, np.zeros(24, np.uint8)).tobytes() == bytes(value)
        with pytest.raises(OSError, match=r"bpf\(2\): Argument list too long"):  # E2BIG: there is only entry 0
            bpf_syscall.write_element(fd, 1, bytes(24))
    finally:
        os.close(fd)


@pytest.mark.root
@pytest.mark.bpf
def test_a_hash_map_is_read_in_batches_and_emptied_if_asked():
    loaded, n = Program(Variant(table="lru")), 3000
    for port in range(1, n + 1):
        loaded.run(ipv4(sport=port))
    keys, leaves = np.zeros(n // 2, f"V{map_info(loaded.fds['flows'])['key_size']}"), np.zeros(n // 2, "V48")
    for delete, expected in ((False, n), (True, n), (False, 0)):
        found = [keys[:count].copy() for count in bpf_syscall.read_all(loaded.fds["flows"], keys, leaves, delete)]
        assert len(np.unique(np.concatenate(found))) == expected
        assert all(len(batch) <= n // 2 for batch in found)


def test_an_unknown_architecture_is_named(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "sparc64")
    with pytest.raises(UserError, match=r"the number of membarrier\(2\) on sparc64 is not known"):
        bpf_syscall.wait_for_grace_period()
