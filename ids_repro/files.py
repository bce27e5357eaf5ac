"""Write files whole or not at all. Every writer of the package goes through here, except those that append a line.

A file is written under a private name in its target's folder and then takes the target's place. Of two runs with one
output, the last to finish wins. While a run writes, it holds a lock on its private file. A private file without a lock
was left by a run that was killed, and the next file that is written to the folder removes it.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

from . import locks
from .config import UserError
from .ownership import give

PATIENCE_S = 60.0
PREFIX = ".part-"  # of private names; 16 hexadecimal digits follow
_LONGEST_SUFFIX = 16  # a private name keeps the suffix of its target, because some programs look at it
_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}  # others are devices
T = TypeVar("T")


@contextlib.contextmanager
def replaced(path: Path, inputs: Iterable[Path] = (), *, keep: bool = False) -> Iterator[BinaryIO]:
    """Open a file that takes the place of another when the block ends; if the block fails, nothing is changed.

    Parameters
    ----------
    path : Path
        Where the file shall be. Its folder is made if it does not exist. If it is a link, the link's target is written.
    inputs : iterable of Path
        What the content is made from; see `require_output`.
    keep : bool
        Whether the file takes its place also if the block fails, with what was written until then.

    Yields
    ------
    file object
        A private file in the target's folder. Its `name` is a path, for a program that takes one.

    Raises
    ------
    UserError
        If the file cannot be written, or as `require_output` does.
    """
    target = require_output(path, inputs)
    with _folder_of(target, path), _part_of(target, path) as file:
        part = Path(file.name)
        try:
            yield file
            file.flush()
        except BaseException:
            if keep:
                with contextlib.suppress(UserError):
                    file.flush()
                _put(part, target, path)
            raise
        _put(part, target, path)


@contextlib.contextmanager
def _folder_of(target: Path, path: Path) -> Iterator[None]:
    """Make the folder of a file, and remove what was made for it if there is nothing in it when the block ends."""
    made = [folder for folder in target.parents if not folder.exists()]
    with _writing(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # it has the file
            for folder in made:
                folder.rmdir()


@contextlib.contextmanager
def _part_of(target: Path, path: Path) -> Iterator[BinaryIO]:
    with _writing(path):
        suffix = target.suffix if len(os.fsencode(target.suffix)) <= _LONGEST_SUFFIX else ""
        file = _made(target.parent, suffix, lambda part: io.BufferedRandom(_Part(part, path)))
    try:
        yield file
    finally:
        Path(file.name).unlink(missing_ok=True)
        with contextlib.suppress(UserError):  # what could not be written before cannot be written now
            file.close()


@contextlib.contextmanager
def private_folder(beside: Path) -> Iterator[Path]:
    """Make a folder for parts of a file, in the folder of that file; it is removed when the block ends.

    Parameters
    ----------
    beside : Path
        The file.

    Raises
    ------
    UserError
        If the folder cannot be made.
    """
    target = Path(os.path.realpath(beside))
    with _folder_of(target, beside):
        with _writing(beside):
            folder = _made(target.parent, "", _Folder)
        try:
            yield folder.name
        finally:
            shutil.rmtree(folder.name, ignore_errors=True)
            folder.close()


def require_output(path: Path, inputs: Iterable[Path] = ()) -> Path:
    """Refuse a path at which no file can be put, before any work is done for it.

    Parameters
    ----------
    path : Path
        Where a file shall be.
    inputs : iterable of Path
        Files and folders that are read for it. None of these files may be the output, under whatever name.

    Returns
    -------
    Path
        The path without links.

    Raises
    ------
    UserError
        If there is something else than a file, or one of the inputs.
    """
    with _writing(path):
        try:
            there = path.stat()
        except FileNotFoundError:
            there = None  # perhaps a link to a file that is not there yet
        if there and not stat.S_ISREG(there.st_mode):
            raise UserError(f"{path}: is {_KINDS.get(stat.S_IFMT(there.st_mode), 'a device')}; give another file")
        if there and not os.access(path, os.W_OK, effective_ids=True):  # it could be replaced nevertheless
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        target = Path(os.path.realpath(path))
    for one in inputs if there else ():
        for file in (one, *(one.rglob("*") if one.is_dir() else ())):
            if _is(file, there):
                raise UserError(f"{path}: is read as an input ({file}), so it is not overwritten; give another file")
    return target


def all_bytes(path: Path) -> bytes:
    """Return what is in a file; raise UserError, as `require_file` does, if a pipe is there, say."""
    require_file(path)
    return path.read_bytes()


def require_file(path: Path, remedy: str = "") -> None:
    """Refuse a path at which there is no file to read, and say what is there instead.

    Parameters
    ----------
    path : Path
        What shall be read.
    remedy : str
        What the sentence ends with if nothing is there.

    Raises
    ------
    UserError
        If nothing is there, or something else than a file.
    """
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path}: there is no such file{remedy}") from None
    if kind != stat.S_IFREG:
        raise UserError(f"{path}: is {_KINDS.get(kind, 'a device')}; give a file")


def require_distinct(captures: Sequence[Path]) -> None:
    """Refuse a list in which a capture is named twice, also through a link.

    Parameters
    ----------
    captures : sequence of Path
        Files, or folders of packet tables; one that is not there is compared by its path.

    Raises
    ------
    UserError
        If one is named twice: its packets would count twice.
    """
    for number, one in enumerate(captures):
        for other in captures[:number]:
            if one.absolute() == other.absolute() or (one.exists() and other.exists() and one.samefile(other)):
                also = "" if one == other else f", also as {other}"
                raise UserError(f"{one}: this capture is named twice{also}; name each once")


def _is(file: Path, there: os.stat_result) -> bool:
    try:
        return os.path.samestat(file.stat(), there)
    except OSError:
        return False


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn an OSError of the body into one sentence about a file that cannot be written."""
    try:
        yield
    except OSError as error:
        about = error.filename if isinstance(error.filename, str) and PREFIX not in error.filename else None
        where = f"{about}: " if about not in (None, str(path)) else ""
        raise UserError(f"{path}: cannot be written ({where}{error.strerror or error}); give another file") from None


class _Part(io.FileIO):
    """A private file. An error of writing names the file that the user asked for."""

    def __init__(self, part: Path, asked: Path):
        super().__init__(part, "x+")
        self._asked = asked

    def write(self, data: bytes) -> int:
        """Write bytes; see `io.FileIO`."""
        with _writing(self._asked):
            return super().write(data)


class _Folder:
    """A private folder, opened so that it can be locked."""

    def __init__(self, part: Path):
        part.mkdir()
        self.name, self._fd = part, os.open(part, os.O_RDONLY | os.O_DIRECTORY)

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)


def _made(folder: Path, suffix: str, make: Callable[[Path], T]) -> T:
    """Make a file or folder with a private name and lock it. `_sweep` may remove it before it is locked: try again."""
    while True:
        made = make(folder / f"{PREFIX}{secrets.token_hex(8)}{suffix}")
        with contextlib.suppress(OSError):  # a file system without locks: nothing is removed there
            locks.take(made.fileno(), f"{folder}: another process removes what killed runs left", PATIENCE_S)
        if os.path.lexists(made.name):
            return made
        made.close()


def _sweep(folder: Path) -> None:
    """Remove the private files and folders that runs that were killed left in a folder."""
    for one in folder.glob(f"{PREFIX}{'[0-9a-f]' * 16}*"):
        with contextlib.suppress(OSError, UserError):
            fd = os.open(one, (os.O_RDONLY if one.is_dir() else os.O_RDWR) | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                locks.take(fd, f"{one}: its writer lives")
                shutil.rmtree(one) if one.is_dir() else one.unlink()
            finally:
                os.close(fd)


def _put(part: Path, target: Path, asked: Path) -> None:
    """Give a private file the owner and mode of the file at the target, if there is one, and its place."""
    with _writing(asked):
        with contextlib.suppress(FileNotFoundError):
            there = target.stat()
            with contextlib.suppress(PermissionError):
                os.chown(part, there.st_uid, there.st_gid)
            part.chmod(stat.S_IMODE(there.st_mode))
        part.replace(target)
    give(target)
