"""Sweep between two virtual machines, joined by virtio-net: native XDP in a driver with queues and interrupts.

The server reaches the client over ssh, as `sweep --client ssh://...` does, by another pair of interfaces than the
measured one. QEMU emulates the processors, so the rates say nothing; that every trial's packets add up does.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ids_repro.config import UserError

from . import image, machine
from .project import project_disk

GUEST = Path(__file__).with_name("sweep_guest.py")
CLIENT, SERVER = "10.78.0.1", "10.78.0.2"
# The measured link takes no offloads, or native XDP is refused; the socket between the machines has one queue.
PLAIN = ",".join(f"{name}=off" for name in ("csum", "gso", "guest_csum", "guest_tso4", "guest_tso6", "guest_ecn"))
WIRES = {"ssh": "", "measured": f",{PLAIN}"}  # eth0 and eth1
UP = """modprobe virtio_net
ip link set eth0 up; ip link set eth1 up
ip addr add 10.78.0.{n}/24 dev eth0; ip addr add 10.79.0.{n}/24 dev eth1
"""
# The key is made for this run.
CLIENT_RUN = f"""{UP.format(n=1)}mkdir -p /root/.ssh
cp key.pub /root/.ssh/authorized_keys
chmod -R go= /root /root/.ssh
dropbearkey -t ed25519 -f /tmp/host >&2
exec dropbear -F -E -m -s -r /tmp/host -p {CLIENT}:22 >&2
"""
SSH_CONFIG = """Host *
IdentityFile /tmp/key
StrictHostKeyChecking no
UserKnownHostsFile /dev/null
LogLevel ERROR
"""
# Without it an emulated client does not answer in time: Python first reads and compiles all modules.
WARM_UP = 'cd /project && .venv/bin/python -c "import ids_repro.network.ssh_peer, ids_repro.sweep.load_agent"'
SERVER_RUN = f"""echo booted
{UP.format(n=2)}(umask 077; cp key /tmp/key)
until ssh -F ssh_config root@{CLIENT} '{WARM_UP}'; do sleep 2; done
exec .venv/bin/python -X faulthandler sweep_guest.py {CLIENT}
"""


def sweep(kernel: dict, disk: Path, limit_s: float, consoles: Path) -> Iterator[str]:
    """Boot two machines with one kernel, and yield each record that the sweep between them makes, as a line.

    Raises
    ------
    UserError
        If one of the machines fails or the sweep does not end within the limit.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        image.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"])
        (folder / "ssh_config").write_text(SSH_CONFIG)
        files = [folder / "key", folder / "key.pub", folder / "ssh_config", GUEST]
        argv = {}
        for name, run in (("client", CLIENT_RUN), ("server", SERVER_RUN)):
            project = stack.enter_context(project_disk(run, files, folder / "none"))
            console = consoles / f"console-{name}.log"
            console.unlink(missing_ok=True)
            argv[name] = machine.command(kernel, disk, project, console, wires(folder, name))
        client = stack.enter_context(machine.booted(argv["client"]))
        while not all((folder / wire).exists() for wire in WIRES):
            if client.poll() is not None:
                raise UserError(f"the client's machine did not start{machine.said(consoles / 'console-client.log')}")
            time.sleep(0.1)
        yield from machine.lines(argv["server"], limit_s, consoles / "console-server.log", boot_s=limit_s)


def wires(folder: Path, name: str) -> list[str]:
    """Return the options of QEMU for the two interfaces of one end."""
    more = []
    for n, (wire, features) in enumerate(WIRES.items()):
        end = f"server={'on' if name == 'client' else 'off'},addr.type=unix,addr.path={folder / wire}"
        mac = f"52:54:00:78:0{n}:0{1 if name == 'client' else 2}"
        more += ["-netdev", f"stream,id={wire},{end}", "-device", f"virtio-net-pci,netdev={wire},mac={mac}{features}"]
    return more
