"""Boot a virtual machine without KVM, and read what the first program in it says."""

from __future__ import annotations

import contextlib
import select
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ids_repro.config import UserError

CPUS, RAM_MB = 2, 1536
BOOT_S, BOOTS = 900.0, 3  # a machine that says nothing for so long did not boot, and is started again
ENDED = "ended: "  # the last line, with the exit code, that init.sh writes
QEMU = ("setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64")  # it never survives this process


def command(kernel: dict, disk: Path, project: Path, console: Path, more: Sequence[str] = ()) -> list[str]:
    """Return the command line of a machine; what it writes to the disks is gone at its end.

    Parameters
    ----------
    kernel : dict
        One of `image.kernels_and_disk`.
    disk, project : Path
        The disk with the packages, and the one with the project (/project).
    console : Path
        The file that gets the kernel's messages and what programs write to standard error.
    more : sequence of str
        More options of QEMU, such as a network.
    """
    # no_timer_check: on a busy machine the emulated timer seems not to tick, and the kernel would try others for ever.
    boot = "root=/dev/vda rw init=/usr/local/sbin/init.sh console=ttyS0 panic=-1 quiet net.ifnames=0"
    # avx2=off: with AVX2 as QEMU 7.2 emulates it, NumPy's sort at times ends in a segmentation fault.
    argv = [*QEMU, "-accel", "tcg,thread=multi", "-cpu", "max,avx2=off", "-smp", str(CPUS), "-m", str(RAM_MB)]
    argv += ["-nodefaults", "-no-reboot", "-display", "none", "-device", "virtio-rng-pci"]
    for one in (disk, project):
        argv += ["-drive", f"file={one},if=virtio,format=raw,snapshot=on"]
    argv += ["-kernel", str(kernel["folder"] / "vmlinuz"), "-initrd", str(kernel["folder"] / "initrd")]
    return [
        *argv,
        "-append",
        f"{boot} mitigations=off no_timer_check",
        "-serial",
        f"file:{console}",
        "-serial",
        "stdio",
        *more,
    ]


@contextlib.contextmanager
def booted(argv: Sequence[str]) -> Iterator[subprocess.Popen]:
    """Start a machine; it ends with the block."""
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


def lines(argv: Sequence[str], limit_s: float, console: Path, boot_s: float = BOOT_S) -> Iterator[str]:
    """Start a machine and yield each line that its program prints; the machine ends with this generator.

    Raises
    ------
    UserError
        If the machine does not end within the limit, or its program fails; with the last lines of the console.
    """
    end, code = time.monotonic() + limit_s, None
    for left in reversed(range(BOOTS)):
        with booted(argv) as process:
            if left and limit_s > boot_s and not select.select([process.stdout], [], [], boot_s)[0]:
                continue
            for line in _lines(process, end):
                if line.startswith(ENDED):
                    code = line.removeprefix(ENDED)
                    break
                yield line
        break
    if code is None:
        what = f"did not end within {limit_s:,.0f} s" if time.monotonic() >= end else "ended before its program did"
        raise UserError(f"the machine {what}{said(console)}")
    if code != "0":
        raise UserError(f"the program in the machine ended with exit code {code}{said(console)}")


def _lines(process: subprocess.Popen, end: float) -> Iterator[str]:
    """Yield the lines that a machine prints until it closes its output or the time has come."""
    rest = b""
    while time.monotonic() < end:
        if not select.select([process.stdout], [], [], max(end - time.monotonic(), 0))[0]:
            return
        if not (piece := process.stdout.read1()):
            return
        *whole, rest = (rest + piece).split(b"\n")
        yield from (one.decode(errors="replace").strip("\r") for one in whole)


def said(console: Path, most: int = 12) -> str:
    """Return the last lines of a console as the end of a sentence."""
    last = console.read_text(errors="replace").splitlines()[-most:] if console.exists() else []
    return ":\n" + "\n".join(last) if last else "; its console is empty"
