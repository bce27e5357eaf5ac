"""What the kernel's verifier says of a program that it refuses becomes a sentence that names the limit.

Table I's constraints, which `ids_repro.kernel.verifier` loads too, are in tests/evaluate/test_constraints.py.
"""

from dataclasses import replace

import pytest

from ids_repro.kernel import verifier
from ids_repro.kernel.bcc import import_bcc
from ids_repro.kernel.program import refusal
from ids_repro.kernel.variants import VARIANTS, Variant


@pytest.mark.parametrize(
    ("reason", "limit"),
    [
        ("BPF program is too large. Processed 1000001 insn", "instructions"),
        ("The sequence of 8193 jumps is too complex.", "branches"),
        ("combined stack size of 2 calls is 544. Too large", "stack"),
        ("invalid stack type R2 off=-520 access_size=8", "stack"),
        ("jump out of range from insn 17 to -16727", "instructions"),
        ("R1 type=scalar expected=map_ptr", ""),
        ("", ""),
    ],
)
def test_words_of_the_verifier_name_a_limit(reason, limit):
    assert verifier.limit(reason).partition(":")[0] == limit


def test_a_net_that_is_too_large_is_refused_with_the_limit_that_it_breaks():
    """The words are those of kernel 6.18 for this net. It takes minutes to compile, so it is not built here."""
    variant = replace(VARIANTS["nn_q16_packed"], hidden=(512, 512, 512))
    said = refusal(variant, "ids_main: jump out of range from insn 17 to -16727")
    assert said.startswith("the kernel refuses bpf/ids.bpf.c as Variant(hook='xdp', classifier='nn'")
    assert "hidden=(512, 512, 512)), because it breaks a limit: instructions: a jump reaches at most 32,767" in said
    assert said.endswith(
        "(ids_main: jump out of range from insn 17 to -16727); train with smaller or fewer hidden layers"
    )
    paper = replace(variant, layout="paper", arithmetic="q16")
    assert refusal(paper, "The sequence of 8193 jumps is too complex.").endswith('or take the layout "packed"')


def test_a_refusal_for_another_reason_asks_for_what_is_missing():
    assert refusal(Variant(), "ids_main: Operation not permitted").endswith(
        "Does this kernel allow BPF (CONFIG_BPF_SYSCALL, no lockdown)?"
    )


@pytest.mark.root
@pytest.mark.bpf
def test_the_kernels_own_words_come_with_a_refusal():
    program = import_bcc().BPF(text=b"int f(struct xdp_md *ctx) { return *(int *)((long)ctx->data_end); }")
    fd, reason = verifier.load(import_bcc(), program.module, b"f", import_bcc().BPF.XDP)
    assert fd < 0 and "pkt_end" in reason
    program.cleanup()
