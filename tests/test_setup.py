"""Versions are pinned once, files have hashes, a wheel is complete, and the Makefile installs only what is missing."""

import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import yaml
from machine_state import heed_signals, until
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ids_repro.config import ROOT

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10, where pytest brings the same thing
    import tomli as tomllib

PIN = re.compile(r"==([0-9][0-9.]*)")
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
FIXED = {"jupyterlab", "torch", "scikit-learn", "pandas", "matplotlib", "seaborn", "papermill"}
# The programs that `make system` and `make system-dpdk` call, besides apt, dpkg-query and sudo, for which
# the tests have stubs.
TOOLS = ("make", "bash", "sh", "env", "grep", "true", "false", "cat", "chmod", "touch", "dpkg")
TOOLS += ("chown", "cp", "dpkg-deb", "mkdir", "rm", "tar")


def pins(requirements: list[str], python: str) -> dict[str, str]:
    """Return the version of each name for a Python. Every requirement must be an exact pin, and none may hold twice."""
    held = [one for one in map(Requirement, requirements) if not one.marker or one.marker.evaluate(of(python))]
    found = {one.name: PIN.fullmatch(str(one.specifier))[1] for one in held}
    assert len(found) == len(held), requirements
    return found


def of(python: str, machine: str = "x86_64") -> dict[str, str]:
    """Return what markers ask of a Python on a machine with Linux."""
    here = {"python_version": python, "python_full_version": f"{python}.4", "platform_machine": machine}
    here |= {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
    return here | {"implementation_name": "cpython", "platform_python_implementation": "CPython"}


def pinned(python: str = f"3.{sys.version_info[1]}") -> dict[str, str]:
    """Return the versions that pyproject.toml sets for a Python."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return pins(project["dependencies"] + project["optional-dependencies"]["dev"], python)


@pytest.fixture(scope="module")
def pyproject() -> dict[str, str]:
    return pinned()


@pytest.fixture(scope="module")
def conda() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text())


def locked(name: str, python: str, machine: str = "x86_64") -> dict[str, Requirement]:
    """Return the requirements of a lock file that hold for a Python and a machine. Each must have a SHA-256."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    found = {}
    for line in filter(lambda line: line and not line.startswith("#"), text.splitlines()):
        requirement, *hashes = line.split(" --hash=")
        assert hashes and all(re.fullmatch("sha256:[0-9a-f]{64}", one.strip()) for one in hashes), line[:80]
        one = Requirement(requirement)
        if one.marker is None or one.marker.evaluate(of(python, machine)):
            assert one.name not in found, line[:80]
            found[one.name] = one
    return found


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_lock_has_every_version_that_is_pinned(python, machine):
    pyproject = pinned(python)
    found = {name: str(one.specifier) for name, one in locked("requirements.lock", python, machine).items()}
    torch = pyproject["torch"]
    assert {name: found.get(name, f"=={torch}") for name in pyproject} == {n: f"=={v}" for n, v in pyproject.items()}
    assert not {name for name in found if name.startswith(("nvidia-", "cuda-", "triton", "torch"))}
    assert str(locked("requirements-torch.lock", python)["torch"].specifier) == f"=={torch}+cpu"
    cuda = locked("requirements-cuda.lock", python, machine)
    assert {"triton", "nvidia-cublas", "nvidia-nccl-cu13"} <= set(cuda) and not set(cuda) & set(found)
    assert str(cuda["torch"].specifier) == f"=={torch}"


def torch_has_cuda() -> bool:
    return "cpu" not in importlib.metadata.version("torch")


def test_the_lock_has_all_that_the_locked_packages_need_and_it_is_installed():
    here = (f"3.{sys.version_info[1]}", os.uname().machine)
    found = locked("requirements-cuda.lock", *here) if torch_has_cuda() else locked("requirements-torch.lock", *here)
    found |= locked("requirements.lock", *here)
    installed = {name: importlib.metadata.distribution(name) for name in found}
    assert {n: f"=={one.version}" for n, one in installed.items()} == {
        n: str(one.specifier) for n, one in found.items()
    }
    for name, one in installed.items():
        for needed in map(Requirement, one.requires or ()):
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                assert canonicalize_name(needed.name) in found, f"{name} needs {needed}"


def test_pip_refuses_a_file_that_is_not_the_one_in_the_lock(tmp_path):
    """A set-up with a changed file ends before anything of it is installed."""
    with zipfile.ZipFile(tmp_path / "tqdm-4.70.1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tqdm.py", "changed = True\n")
        wheel.writestr("tqdm-4.70.1.dist-info/METADATA", "Metadata-Version: 2.1\nName: tqdm\nVersion: 4.70.1\n")
        wheel.writestr("tqdm-4.70.1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tqdm-4.70.1.dist-info/RECORD", "")
    lock = (ROOT / "requirements.lock").read_text()
    (tmp_path / "one.lock").write_text(re.search(r"^tqdm==.*\n( .*\n)+", lock, re.MULTILINE)[0])
    options = ("--no-index", "--find-links", tmp_path, "--no-deps", "--require-hashes", "--target", tmp_path / "into")
    command = [sys.executable, "-m", "pip", "--isolated", "install", *options, "-r", tmp_path / "one.lock"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0 and "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr
    assert not (tmp_path / "into").exists()


def test_conda_and_make_install_from_the_lock(conda):
    (pip,) = [entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict)]
    (index,) = make_variable("CPU_WHEELS")
    assert pip == [f"--extra-index-url {index}", "-r requirements.lock", "-r requirements-torch.lock"]
    recipe = (ROOT / "Makefile").read_text()
    assert recipe.count("pip install") == 1 and recipe.count("--require-hashes") == 3


def test_the_description_of_torch_is_that_of_the_pinned_one(pyproject):
    (torch,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["dependency-metadata"]
    assert (torch["name"], torch["version"]) == ("torch", pyproject["torch"])


def test_the_fixed_packages_are_pinned(pyproject):
    assert set(pyproject) >= FIXED


def test_condas_python_is_one_that_the_project_supports(conda):
    (python,) = [entry for entry in conda["dependencies"] if str(entry).startswith("python=")]
    minor = int(re.fullmatch(r"python=3\.(\d+)", python)[1])
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert int(re.fullmatch(r">=3\.(\d+)", oldest)[1]) <= minor <= int(PYTHONS[-1][2:])


def test_bcc_comes_from_the_distribution(pyproject, conda):
    assert not {name for name in pyproject if name in ("bcc", "bpfcc", "python3-bpfcc")}
    assert "python3-bpfcc" in make_variable("PACKAGES")
    assert "python3-bpfcc" in (ROOT / "environment.yml").read_text()


def test_what_is_installed_is_what_is_pinned(pyproject):
    installed = {name: importlib.metadata.version(name).split("+")[0] for name in pyproject}  # torch's: 2.13.0+cpu
    assert installed == pyproject


def test_a_wheel_has_every_file_of_the_package(project, tmp_path):
    """It has each room, because each has an `__init__.py`, and the template of the report, which is package data."""
    options = ("--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--wheel-dir", tmp_path)
    done = project.run(sys.executable, "-m", "pip", "wheel", "-q", *options, project.root)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("ids_repro/")}
    files = [path for path in (project.root / "ids_repro").rglob("*") if path.is_file()]
    assert packed == {path.relative_to(project.root).as_posix() for path in files if path.parent.name != "__pycache__"}
    assert "ids_repro/report/page.html.j2" in packed


def make_variable(name: str) -> list[str]:
    """Return the words of a variable of the Makefile, without the packages that only some goals add."""
    show = f"show:\n\t@echo $({name})\n"
    run = subprocess.run(
        ["make", "-s", "-f", "Makefile", "-f", "-", "show"],
        cwd=ROOT, input=show, capture_output=True, text=True, check=True, env=os.environ | {"MAKEFLAGS": ""},
    )  # fmt: skip
    return run.stdout.split()


class Machine:
    """A folder of stubs in place of the programs that make calls, with a log of the calls of apt-get.

    Parameters
    ----------
    folder : Path
        Where the stubs and the log are written.
    installed : tuple of str
        The packages that dpkg-query reports as installed.
    offered : tuple of str
        The packages that apt-cache knows.
    user : int
        The user id of whoever runs make.
    """

    def __init__(self, folder: Path, installed: tuple[str, ...] = (), offered: tuple[str, ...] = (), user: int = 0):
        self.log = folder / "apt.log"
        self.installed = folder / "installed"
        self.bin = folder / "bin"
        self.bin.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.stub("id", f"echo {user}")
        self.stub("uname", "echo 9.9.9-test")
        self.stub("dpkg-query", f'grep -qx -- "$3" {self.installed} && echo "install ok installed"')
        self.stub("apt-cache", f'case " {" ".join(offered)} " in *" $2 "*) ;; *) exit 100 ;; esac')
        # apt-get logs its arguments and adds them to the installed packages.
        self.stub("apt-get", f'echo "$@" >> {self.log}; for p; do echo "$p" >> {self.installed}; done')
        self.installed.write_text("\n".join(installed) + "\n")

    def stub(self, name: str, text: str) -> None:
        """Write a shell script in place of a program."""
        (self.bin / name).write_text(f"#!{shutil.which('bash')}\n{text}\n")
        (self.bin / name).chmod(0o755)

    def make(self, *arguments: str) -> subprocess.CompletedProcess:
        """Run make with only the stubs on its PATH."""
        return subprocess.run(
            ["make", f"PATH={self.bin}", "DISTRO=debian", *arguments],
            cwd=ROOT, capture_output=True, text=True, env={"PATH": str(self.bin), "HOME": os.environ.get("HOME", "/")},
        )  # fmt: skip

    def apt(self) -> list[list[str]]:
        """Return the calls of apt-get, without their options."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [[word for word in line.split() if not word.startswith(("-", "DPkg::"))] for line in lines]


@pytest.fixture(scope="module")
def distribution_headers() -> str:
    return f"linux-headers-{subprocess.check_output(['dpkg', '--print-architecture'], text=True).strip()}"


def test_a_bare_machine_gets_everything_in_one_go_and_once(tmp_path, distribution_headers):
    machine = Machine(tmp_path)
    assert machine.make("system").returncode == 0
    assert machine.apt() == [["update"], ["install", *make_variable("PACKAGES"), distribution_headers]]
    assert "--no-install-recommends" in machine.log.read_text()
    assert machine.make("system").returncode == 0
    assert len(machine.apt()) == 2


def test_only_what_is_missing_is_installed(tmp_path, distribution_headers):
    packages = make_variable("PACKAGES")
    machine = Machine(tmp_path, installed=(*packages[2:], distribution_headers))
    assert machine.make("system").returncode == 0
    assert machine.apt() == [["update"], ["install", *packages[:2]]]


def test_a_removed_package_that_left_its_settings_is_missing(tmp_path, distribution_headers):
    machine = Machine(tmp_path, installed=(distribution_headers,))
    machine.stub("dpkg-query", 'echo "deinstall ok config-files"')
    machine.make("system")
    assert machine.apt()[1] == ["install", *make_variable("PACKAGES"), distribution_headers]


def test_the_running_kernels_headers_are_preferred(tmp_path):
    machine = Machine(tmp_path, installed=tuple(make_variable("PACKAGES")), offered=("linux-headers-9.9.9-test",))
    assert machine.make("system").returncode == 0
    assert machine.apt() == [["update"], ["install", "linux-headers-9.9.9-test"]]


def test_ubuntu_has_another_name_for_its_headers(tmp_path):
    machine = Machine(tmp_path, installed=tuple(make_variable("PACKAGES")))
    assert machine.make("system", "DISTRO=ubuntu debian").returncode == 0
    assert machine.apt() == [["update"], ["install", "linux-headers-generic"]]


@pytest.mark.parametrize(("goal", "named"), [("system-lab", "LAB_PACKAGES"), ("system-kernels", "KERNEL_PACKAGES")])
def test_some_programs_come_with_the_goals_that_need_them(tmp_path, distribution_headers, goal, named):
    machine = Machine(tmp_path)
    assert machine.make("system", goal).returncode == 0
    wanted = [*make_variable("PACKAGES"), *make_variable(named), distribution_headers]
    assert machine.apt() == [["update"], ["install", *wanted]]


def test_of_libdpdk_dev_only_the_headers_and_what_they_need_is_taken_and_once(tmp_path, distribution_headers):
    machine = Machine(tmp_path, installed=(*make_variable("PACKAGES"), distribution_headers))
    needed = ["libbsd-dev", "librte-mempool-ring99", "librte-net-af-xdp99"]
    others = ["libbsd0", "librte-net-af-xdp99-doc", "librte-net-ixgbe99", "rdma-core"]
    machine.stub("apt-cache", "\n".join(f"echo '  Depends: {name}'" for name in (*others, *needed)))
    kept = {"usr/include/dpdk/rte_config.h", "usr/lib/any/librte_eal.so", "usr/lib/any/pkgconfig/libdpdk-libs.pc"}
    for name in (*kept, "usr/lib/any/librte_eal.a", "usr/share/doc/libdpdk-dev/copyright", "DEBIAN/control"):
        (tmp_path / "package" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "package" / name).touch()
    control = "Package: libdpdk-dev\nVersion: 99\nArchitecture: all\nMaintainer: nobody\nDescription: made up\n"
    (tmp_path / "package/DEBIAN/control").write_text(control)
    subprocess.run(["dpkg-deb", "-b", tmp_path / "package", tmp_path / "x.deb"], check=True, capture_output=True)
    with (machine.bin / "apt-get").open("a") as stub:
        stub.write(f'case "$*" in *download*) cp {tmp_path}/x.deb . ;; esac\n')
    for _ in range(2):
        done = machine.make("system-dpdk", f"DPDK={tmp_path}/dpdk")
        assert done.returncode == 0, done.stderr
        assert machine.apt() == [["update"], ["install", *needed], ["download", "libdpdk-dev"]]
    found = {path.relative_to(tmp_path / "dpdk") for path in (tmp_path / "dpdk").rglob("*") if path.is_file()}
    assert found == {Path(name) for name in (*kept, "packages")}


def test_who_has_dpdks_headers_from_apt_gets_nothing(tmp_path, distribution_headers):
    machine = Machine(tmp_path, installed=(*make_variable("PACKAGES"), distribution_headers, "libdpdk-dev"))
    assert machine.make("system-dpdk", f"DPDK={tmp_path}/dpdk").returncode == 0
    assert machine.apt() == [] and not (tmp_path / "dpdk").exists()


def test_a_user_with_sudo_installs_through_it(tmp_path):
    machine = Machine(tmp_path, user=1000)
    machine.stub("sudo", f'echo "sudo $@" >> {tmp_path}/sudo.log; shift; exec "$@"')
    assert machine.make("system").returncode == 0
    assert [call[0] for call in machine.apt()] == ["update", "install"]
    assert "apt-get" in (tmp_path / "sudo.log").read_text()


def test_a_user_without_sudo_is_told_what_is_missing(tmp_path, distribution_headers):
    machine = Machine(tmp_path, user=1000)
    run = machine.make("system")
    assert run.returncode != 0
    assert machine.apt() == []
    message, *rest = run.stderr.splitlines()
    assert message.endswith(" ".join(["root or sudo:", *make_variable("PACKAGES"), distribution_headers]))
    assert all(line.startswith("make: ***") for line in rest)


def test_a_user_without_sudo_needs_neither_if_nothing_is_missing(tmp_path, distribution_headers):
    machine = Machine(tmp_path, installed=(*make_variable("PACKAGES"), distribution_headers), user=1000)
    run = machine.make("system")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


# A build backend that needs nothing but Python. Its `build_editable` fails while there is a file named "broken".
BACKEND = """
import zipfile, pathlib
def build_editable(folder, settings=None, metadata=None):
    assert not pathlib.Path("broken").exists()
    name, info = "ids_repro-1-py3-none-any.whl", "ids_repro-1.dist-info"
    with zipfile.ZipFile(pathlib.Path(folder, name), "w") as wheel:
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: ids_repro\\nVersion: 1\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""


class TinyProject:
    """A folder with our Makefile, empty lock files and a project that needs nothing, so that its .venv is soon made.

    Parameters
    ----------
    folder : Path
        Where its files are written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copy(ROOT / "Makefile", folder)
        (folder / "backend.py").write_text(BACKEND)
        (folder / "pyproject.toml").write_text(
            '[project]\nname="ids_repro"\nversion="1"\n'
            '[build-system]\nrequires=[]\nbuild-backend="backend"\nbackend-path=["."]\n'
        )
        for name in make_variable("LOCKS"):
            (folder / name).touch()

    def make_venv(self) -> subprocess.CompletedProcess:
        """Run `make venv` with an index that does not answer."""
        argv = ("make", "venv", f"PYTHON={sys.executable}", "CPU_WHEELS=http://127.0.0.1:9")
        return subprocess.run(argv, cwd=self.folder, capture_output=True, text=True)


def test_a_venv_is_made_again_from_nothing_if_its_setup_failed_or_its_python_has_gone(tmp_path):
    """A whole one stays; if a lock file has changed, what is in it stays too. These steps are one test to save time."""
    tiny, broken, stamp = TinyProject(tmp_path), tmp_path / "broken", tmp_path / ".venv/.stamp"
    broken.touch()
    assert tiny.make_venv().returncode != 0 and not stamp.exists()
    (tmp_path / ".venv/half").touch()
    broken.unlink()
    assert tiny.make_venv().returncode == 0 and stamp.exists() and not (tmp_path / ".venv/half").exists()
    (tmp_path / ".venv/kept").touch()
    assert "Installing" not in tiny.make_venv().stdout
    os.utime(tmp_path / "requirements.lock", (time.time() + 1, time.time() + 1))
    broken.touch()
    assert tiny.make_venv().returncode != 0 and not stamp.exists() and (tmp_path / ".venv/kept").exists()
    broken.unlink()
    stamp.touch()
    (tmp_path / ".venv/bin/python").unlink()
    assert tiny.make_venv().returncode == 0 and stamp.exists() and not (tmp_path / ".venv/kept").exists()


CHILD = """
import signal, sys, time
got = []
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, lambda number, _: got.append(signal.Signals(number).name))
open(sys.argv[1] + "/started", "w").close()
while not got:
    time.sleep(0.01)
time.sleep(0.3)  # puts things back
open(sys.argv[1] + "/ended", "w").write(",".join(got))
sys.exit(3)
"""


def child_of_make(folder: Path, **kwargs) -> subprocess.Popen:
    """Start make in a session of its own; a recipe runs CHILD as root, and is in its loop."""
    (folder / "child.py").write_text(CHILD)
    (folder / "more.mk").write_text(f"hold:\n\t$(call as_root,{sys.executable} {folder}/child.py {folder})\n")
    argv = ["make", "-s", "-f", "Makefile", "-f", folder / "more.mk", f"WRITTEN={folder}/started", "hold"]
    process = subprocess.Popen(argv, cwd=ROOT, start_new_session=True, stderr=subprocess.PIPE, **kwargs)
    assert until((folder / "started").exists)
    return process


@pytest.mark.root
@pytest.mark.parametrize(
    ("number", "send"),
    [(signal.SIGTERM, os.kill), (signal.SIGTERM, os.killpg), (signal.SIGHUP, os.killpg), (signal.SIGINT, os.killpg)],
)
def test_a_signal_to_make_reaches_its_child_which_ends_before_make_does(tmp_path, number, send):
    """A terminal sends SIGINT and SIGHUP to the whole group; make itself passes SIGTERM on."""
    with child_of_make(tmp_path, preexec_fn=heed_signals) as process:
        send(process.pid, number)
        process.communicate(timeout=20)
    got = (tmp_path / "ended").read_text().split(",")
    assert signal.Signals(number).name in got


@pytest.mark.root
def test_when_make_is_killed_its_child_ends_in_an_orderly_way(tmp_path):
    with child_of_make(tmp_path, preexec_fn=heed_signals) as process:
        process.kill()
        assert until((tmp_path / "ended").exists, patience_s=5)
    assert "SIGTERM" in (tmp_path / "ended").read_text()


@pytest.mark.root
def test_what_make_ignores_its_child_ignores_too(tmp_path):
    """As under nohup, in the background of a script."""

    def ignore() -> None:
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    with child_of_make(tmp_path, preexec_fn=ignore) as process:
        for number in (signal.SIGINT, signal.SIGHUP):
            os.killpg(process.pid, number)
        assert not until((tmp_path / "ended").exists, patience_s=0.5)
        process.terminate()
        process.communicate(timeout=20)
    assert (tmp_path / "ended").read_text() == "SIGTERM"


@pytest.mark.root
@pytest.mark.parametrize("code", [0, 3])
def test_make_tells_how_its_child_ended(tmp_path, code):
    (tmp_path / "child.sh").write_text('read x && exit "$x$A"')
    (tmp_path / "more.mk").write_text(f"end:\n\t$(call as_root,A= sh {tmp_path}/child.sh)\n")
    argv = ["make", "-s", "-f", "Makefile", "-f", tmp_path / "more.mk", f"WRITTEN={tmp_path}/none", "end"]
    done = subprocess.run(argv, cwd=ROOT, input=f"{code}\n", capture_output=True, text=True)
    assert done.returncode == (2 if code else 0) and (f"Error {code}" in done.stderr) == bool(code)


@pytest.mark.parametrize(
    ("named", "target"),
    [
        ("PACKAGES", "system"),
        ("LAB_PACKAGES", "system-lab"),
        ("KERNEL_PACKAGES", "system-kernels"),
        ("", "system-dpdk"),
    ],
)
def test_no_package_that_we_name_brings_a_service(named, target):
    """A package with a service would start a daemon on the user's machine."""
    always_there = {"util-linux"}
    packages = make_variable(named) if named else (ROOT / "build/dpdk/packages").read_text().split()
    for package in {*packages} - always_there:
        run = subprocess.run(["dpkg-query", "-L", package], capture_output=True, text=True)
        if run.returncode:
            pytest.skip(f"{package} is not installed: run make {target}")
        services = re.findall(r"^.*/systemd/system/.+\.(?:service|socket)$|^/etc/init\.d/.+$", run.stdout, re.MULTILINE)
        assert not services, package


def test_every_target_has_a_line_of_help():
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    listed = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert sorted(line.split()[0] for line in listed.splitlines()) == sorted(targets)
    assert all(len(line.split()) > 2 for line in listed.splitlines())


@pytest.mark.root
def test_make_test_runs_every_test_once(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nprintf "%s|" "$@" >> ran\necho >> ran\n')
    python.chmod(0o755)
    done = ["-o", "system-lab", "-o", "system-dpdk", "-o", "venv"]
    subprocess.run(["make", *done, "test"], cwd=tmp_path, check=True, capture_output=True)
    ran = [line.split("|") for line in (tmp_path / "ran").read_text().splitlines()]
    chosen = [argv[argv.index("-m", 2) + 1] for argv in ran]
    for marks in ((), ("root",), ("root", "beside"), ("root", "quiet")):
        of_a_test = {mark: mark in marks for mark in ("root", "beside", "quiet")}
        assert [eval(one, of_a_test) for one in chosen].count(True) == 1


def test_a_recipe_becomes_root_in_its_last_line_only():
    recipes = re.findall(r"^[a-z-]+:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    lines = [recipe.splitlines() for recipe in recipes if "$(call as_root" in recipe]
    assert len(lines) > 5
    assert all("$(call as_root" not in line for recipe in lines for line in recipe[:-1])
