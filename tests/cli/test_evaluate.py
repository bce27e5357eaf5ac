"""parity looks at its capture first; what parity and accuracy find is tested in tests/evaluate."""

import pytest


@pytest.mark.root
def test_parity_looks_at_its_capture_before_it_trains(refused, tmp_path):
    assert "there is no such file" in refused("parity", "--pcap", tmp_path / "none.pcap")


def test_parity_in_user_space_does_so_too(refused, tmp_path):
    assert "there is no such file" in refused("parity", "--user-space", "--pcap", tmp_path / "none.pcap")


def test_accuracy_looks_at_its_capture_before_it_trains(refused, tmp_path):
    none = tmp_path / "none.pcap"
    assert f"{none}: there is no such file" in refused("accuracy", "--user-space", "--data", none)
