"""A file is written whole or not at all."""

import pytest

from ids_repro.config import UserError
from ids_repro.files import replaced


def test_the_file_is_replaced_when_the_block_ends_and_nothing_else_is_touched(tmp_path):
    path = tmp_path / "new/a.npz"
    path.parent.mkdir()
    path.write_text("old")
    (tmp_path / "new/a.part").write_text("somebody else's")
    with replaced(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and (tmp_path / "new/a.part").read_text() == "somebody else's"
    assert path.stat().st_mode & 0o777 == 0o644
    assert {one.name for one in path.parent.iterdir()} == {"a.npz", "a.part"}


def test_a_block_that_fails_changes_nothing(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), replaced(tmp_path / "a") as file:
        file.write(b"half" * (1 // 0))
    assert [one.read_text() for one in tmp_path.iterdir()] == ["old"]


def test_a_path_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file/a", tmp_path):
        with pytest.raises(UserError, match=": cannot be written"), replaced(path):
            pass
