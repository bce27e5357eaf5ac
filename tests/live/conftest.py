"""Two hosts, models by name, and commands on one of the hosts, for tests of a program that stays on an interface."""

import contextlib
import socket
from dataclasses import replace

import numpy as np
import pytest
from machine_state import attachments
from made_models import port_tree

from ids_repro.cli import make_parser, run_command
from ids_repro.cli.ending import exit_code
from ids_repro.config import PROFILES
from ids_repro.live import attached, pins
from ids_repro.models import pipeline
from ids_repro.models.model import Seen
from ids_repro.models.model_file import save_model
from ids_repro.models.shape import Shape
from ids_repro.native.layouts import TREE_LEAF
from ids_repro.network.namespaces import network

HOSTS = {"client": "10.98.0.1", "server": "10.98.0.2"}


@pytest.fixture(scope="module")
def files(models, detector, flows, tmp_path_factory):
    """Models by name: the tree of "binary" and "multi" blocks a port, that of "harmless" none; "own": other shape."""
    folder = tmp_path_factory.mktemp("models")
    harmless = replace(port_tree(2), low=np.where(port_tree(2).feature == TREE_LEAF, 0, port_tree(2).low))
    arriving = replace(detector, about=detector.about | {"arriving_at": HOSTS["server"]})
    short = replace(PROFILES["smoke"], epochs=1, min_steps=100)
    own = pipeline.train_model(flows, "binary", 0, short, shape=Shape((24, 8), 12, ("sport",)))
    made = {
        "own": pipeline.quantize_model(own, flows),
        "binary": replace(models["binary"], twins=models["binary"].twins | {"dt": port_tree(2)}),
        "multi": replace(models["multi"], twins=models["multi"].twins | {"dt": port_tree(7)}),
        "harmless": replace(models["binary"], twins=models["binary"].twins | {"dt": harmless}),
        "detector": replace(arriving, twins=detector.twins | {"dt": port_tree(2, flag_at=100)}),
        "sleeping": replace(arriving, twins=detector.twins | {"dt": port_tree(2, flag_at=101)}),
        "false alarms": replace(detector, detector=dict.fromkeys(detector.detector, Seen(0.3, 0.074, 0.9))),
    }
    return {name: save_model(model, folder / name) for name, model in made.items()}


@pytest.fixture(scope="module")
def hosts():
    """Two hosts joined by a veth pair."""
    with network(HOSTS) as made:
        yield made


@pytest.fixture
def server(hosts):
    """The host with the program; whatever a test does, afterwards nothing is attached or pinned."""
    host = hosts["server"]
    yield host
    left = attachments(host), pins.all_folders()
    for iface in host.call(attached.attached):
        host.call(attached.detach, iface)  # for the tests that follow
    assert left == ([], [])
    assert not pins.FOLDER.exists()


@pytest.fixture
def ids(server, capsys):
    """Run a command on the server, in this process; return its exit code and what it said. A status looks briefly."""

    def run(*argv: object) -> tuple[int, str]:
        def parse_and_run() -> int:
            args = make_parser().parse_args([str(arg) for arg in argv])
            args.look_s = 0.05
            return server.call(run_command, args)

        code = exit_code(str(argv[0]), parse_and_run)
        out, err = capsys.readouterr()
        assert (code == 0) == (err == ""), err
        assert code == 0 or err.count("\n") == 1
        return code, out + err

    return run


@pytest.fixture
def send(hosts):
    """Send datagrams from the client to a port of the server."""
    with hosts["client"].call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:

        def run(port: int, n: int = 10) -> None:
            for _ in range(n):
                with contextlib.suppress(ConnectionRefusedError):
                    sender.sendto(b"payload", (hosts["server"].address, port))

        yield run
