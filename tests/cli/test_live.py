"""The options of attach and their defaults; tests/live/test_attached.py tests the other commands."""

from pathlib import Path

import pytest

from ids_repro.cli import live, make_parser
from ids_repro.kernel.attach import TC_HOOKS, XDP_FLAGS

ATTACH = ("attach", "eth0", "--model", "model.npz")


def test_attach_without_options_counts_with_the_fused_net_in_native_xdp():
    args = make_parser().parse_args(ATTACH)
    assert (args.iface, args.model) == ("eth0", Path("model.npz"))
    assert live.MODES[args.hook] == "xdp_drv"
    assert (args.classifier, args.arithmetic, args.action, args.flows) == (None, "fused", "count", 65536)
    assert (args.confirm, args.yes_drop) == (None, False)


def test_every_mode_of_the_kernel_can_be_chosen():
    assert set(live.MODES.values()) == {*XDP_FLAGS, *TC_HOOKS}


@pytest.mark.parametrize("argv", [("attach", "eth0"), ("swap", "eth0"), (*ATTACH, "--hook", "xdp"), ("detach",)])
def test_what_is_missing_or_unknown_is_an_error_of_usage(argv):
    with pytest.raises(SystemExit) as end:
        make_parser().parse_args(argv)
    assert end.value.code == 2
