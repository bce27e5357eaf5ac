"""Commands are drawn from a seed and stay inside the lab; attacks come in rounds.

Covers also: ids_repro.lab.attacks and ids_repro.lab.normal.
"""

import re
from pathlib import Path

import numpy as np
import pytest

from ids_repro.lab.activity import attack_rounds, command, hosts_for
from ids_repro.lab.attacks import ATTACKS
from ids_repro.lab.normal import NORMAL
from ids_repro.lab.record import ADDRESSES


@pytest.mark.parametrize("host", ["client", "attacker"])
def test_attack_rounds_hold_one_of_each_class(host):
    rows = [a for a in ATTACKS if host.startswith(a.hosts)]
    rounds = attack_rounds(rows, np.random.default_rng(0))
    classes = {a.label for a in rows}
    assert "Botnet" in classes
    for _ in range(20):
        assert {next(rounds).label for _ in classes} == classes


@pytest.mark.parametrize("activity", (*NORMAL, *ATTACKS), ids=lambda a: a.name)
def test_commands_are_drawn_from_the_seed_and_reach_only_the_lab(activity):
    def drawn(seed):
        rng = np.random.default_rng(seed)
        hosts = hosts_for("client1", ADDRESSES, rng)
        return command(activity, rng, Path("/lab"), user="u", password="p", words="w", **hosts)

    assert drawn(5) == drawn(5)
    named = {address for seed in range(9) for address in re.findall(r"\d+\.\d+\.\d+\.\d+", drawn(seed))}
    assert named
    assert named <= set(ADDRESSES.values()) - {ADDRESSES["client1"]}
    assert "{" not in drawn(5)
    assert "--flood" not in drawn(5)
