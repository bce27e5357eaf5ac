"""What is read of a machine is what its kernel and its files say."""

import os

import pytest
from pyroute2 import IPRoute

from ids_repro.config import UserError
from ids_repro.network import facts
from ids_repro.network.namespaces import network

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


@pytest.mark.parametrize(("text", "expected"), [("0\n", {0}), ("0-3,8", {0, 1, 2, 3, 8}), ("2,5-6", {2, 5, 6})])
def test_a_list_of_cpus_is_read_as_the_kernel_writes_it(text, expected):
    assert facts.cpu_set(text) == expected


def test_the_loopback_interface_has_its_address_its_route_and_no_program():
    assert facts.addresses("lo") == ["127.0.0.1"]
    assert facts.route("127.0.0.1") == "lo"
    state = facts.state("lo")
    assert state["mac"] == "00:00:00:00:00:00"
    assert state["stats"]["tx_packets"] >= 0
    assert not state["xdp"]
    assert not facts.has_clsact("lo")


def test_an_interface_without_a_node_of_its_own_may_use_every_cpu_of_this_process():
    assert facts.cpus("lo") == sorted(os.sched_getaffinity(0))


def test_a_missing_interface_is_named_with_those_that_exist():
    with pytest.raises(UserError, match=r"there is no interface 'eth9'; there are .*lo"):
        facts.state("eth9")
    with IPRoute() as ip, pytest.raises(UserError, match=r"there is no interface 'eth9' here: use one of .*lo"):
        facts.index_of(ip, "eth9")


def test_the_description_of_a_machine_says_none_where_ethtool_says_nothing():
    about = facts.describe("lo")
    assert (about["iface"], about["kernel"]) == ("lo", os.uname().release)
    assert (about["driver"], about["speed"], about["flow_control"]) == (None, None, None)


def test_the_loopback_interface_has_ethernet_frames():
    assert facts.link_of("lo") == "ethernet"  # tests/live/test_links.py has the other link types


LINKS = {
    "veth": ("ethernet", ["type", "veth"]),
    "vxlan": ("ethernet", ["type", "vxlan", "id", "3", "dstport", "4789"]),
    "vxlan of IP packets": ("bare", ["type", "vxlan", "gpe", "external", "dstport", "4790"]),
}


@pytest.mark.root
def test_a_tunnel_of_packets_is_told_from_one_of_frames():
    with network({"client": "10.98.0.1", "server": "10.98.0.2"}) as hosts:
        for n, (link, argv) in enumerate(LINKS.values()):
            hosts["server"].run(["ip", "link", "add", f"d{n}", *argv], check=True)
            assert hosts["server"].call(facts.link_of, f"d{n}") == link
