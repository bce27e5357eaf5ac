"""Checksums of the SYNs that the generators send. tests/sweep/test_generators.py compares the SYNs with hping3's."""

from ids_repro.sweep import uplink


def test_checksums_fold_every_carry():
    assert uplink._fold(uplink._sum(b"\xff\xff" * 40_000)) == 0xFFFF
