"""How a command ends: errors of the user, signals and closed pipes become one sentence and an exit code."""

from __future__ import annotations

import contextlib
import io
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TextIO

from ..config import ROOT, UserError
from ..text import printable, say

# What a command leaves when it is interrupted, if the error itself has no text. The other commands leave nothing.
KEPT = {
    "reproduce": "finished trials and files stay, a rerun resumes",
    "sweep": "finished trials stay, a rerun resumes",
    "figures": "finished files stay",
    "attach": "'status' shows whether a program is attached",
    "swap": "'status' shows which model decides",
    "detach": "'status' shows whether a program is still attached",
}
# Libraries whose errors are about what they were given, or about this machine.
LIBRARIES = ("concurrent", "distributed", "jupyter_client", "nbclient", "nbformat", "pandas", "papermill", "psutil")
LIBRARIES += ("pyarrow", "pyroute2", "subprocess", "zipfile", "zlib")


def exit_code(command: str, run: Callable[[], int]) -> int:
    """Run a command, and print an error that is not ours as one sentence instead of a traceback.

    Parameters
    ----------
    command : str
        Its name, which the sentence begins with.
    run : callable
        Returns the command's own exit code.

    Returns
    -------
    int
        0 if all went well, also if whoever reads the output has enough of it; 1 if the command found a damaged capture,
        a mismatch or a trial that did not end ok; 2 after an error that the user can correct; 130 after Ctrl-C, SIGTERM
        or SIGHUP.
    """
    try:
        with _stopped_by_signals():
            try:
                code = run()
            except SystemExit:  # after --help
                _flush_output()
                raise
            _flush_output()
            return code
    except KeyboardInterrupt as error:
        _say(command, "; ".join(filter(None, ["interrupted", str(error) or KEPT.get(command)])))
        return 130
    except BaseException as error:
        if isinstance(error, BrokenPipeError) and _has_no_reader(sys.stdout):
            return 0
        if (text := sentence(error)) is None:
            raise
        _say(command, text)
        return 2
    finally:
        for stream in (sys.stdout, sys.stderr):
            _give_up_if_broken(stream)


def sentence(error: BaseException) -> str | None:
    """Return an error in words, None if it is a fault of this program, whose traceback is needed."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name and not _is_ours(error.name):
        return f"{sys.executable} has no {error.name!r}: run 'make system venv', and use .venv/bin/python"
    if library := _not_imported(error):
        said = f"{type(error).__name__}: {error}".removesuffix(": ")
        return f"the library {library!r} cannot be imported ({said}): run 'make system venv'"
    if isinstance(error, OSError):
        files = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
        where = "a pipe or connection" if isinstance(error, ConnectionError) else "an input or output"
        return ": ".join([" -> ".join(files) or where, error.strerror or str(error) or type(error).__name__])
    if isinstance(error, RuntimeError) and str(error).startswith("Symlink loop"):  # `Path.resolve` before Python 3.13
        return str(error)
    if isinstance(error, MemoryError):
        return f"this machine's memory does not suffice ({error or 'no more could be had'}); read less at a time"
    library = type(error).__module__.split(".")[0]
    if library not in LIBRARIES:
        return None
    said = getattr(error, "stderr", None) or str(error) or type(error).__name__
    lines = (said.decode(errors="replace") if isinstance(said, bytes) else said).strip().splitlines()
    return f"{library}: {' '.join(line.strip() for line in lines[-3:])}"


def _is_ours(module: str) -> bool:
    return module.split(".")[0] == __package__.split(".")[0]


def _not_imported(error: BaseException) -> str | None:
    """Return the library whose import an error has ended, None if there is none: an import can fail in any way."""
    trace = error.__traceback__
    while trace:
        name = trace.tb_frame.f_globals.get("__name__", "__main__")
        if trace.tb_frame.f_code.co_name == "<module>" and name != "__main__" and not _is_ours(name):
            return name.split(".")[0]
        trace = trace.tb_next
    if isinstance(error, SyntaxError):  # it has the library's file, but no frame of it
        return None if (error.filename or "<").startswith(("<", str(ROOT / "ids_repro"))) else error.filename
    name = error.name if isinstance(error, ImportError) else None
    return None if name is None or _is_ours(name) else name


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let the first SIGTERM or SIGHUP end the body as Ctrl-C does; later ones must not end what cleans up.

    A signal that is ignored, as under nohup, stays so.
    """
    done = False

    def stop(*_: object) -> None:
        nonlocal done
        if not done:
            done = True
            raise KeyboardInterrupt

    numbers = []
    if threading.current_thread() is threading.main_thread():
        numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _say(command: str, text: str) -> None:
    with contextlib.suppress(OSError):
        say(printable(f"ids_repro {command}: {text}"), sys.stderr)  # one line, whatever names are in it


def _flush_output() -> None:
    with contextlib.suppress(BrokenPipeError):  # whoever reads it has enough, and the command has done its work
        sys.stdout.flush()


def _has_no_reader(stream: TextIO) -> bool:
    """Return whether a stream leads to a pipe or socket whose other end is closed."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), 0)  # the kernel reports errors in any case
    except (OSError, ValueError):
        return False
    return bool(poll.poll(0))


def _give_up_if_broken(stream: TextIO) -> None:
    """Flush a stream; if that fails, let it lead nowhere, so that Python does not complain when it exits."""
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class _Stream(io.FileIO):
    """The standard output, whose errors name it, or the standard error, without which a command goes on."""

    def __init__(self, number: int):
        super().__init__(number, "w", closefd=False)

    def write(self, data: bytes) -> int:
        """Write bytes; see `io.FileIO`."""
        try:
            return super().write(data)
        except OSError as error:
            if self.fileno() == 2:
                return memoryview(data).nbytes
            error.filename = "standard output"
            raise


def prepare_streams() -> None:
    """Give this process the standard streams that it was started without, and print what they cannot encode escaped.

    Otherwise the next file that is opened takes the number of such a stream, and gets what is meant for the stream.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, closefd=False)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__"):  # not what a test reads
            raw, through = _Stream(number), stream is not None and stream.write_through
            like = {"encoding": stream.encoding, "line_buffering": stream.line_buffering} if stream else {}
            buffer = raw if through else io.BufferedWriter(raw)
            setattr(sys, name, io.TextIOWrapper(buffer, errors="backslashreplace", write_through=through, **like))
