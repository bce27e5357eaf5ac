"""Table I against the running kernel: what breaks a constraint is refused, and what one writes instead is loaded."""

import re

import pytest

from ids_repro import config, records
from ids_repro.evaluate.constraints import measure
from ids_repro.kernel import constraints

REASONS = {  # which of the two, and words of its message: clang 14 and clang 19 do not say the same
    "loop": ("verifier", "too"),  # too large, or too complex
    "float": ("compiler", "built-in function"),
    "global": ("verifier", "invalid mem access"),
    "variadic": ("compiler", "VarArgs|variadic functions are not supported"),
    "thread": ("compiler", "non-static"),
    "bounds": ("verifier", "outside of the packet"),
    "instructions": ("verifier", "too large. Processed 1000001 insn"),
    "branches": ("verifier", "sequence of 8193 jumps"),
    "stack": ("compiler", "stack limit of 512 bytes|BPF stack limit is exceeded"),
}


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    """Return what the kernel said, as the records have it."""
    folder = tmp_path_factory.mktemp("results")
    measure(config.profile("smoke"), folder)
    made = records.current(records.read(folder), "constraint")
    return {record["asked"]["constraint"]: record["raw"] for record in made}


@pytest.mark.root
@pytest.mark.bpf
@pytest.mark.parametrize("name", REASONS)
def test_a_program_that_breaks_a_constraint_is_refused_with_its_reason(tried, name):
    by, words = REASONS[name]
    assert tried[name]["broken"]["refused_by"] == by
    assert re.search(words, tried[name]["broken"]["message"])


@pytest.mark.root
@pytest.mark.bpf
def test_every_alternative_is_loaded(tried):
    alternatives = {name: case["alternative"] for name, case in tried.items() if constraints.CASES[name].alternative}
    assert len(alternatives) == 8
    assert all(one["refused_by"] == "" and one["message"] == "" for one in alternatives.values()), alternatives


@pytest.mark.root
@pytest.mark.bpf
def test_the_kernel_makes_33_tail_calls(tried):
    assert tried["tail_calls"]["broken"]["tail_calls"] == 33  # include/linux/bpf.h, MAX_TAIL_CALL_CNT
