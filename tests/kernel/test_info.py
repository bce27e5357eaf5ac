"""Sizes and run times are those that the kernel and the compiler report."""

import pytest
from loaded_programs import UDP

from ids_repro.kernel.info import map_info, prog_info, stack_bytes, timed_runs
from ids_repro.kernel.program import Program
from ids_repro.kernel.variants import VARIANTS, Variant
from ids_repro.native.layouts import WAYS


@pytest.mark.root
@pytest.mark.bpf
def test_sizes_are_the_compilers_and_the_kernels():
    with Program(VARIANTS["flow"]) as loaded:
        size, info = loaded.size(), prog_info(loaded.fd)
        assert size["xlated_bytes"] == info["xlated_bytes"] and size["xlated_bytes"] % 8 == 0
        assert 0 < size["stack_bytes"] <= 512 and size["stack_bytes"] % 8 == 0
        assert size["verified_insns"] > size["xlated_bytes"] // 16


@pytest.mark.root
@pytest.mark.bpf
def test_a_map_has_the_entries_that_the_variant_asks_for():
    with Program(Variant(flows=1 << 12)) as loaded:
        assert map_info(loaded.fds["buckets"])["max_entries"] == (1 << 12) // WAYS


@pytest.mark.root
@pytest.mark.bpf
def test_runs_are_timed_inside_the_block():
    with Program(Variant()) as loaded, timed_runs():
        loaded.time(UDP, 1000)
        info = prog_info(loaded.fd)
    assert info["run_cnt"] >= 1000 and info["run_time_ns"] > 0


def test_the_stack_is_the_lowest_address_made_from_the_frame_pointer():
    def instruction(code: int, target: int, source: int, offset: int = 0, imm: int = 0) -> bytes:
        low, high = (offset & 0xFFFF).to_bytes(2, "little"), (imm & 0xFFFFFFFF).to_bytes(4, "little")
        return bytes([code, source << 4 | target]) + low + high

    store, load = instruction(0x7B, 10, 1, -16), instruction(0x79, 1, 10, -24)
    address = instruction(0xBF, 2, 10) + instruction(0x07, 2, 0, 0, -40)
    other = instruction(0x7B, 3, 1, -200) + instruction(0x07, 2, 0, 0, -300)
    assert stack_bytes(store + load) == 24
    assert stack_bytes(store + load + address + other) == 40
