"""Tasks run in other processes and give their results in order; tests/data/test_extract_many.py has a Dask cluster."""

import math

import pytest

from ids_repro import parallel


def test_results_come_in_the_order_of_the_items():
    assert parallel.run(math.factorial, [20, 3, 0]) == [math.factorial(20), 6, 1]


def test_what_a_call_raises_is_raised_here():
    with pytest.raises(ValueError, match="negative"):
        parallel.run(math.factorial, [1, -1])
