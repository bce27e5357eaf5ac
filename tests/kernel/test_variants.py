"""A variant becomes compiler flags, and the table holds every implementation that runs in the kernel."""

from dataclasses import replace

import pytest

from ids_repro.implementations import rows_in
from ids_repro.kernel.variants import HOOKS, VARIANTS, Variant, every_variant
from ids_repro.native.layouts import STRUCTS


def test_every_kernel_row_has_a_variant_that_reads_its_struct():
    for one in rows_in("kernel").values():
        assert VARIANTS[one.variant].params == one.struct


def test_flags_name_the_struct_the_action_and_the_hook():
    flags = Variant("tc", "nn", 7, "filter", arithmetic="q16").flags()
    assert {"-DIDS_CLASSIFIER=nn_q16", "-DIDS_CLASSES=7", "-DIDS_ACTION=1", "-DIDS_TC"} <= set(flags)
    assert not any(flag.startswith(("-DIDS_PROBE", "-DIDS_CHURN", "-DIDS_PAPER")) for flag in flags)
    assert "-DIDS_CHURN=2" in Variant(churn="flows").flags()
    assert "-DIDS_BARE" in Variant(link="bare").flags() and "-DIDS_BARE" not in flags


def test_the_clock_of_a_frame_is_a_flag_and_needs_a_source_address():
    assert "-DIDS_FRAME_CLOCK" in Variant(clock="frame").flags() and "-DIDS_FRAME_CLOCK" not in Variant().flags()
    for other in ({"link": "bare"}, {"probe": True}):
        with pytest.raises(ValueError, match="a frame's clock is its Ethernet source address"):
            Variant(clock="frame", **other).flags()


def test_the_papers_layout_is_only_for_the_net_in_q16():
    assert "-DIDS_PAPER" in VARIANTS["nn_q16_paper"].flags()
    with pytest.raises(ValueError, match="arithmetic q16"):
        Variant(classifier="nn", layout="paper").flags()


@pytest.mark.parametrize(
    "variant", [Variant(), Variant(classifier="dt", n_classes=7), Variant(classifier="dt", table="lru")]
)
def test_a_detector_has_a_classifier_of_two_classes_and_our_flow_table(variant):
    with pytest.raises(ValueError, match="a detector is a tree or a net"):
        replace(variant, evidence=True).flags()
    assert "-DIDS_EVIDENCE" in replace(variant, classifier="dt", n_classes=2, table="shared", evidence=True).flags()


def test_each_variant_comes_with_both_hooks_and_a_classifier_with_both_numbers_of_classes():
    found = list(every_variant())
    for name, variant in VARIANTS.items():
        assert variant.params in (None, *STRUCTS)
        classes = {2, 7} if variant.params and not variant.evidence else {2}
        assert {(v.hook, v.n_classes) for n, v in found if n == name} == {(h, c) for h in HOOKS for c in classes}
