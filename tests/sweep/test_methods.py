"""Methods are chosen by name, and a name says what its method runs."""

from dataclasses import replace

import pytest

from ids_repro.config import UserError
from ids_repro.kernel.variants import REPLAY_FLOWS
from ids_repro.report import style
from ids_repro.sweep.methods import METHODS, choose_methods


def test_methods_are_chosen_by_name_in_the_order_given():
    extra = ["xdp_drv_nn_fused_lru", "xdp_drv_dt_deep", "xdp_drv_nn_log2", "afxdp_busy_nn_fused", "dpdk_nn_fused"]
    assert choose_methods("every") == [*METHODS] == [*choose_methods("all"), *extra]
    assert choose_methods("xdp_drv_nn_fused_lru") == ["xdp_drv_nn_fused_lru"]
    assert choose_methods("tc_nn_fused, no_filter") == choose_methods(["tc_nn_fused", "no_filter"])
    assert choose_methods("tc_nn_fused, no_filter") == ["tc_nn_fused", "no_filter"]
    with pytest.raises(UserError, match="there is no method 'xdp': use no_filter, "):
        choose_methods("no_filter,xdp")


def test_every_method_has_a_name_and_a_look_in_figures():
    assert set(METHODS) == set(style.METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_a_name_says_which_arithmetic_the_net_runs(name):
    method = METHODS[name]
    assert (f"nn_{method.arithmetic}" in name) == (method.classifier == "nn")
    if method.mode in ("rawsock", "afxdp", "dpdk"):  # receivers in user space run nn_fused only
        assert (method.classifier, method.arithmetic) == ("nn", "fused")


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.in_kernel])
def test_a_kernel_method_has_a_program_that_counts_and_drops(name):
    method, n_classes = METHODS[name], 2 if METHODS[name].detector else 7
    variant, again = (method.variant(n_classes, replay=replay) for replay in (False, True))
    assert variant.flags() and again.flags()  # raises if the parts do not go together
    assert (variant.action, variant.n_classes, variant.classifier) == ("sink", n_classes, method.classifier)
    assert variant.hook == ("tc" if name.startswith("tc") else "xdp")
    assert (variant.clock, variant.evidence) == ("kernel", method.detector)
    assert again == replace(variant, clock="frame", flows=REPLAY_FLOWS)
