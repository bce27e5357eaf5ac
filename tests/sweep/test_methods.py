"""Methods are chosen by name, and a name says what its method runs."""

import pytest

from ids_repro.config import UserError
from ids_repro.report import style
from ids_repro.sweep.methods import METHODS, choose_methods


def test_methods_are_chosen_by_name_in_the_order_given():
    extra = ["xdp_drv_nn_fused_lru", "afxdp_busy_nn_fused", "dpdk_nn_fused"]
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


@pytest.mark.parametrize(
    "name", [name for name, method in METHODS.items() if method.mode in ("xdp_drv", "xdp_skb", "tc")]
)
def test_a_kernel_method_has_a_program_that_counts_and_drops(name):
    variant = METHODS[name].variant(7)
    assert variant.flags()  # raises if the parts do not go together
    assert (variant.action, variant.n_classes, variant.classifier) == ("sink", 7, METHODS[name].classifier)
    assert variant.hook == ("tc" if name.startswith("tc") else "xdp")
