"""Compiling C for user space: the same sources are compiled once, any change compiles again, and failures are named."""

import subprocess

import pytest

from ids_repro.config import UserError
from ids_repro.native.build import build, dpdk_flags


@pytest.fixture
def sources(tmp_path):
    """Return a folder with a C program that prints the number in its header."""
    (tmp_path / "bpf/user").mkdir(parents=True)
    (tmp_path / "bpf/number.h").write_text("#define NUMBER 5\n")
    (tmp_path / "bpf/user/say.c").write_text(
        '#include <stdio.h>\n#include "../number.h"\nint main(void) { printf("%d", NUMBER); return 0; }\n'
    )
    return tmp_path / "bpf"


def printed(program):
    return subprocess.run([program], capture_output=True, text=True, check=True).stdout


def test_the_same_sources_are_compiled_once(sources, tmp_path):
    program = build("user/say.c", "say", sources=sources, folder=tmp_path / "build")
    assert printed(program) == "5"
    made = program.stat().st_mtime_ns
    assert build("user/say.c", "say", sources=sources, folder=tmp_path / "build") == program
    assert program.stat().st_mtime_ns == made
    assert list((tmp_path / "build").iterdir()) == [program]


def test_other_headers_and_other_flags_make_another_program(sources, tmp_path):
    programs = [build("user/say.c", "say", sources=sources, folder=tmp_path / "build")]
    programs.append(build("user/say.c", "say", ["-O0"], sources, tmp_path / "build"))
    (sources / "number.h").write_text("#define NUMBER 6\n")
    programs.append(build("user/say.c", "say", ["-O0"], sources, tmp_path / "build"))
    assert [printed(program) for program in programs] == ["5", "5", "6"]
    assert len(set(programs)) == 3


def test_what_the_compiler_says_is_in_the_error(sources, tmp_path):
    (sources / "number.h").write_text("#error no number today\n")
    with pytest.raises(UserError, match=r"could not compile bpf/user/say\.c: (?s:.)*no number today"):
        build("user/say.c", "say", sources=sources, folder=tmp_path / "build")
    assert not (tmp_path / "build").exists()


def test_without_a_compiler_the_error_says_how_to_get_one(sources, tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(UserError, match=r"no C compiler \(no-such-compiler\): run 'make system'"):
        build("user/say.c", "say", sources=sources, folder=tmp_path / "build")


def test_dpdks_flags_name_its_headers_and_the_version_of_the_libraries_that_has_them(tmp_path):
    with pytest.raises(UserError, match="DPDK is not installed: run 'make system-dpdk'"):
        dpdk_flags([tmp_path])
    folder = tmp_path / "usr/lib/any"
    (folder / "pkgconfig").mkdir(parents=True)
    (folder / "pkgconfig/libdpdk-libs.pc").write_text("prefix=/usr\nCflags: -I${includedir} -include rte_config.h\n")
    for name in ("eal", "ethdev", "mbuf", "mempool"):
        (folder / f"librte_{name}.so").symlink_to(f"librte_{name}.so.99")
    headers = [f"-isystem{tmp_path}/usr/include/dpdk", "-include", "rte_config.h"]
    libraries = [f"-l:librte_{name}.so.99" for name in ("eal", "ethdev", "mbuf", "mempool")]
    assert dpdk_flags([tmp_path / "none", tmp_path]) == [*headers, *libraries]
