"""Claims of the paper are found by their values; tests/report/test_classification.py compares all with the paper."""

import pytest

from ids_repro.published import claim, published


def test_a_claim_is_found_by_its_kind_and_values():
    for one in published()["claims"]:
        assert claim(**one) == one
    assert claim("max_rate")["value"] == 800_000


def test_a_claim_that_the_paper_does_not_make():
    with pytest.raises(StopIteration):
        claim("max_rate", value=0)
