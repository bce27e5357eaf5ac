"""The README's numbers are those of the records in data/example."""

import re

import pytest

from ids_repro import records
from ids_repro.report import readme
from ids_repro.report.exhibit import Results


@pytest.fixture(scope="module")
def results():
    return Results(records.read(readme.EXAMPLE))


def test_the_numbers_are_those_of_the_records(results):
    texts = [path.read_text() for path in readme.READMES]
    assert {found[2] for text in texts for found in readme.MARK.finditer(text)} == set(readme.PARTS)
    assert [readme.render(text, results) for text in texts] == texts, "run `make readme`"


def test_a_number_that_somebody_typed_is_replaced(results):
    text = "before\n<!-- numbers: detector -->\n99.9 %\n<!-- end -->\nafter\n"
    made = readme.render(text, results)
    assert "99.9 %\n<!--" not in made and made.startswith("before\n<!-- numbers: detector -->\n| Budget |")
    assert made.endswith("<!-- end -->\nafter\n")


def test_each_file_and_command_that_it_names_exists():
    text, root = readme.READMES[0].read_text(), readme.READMES[0].parent
    for name in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (root / name).exists(), name
    targets = re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(), re.MULTILINE)
    assert {*re.findall(r"`(?:sudo )?make ([a-z-]+)", text)} <= {*targets}
