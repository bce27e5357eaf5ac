"""The folder that BCC_KERNEL_SOURCE names is found or made of two halves, and BCC compiles with it."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from ids_repro.config import UserError
from ids_repro.kernel import headers

ARCH = headers.ARCHITECTURES.get(platform.machine(), platform.machine())

# BCC is a package of the distribution, so its folder goes behind the environment's own packages.
LOAD_XDP = """
import sys
sys.path.append("/usr/lib/python3/dist-packages")
from bcc import BPF
TEXT = '''
#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/ip.h>
BPF_ARRAY(hits, u64, 1);
int look(struct xdp_md *ctx) {
    void *end = (void *)(long)ctx->data_end;
    struct iphdr *ip = (void *)(long)ctx->data + sizeof(struct ethhdr);
    return (void *)(ip + 1) <= end && ip->version == 4 ? XDP_PASS : XDP_DROP;
}
'''
print("loaded", BPF(text=TEXT).load_func("look", BPF.XDP).fd > 0)
"""


def shared_half(tree: Path) -> Path:
    """Write the files that all flavours of a kernel share."""
    for name in ("include/linux/kconfig.h", "include/uapi/linux/bpf.h", f"arch/{ARCH}/include/asm/page.h"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(tree.name)
    return tree


def generated_half(tree: Path) -> Path:
    """Write the files that the build of one flavour generates."""
    for name in ("include/generated/autoconf.h", "include/config/BPF", f"arch/{ARCH}/include/generated/asm/types.h"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(tree.name)
    return tree


def find(tmp_path: Path) -> Path | None:
    return headers.kernel_source(tmp_path / "src", tmp_path / "modules", tmp_path / "build")


@pytest.mark.parametrize(
    ("shared", "generated"),
    [
        ("linux-headers-6.1.0-56-common", "linux-headers-6.1.0-56-amd64"),
        ("linux-headers-6.1.0-56-common-rt", "linux-headers-6.1.0-56-rt-arm64"),
        ("linux-headers-5.15.0-91", "linux-headers-5.15.0-91-generic"),
        ("linux-hwe-6.8-headers-6.8.0-40", "linux-headers-6.8.0-40-generic"),
    ],
)
def test_two_halves_become_one_tree(tmp_path, shared, generated):
    shared_half(tmp_path / "src" / shared)
    generated_half(tmp_path / "src" / generated)
    tree = find(tmp_path)
    assert tree == tmp_path / "build/kernel-headers" / generated.removeprefix("linux-headers-")
    assert (tree / "include/uapi/linux/bpf.h").read_text() == shared
    assert (tree / f"arch/{ARCH}/include/asm/page.h").read_text() == shared
    assert (tree / "include/generated/autoconf.h").read_text() == generated
    assert (tree / "include/config/BPF").read_text() == generated
    assert (tree / f"arch/{ARCH}/include/generated/asm/types.h").read_text() == generated


def test_the_newest_pair_wins_and_halves_of_two_releases_do_not_mix(tmp_path):
    for release in ("6.1.0-9", "6.1.0-56", "6.1.0-5"):
        shared_half(tmp_path / f"src/linux-headers-{release}-common")
    shared_half(tmp_path / "src/linux-headers-6.1.0-56-common-rt")
    for release in ("6.1.0-9-amd64", "6.1.0-56-amd64", "6.1.0-100-amd64"):  # the last has no other half
        generated_half(tmp_path / f"src/linux-headers-{release}")
    tree = find(tmp_path)
    assert tree.name == "6.1.0-56-amd64"
    assert (tree / "include/linux/kconfig.h").read_text() == "linux-headers-6.1.0-56-common"


def test_a_tree_of_another_architecture_is_not_taken(tmp_path):
    shared_half(tmp_path / "src/linux-headers-6.1.0-56-common")
    foreign = generated_half(tmp_path / "src/linux-headers-6.1.0-56-foreign")
    (foreign / f"arch/{ARCH}").rename(foreign / "arch/foreign")
    with pytest.raises(UserError, match="make system"):
        find(tmp_path)


def test_a_whole_tree_is_its_own_pair(tmp_path):
    whole = tmp_path / "src/linux-headers-6.9.3-custom"
    generated_half(shared_half(whole))
    assert (find(tmp_path) / "include/generated/autoconf.h").samefile(whole / "include/generated/autoconf.h")


def test_it_is_made_once_and_leaves_nothing_unfinished(tmp_path):
    shared_half(tmp_path / "src/linux-headers-6.1.0-56-common")
    generated_half(tmp_path / "src/linux-headers-6.1.0-56-amd64")
    first = find(tmp_path)
    made = first.stat()
    assert find(tmp_path) == first
    assert (first.stat().st_ino, first.stat().st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
    assert [path.name for path in first.parent.iterdir()] == ["6.1.0-56-amd64"]
    assert made.st_mode & 0o055 == 0o055, "a user has to be able to read what root made"


def test_a_process_that_comes_second_takes_the_tree_of_the_first(tmp_path, monkeypatch):
    shared_half(tmp_path / "src/linux-headers-6.1.0-56-common")
    generated_half(tmp_path / "src/linux-headers-6.1.0-56-amd64")
    theirs = tmp_path / "build/kernel-headers/6.1.0-56-amd64/include"
    link = headers._link

    def link_while_another_finishes(*args):
        theirs.mkdir(parents=True, exist_ok=True)
        link(*args)

    monkeypatch.setattr(headers, "_link", link_while_another_finishes)
    assert find(tmp_path) == theirs.parent
    assert [path.name for path in theirs.parent.parent.iterdir()] == ["6.1.0-56-amd64"]


def test_headers_of_the_running_kernel_need_no_tree(tmp_path):
    (tmp_path / "modules" / platform.release() / "build/include").mkdir(parents=True)
    assert find(tmp_path) is None
    assert not (tmp_path / "build").exists()


def test_a_dangling_build_link_is_no_headers(tmp_path):
    modules = tmp_path / "modules" / platform.release()
    modules.mkdir(parents=True)
    (modules / "build").symlink_to(tmp_path / "removed")
    with pytest.raises(UserError, match="linux-headers"):
        find(tmp_path)


@pytest.mark.root
@pytest.mark.bpf
def test_bcc_compiles_and_loads_with_it(tmp_path):
    tree = headers.kernel_source(build=tmp_path)
    source = {} if tree is None else {"BCC_KERNEL_SOURCE": str(tree)}
    run = subprocess.run([sys.executable, "-c", LOAD_XDP], env=os.environ | source, capture_output=True, text=True)
    assert run.stdout == "loaded True\n", run.stderr


@pytest.mark.root
@pytest.mark.bpf
def test_without_it_bcc_has_nothing(tmp_path):
    """Show that the test above depends on the tree: BCC finds no other headers on this machine."""
    env = os.environ | {"BCC_KERNEL_SOURCE": str(tmp_path)}
    assert subprocess.run([sys.executable, "-c", LOAD_XDP], env=env, capture_output=True).returncode != 0
