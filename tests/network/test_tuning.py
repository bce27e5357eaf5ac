"""Settings are written down before they change, go back in the end, and only to the interface that they were of."""

import json
import warnings

import pytest

from ids_repro.config import UserError
from ids_repro.network import facts, tuning
from ids_repro.network.namespaces import network

pytestmark = pytest.mark.usefixtures("nothing_left")
TWO = {"one": "10.99.0.1", "two": "10.99.0.2"}
GRO = ("offload", "generic-receive-offload")
INTERRUPTS = """\
            CPU0       CPU1
  38:          0       2590  PCI-MSIX-0000:00:03.0   1-edge      virtio2-input.0
  41:       2349          0  PCI-MSIX-0000:00:04.0   1-edge      virtio21-rx
  64:       2349          0  PCI-MSI 1572864-edge      ens1f0-TxRx-0
  65:       2349          0  PCI-MSI 1572865-edge      i40e-ens1f0-TxRx-1
  66:       2349          0  PCI-MSI 1572866-edge      ens1f01
 130:          1          0  IR-PCI-MSIX-0000:3b:00.0    1-edge      mlx5_comp0@pci:0000:3b:00.0
 LOC:      28235      68651   Local timer interrupts
"""


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host whose state file is in a folder of its own."""
    monkeypatch.setattr(tuning, "RUN", tmp_path)
    # A test's threads see this process's /sys, so eth0 of the namespace has to be looked at by netlink alone.
    with network(TWO) as hosts:
        net = tmp_path / "net/eth0"
        net.mkdir(parents=True)
        (net / "address").write_text(hosts["one"].call(facts.state, "eth0")["mac"])
        monkeypatch.setattr(tuning, "NET", tmp_path / "net")
        yield hosts["one"]


def gro(host) -> str:
    """Whether the host's interface has GRO on."""
    return host.call(tuning._offload, "eth0", GRO[1])


def written(folder) -> list[dict]:
    """Lines of the state file."""
    return [json.loads(line) for path in folder.glob("ids_repro.*.jsonl") for line in path.read_text().splitlines()]


def test_a_setting_is_in_the_file_before_it_changes_and_is_put_back_at_the_end(host, tmp_path):
    host.call(tuning.begin, "eth0")
    host.call(tuning.change, "eth0", *GRO, "on")
    host.call(tuning.change, "eth0", *GRO, "off")
    host.call(tuning.change, "eth0", *GRO, "on")
    assert [line["old"] for line in written(tmp_path) if line["kind"] == "offload"] == ["off"]
    assert gro(host) == "on"
    host.call(tuning.put_back, "eth0")
    assert (gro(host), written(tmp_path)) == ("off", [])


def test_what_cannot_be_changed_is_said(host):
    host.call(tuning.begin, "eth0")
    with pytest.raises(UserError, match="eth0 does not turn large-receive-offload on"):
        host.call(tuning.change, "eth0", "offload", "large-receive-offload", "on")
    host.call(tuning.put_back, "eth0")


@pytest.mark.parametrize("broken", ["", '{"iface": "et'])
def test_what_a_killed_run_left_is_put_back_whatever_its_last_line_is(host, tmp_path, broken):
    host.call(tuning.begin, "eth0")
    host.call(tuning.change, "eth0", *GRO, "on")
    tuning._open.pop("eth0").file.close()  # as when its process is killed
    (path,) = tmp_path.glob("ids_repro.*.jsonl")
    path.write_text(path.read_text() + broken)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        host.call(tuning.put_back_leftovers)
    assert (gro(host), written(tmp_path)) == ("off", [])


def test_another_interface_of_the_same_name_is_left_alone(host, tmp_path):
    host.call(tuning.begin, "eth0")
    host.call(tuning.change, "eth0", *GRO, "on")
    tuning._open.pop("eth0").file.close()
    host.run(["ip", "link", "set", "eth0", "address", "02:00:00:00:00:01"], check=True)
    host.call(tuning.put_back_leftovers)
    assert (gro(host), written(tmp_path)) == ("on", [])


def test_an_interface_with_an_xdp_program_is_refused(host, monkeypatch):
    found = host.call(facts.state, "eth0")
    monkeypatch.setattr(tuning, "state", lambda iface: found | {"xdp": 1})
    with pytest.raises(UserError, match="eth0 has an XDP program already: 'ip link set dev eth0 xdp off'"):
        host.call(tuning.begin, "eth0")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"eth0", "virtio2"}, [38]),
        ({"ens1f0", "0000:18:00.0"}, [64, 65]),
        ({"ens3", "0000:3b:00.0"}, [130]),
        ({"eth1"}, []),
    ],
)
def test_interrupts_are_found_by_the_name_of_the_interface_or_of_its_device(names, expected):
    assert facts.interrupts(INTERRUPTS, names) == expected
