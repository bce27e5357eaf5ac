"""The two machines share two wires: one end of each listens, the other connects, and no offload stands in XDP's way."""

from kernels import two_machines


def test_each_wire_has_one_end_that_listens_and_one_that_connects(tmp_path):
    ends = {name: two_machines.wires(tmp_path, name) for name in ("client", "server")}
    for wire in two_machines.WIRES:
        sockets = [
            next(word for word in end if word.startswith(f"stream,id={wire},")).split(",")[2:] for end in ends.values()
        ]
        assert {words[0] for words in sockets} == {"server=on", "server=off"}
        assert sockets[0][1:] == sockets[1][1:] and sockets[0][-1].endswith(f"/{wire}")
    macs = [part for end in ends.values() for word in end for part in word.split(",") if part.startswith("mac=")]
    assert len(set(macs)) == len(macs) == 4


def test_only_the_measured_wire_is_without_offloads(tmp_path):
    devices = [word for word in two_machines.wires(tmp_path, "server") if word.startswith("virtio-net-pci")]
    assert ["guest_tso4=off" in device for device in devices] == [wire == "measured" for wire in two_machines.WIRES]
