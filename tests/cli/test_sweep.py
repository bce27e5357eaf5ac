"""sweep reads the options of a second machine, and refuses a wrong name before it trains a model."""

from pathlib import Path

import pytest

from ids_repro.cli import make_parser
from ids_repro.cli.sweep import two_machines
from ids_repro.config import UserError
from ids_repro.sweep.link_ssh import TwoMachines

CLIENT = ("--client", "ssh://root@there", "--client-iface", "eth1", "--server-iface", "eth2")


def over(*options: str) -> TwoMachines | None:
    """What these options say of a second machine."""
    return two_machines(make_parser().parse_args(["sweep", *options]))


def test_without_options_there_is_no_second_machine():
    assert over() is None


def test_options_that_are_not_given_keep_the_defaults_of_the_link():
    assert over(*CLIENT) == TwoMachines("ssh://root@there", "eth1", "eth2")
    more = {"client_dir": "/there", "target": "10.0.0.3", "ssh_config": Path("config")}
    options = [word for name, value in more.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert over(*CLIENT, *options) == TwoMachines("ssh://root@there", "eth1", "eth2", **more)


@pytest.mark.parametrize("left_out", range(0, len(CLIENT), 2))
def test_an_option_that_the_link_needs_is_named(left_out):
    with pytest.raises(UserError, match=f"a sweep between two machines needs {CLIENT[left_out]} too"):
        over(*CLIENT[:left_out], *CLIENT[left_out + 2 :])


@pytest.mark.root
def test_names_that_do_not_exist(refused):
    assert "there is no profile 'huge': use one of smoke, evening, paper" in refused("sweep", "--profile", "huge")
    assert "there is no method 'magic': use no_filter, " in refused("sweep", "--methods", "no_filter,magic")


@pytest.mark.root
def test_a_capture_that_would_not_be_replayed_or_is_not_there(refused, tmp_path):
    idle = "--capture does nothing without --flows both or replay: leave it out, or add that"
    assert idle in refused("sweep", "--flows", "one", "--capture", tmp_path / "mine.pcap")
    assert "mine.pcap" in refused("sweep", "--flows", "replay", "--capture", tmp_path / "mine.pcap")
