"""Build, from packages alone, a disk with Debian 12 and what the project needs, and Debian's kernels to boot it with.

The disk has Debian's packages (mmdebstrap), the Python packages of requirements.lock (pip checks their SHA-256) and the
modules of every kernel. Everything stays in one folder, which appears when it is whole, and is used again until the
files that decide what is in it change, or somebody removes it.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ids_repro.config import BUILD, ROOT, UserError
from ids_repro.files import private_folder
from ids_repro.require import require_programs, require_root
from ids_repro.text import say

MIRROR, KEYS = "http://deb.debian.org/debian", "/usr/share/keyrings/debian-archive-keyring.gpg"
SUITE, PYTHON = "bookworm", "3.11"  # of the disk: the oldest of the distributions that the README names
# Where kernels come from, the oldest first. Of several suites, the one with the newest kernel is taken.
KERNELS = (("bullseye",), ("bookworm",), ("trixie",), ("trixie-backports", "sid"))
META = "linux-image-cloud-amd64"  # Debian's kernel with the drivers of virtual machines
PACKAGES = ["python3-bpfcc", "gcc", "libc6-dev", "linux-headers-amd64", "iproute2", "ethtool", "hping3", "kmod"]
PACKAGES += ["util-linux", "procps", "initramfs-tools-core", "openssh-client", "dropbear-bin"]
# Of requirements.lock: what parity and the sweep import when the models are there already.
WHEELS = ["cloudpickle", "fastjsonschema", "joblib", "numpy", "pandas", "psutil", "pyarrow", "pyroute2"]
WHEELS += ["python-dateutil", "pytz", "scikit-learn", "scipy", "six", "threadpoolctl", "tqdm", "tzdata"]
PROGRAMS = ("qemu-system-x86_64", "mmdebstrap", "mke2fs", "dpkg-deb")
REMEDY = "make system-kernels"
DISK_BYTES = 6 << 30  # of which only what is in use takes space
MODULES = ("virtio_pci", "virtio_blk", "ext4")  # what it takes to find the disk
ALONE = ("unshare", "--mount", "--pid", "--fork", "--kill-child")  # what is mounted or started inside ends with it
INIT = Path(__file__).with_name("init.sh")


def kernels_and_disk(folder: Path = BUILD / "kernels") -> tuple[Path, list[dict]]:
    """Return the disk, and each kernel: suite, package version, release, folder; build what is not there yet.

    Raises
    ------
    UserError
        If a program is missing, or a package cannot be had.
    """
    require_root("building the disk")
    require_programs(*PROGRAMS, remedy=REMEDY)
    folder /= _key()
    if not (folder / "disk").is_dir():
        say("Building the disk and fetching Debian's kernels (some 5 minutes, once; 3 GB of disk) ...")
    fetched = [_stage(folder / suites[0], _fetch, suites) for suites in KERNELS]
    kernels = [json.loads((one / "kernel.json").read_text()) | {"folder": one} for one in fetched]
    if not (folder / "disk").is_dir():
        root = _stage(folder / "root", _install)
        _stage(folder / "disk", _make_disk, root, kernels)
        shutil.rmtree(root)
    return folder / "disk" / "disk.ext4", kernels


def _key() -> str:
    """Return a name for what is in the disk."""
    wheels = locked((ROOT / "requirements.lock").read_text(), WHEELS)
    parts = (SUITE, PYTHON, KERNELS, META, PACKAGES, MODULES, DISK_BYTES, wheels, INIT.read_text())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _stage(folder: Path, make: Callable[..., None], *args: object) -> Path:
    """Make a folder, unless it is there; it gets its name when it is whole."""
    if not folder.is_dir():
        with private_folder(folder) as part:
            make(part / "made", *args)
            (part / "made").rename(folder)
    return folder


def run(argv: Sequence[object], **kwargs: object) -> str:
    """Run a program to its end, which also ends with this process, and return what it printed.

    Raises
    ------
    UserError
        If it fails, with its last lines.
    """
    argv = ["setpriv", "--pdeathsig", "KILL", *map(str, argv)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kwargs)
    if done.returncode:
        said = "\n".join(done.stdout.strip().splitlines()[-8:])
        raise UserError(f"{' '.join(argv[3:])[:200]} failed:\n{said}")
    return done.stdout


def closure(shown: str, wanted: str = META) -> list[str]:
    """Return the packages that hold a kernel and its modules, from what `apt-cache show` says of one version of each.

    Parameters
    ----------
    shown : str
        Paragraphs with the fields Package and Depends.
    wanted : str
        The package to begin with.
    """
    depends = {}
    for paragraph in re.split(r"\n\n+", shown):
        fields = dict(re.findall(r"^(Package|Depends): (.*)$", paragraph, re.MULTILINE))
        if "Package" in fields:
            depends[fields["Package"]] = re.findall(
                r"\blinux-(?:image|modules|binary|base)-[\w.+-]+", fields.get("Depends", "")
            )
    found, open_ = [], [wanted]
    while open_:
        one = open_.pop()
        if one in depends and one not in found:
            found.append(one)
            open_ += depends[one]
    return found


def _fetch(folder: Path, suites: Sequence[str]) -> None:
    """Fetch the newest kernel of some suites, and unpack it into a folder."""
    best: dict = {}
    for suite in suites:
        apt = _apt(folder / f"apt-{suite}", suite)
        version = _field("Version", run(["apt-cache", *apt, "show", "--no-all-versions", META]))
        newer = ["dpkg", "--compare-versions", version, "gt", best.get("version", "0")]
        if subprocess.run(newer).returncode == 0:
            best = {"suite": suite, "version": version, "apt": apt}
    apt = best.pop("apt")
    pattern = r"^linux-(image|modules|binary|base)-.*cloud-amd64$"
    names = [line.split()[0] for line in run(["apt-cache", *apt, "search", "-n", pattern]).splitlines()]
    packages = closure(run(["apt-cache", *apt, "show", "--no-all-versions", META, *names]))
    say(f"  {best['suite']}: {META} {best['version']} ({len(packages)} packages)")
    run(["apt-get", *apt, "download", *packages], cwd=folder)
    for package in folder.glob("*.deb"):
        run(["dpkg-deb", "-x", package, folder / "tree"])
        package.unlink()
    release = next(path.name for path in folder.glob("tree/**/lib/modules/*"))
    for name in ("vmlinuz", "config"):  # in /boot, or beside the modules
        next(path for path in (folder / "tree").rglob(f"{name}*") if path.is_file()).rename(folder / name)
    (folder / "kernel.json").write_text(json.dumps(best | {"release": release}))


def _field(name: str, shown: str) -> str:
    return re.search(rf"^{name}: (\S+)$", shown, re.MULTILINE)[1]


def _apt(state: Path, suite: str) -> list[str]:
    """Return the options that keep apt to one suite and to a folder of its own, and read the suite's list there."""
    (state / "lists" / "partial").mkdir(parents=True)
    (state / "status").touch()
    (state / "sources.list").write_text(f"deb [signed-by={KEYS}] {MIRROR} {suite} main\n")
    places = {"Etc::sourcelist": "sources.list", "State::lists": "lists", "State::status": "status", "Cache": "cache"}
    options = [f"-oDir::{name}={state / place}" for name, place in places.items()]
    options += ["-oDir::Etc::sourceparts=/dev/null", "-oAPT::Sandbox::User=root", "-oAPT::Architecture=amd64"]
    run(["apt-get", *options, "-q", "update"])
    return options


def _install(root: Path) -> None:
    """Install the packages into a folder."""
    say(f"  {SUITE}: {len(PACKAGES)} packages and what they depend on")
    sources = f"deb [signed-by={KEYS}] {MIRROR} {SUITE} main"
    options = ["--mode=root", "--variant=minbase", "--architectures=amd64", f"--include={','.join(PACKAGES)}"]
    run([*ALONE, "mmdebstrap", *options, "--aptopt=Apt::Install-Recommends false", SUITE, root, sources])
    say(f"  Python: {len(WHEELS)} packages of requirements.lock")
    listed = root / "usr/local/wheels.txt"
    listed.write_text(locked((ROOT / "requirements.lock").read_text(), WHEELS))
    tags = [f"--platform={kind}_x86_64" for kind in ("manylinux2014", *(f"manylinux_2_{n}" for n in (17, 27, 28)))]
    options = [*tags, "--only-binary=:all:", f"--python-version={PYTHON}", "--no-deps", "--require-hashes"]
    target = root / f"usr/local/lib/python{PYTHON}/dist-packages"
    run([sys.executable, "-m", "pip", "install", "-q", *options, "--target", target, "-r", listed])
    shutil.copyfile(INIT, root / "usr/local/sbin/init.sh")
    (root / "usr/local/sbin/init.sh").chmod(0o755)
    (root / "project").mkdir()
    (root / "etc/initramfs-tools/conf.d/kernels").write_text("MODULES=list\nCOMPRESS=gzip\n")
    (root / "etc/initramfs-tools/modules").write_text("\n".join(MODULES) + "\n")


def _make_disk(folder: Path, root: Path, kernels: Sequence[dict]) -> None:
    """Make the disk of what is installed and of each kernel's modules, and an initramfs in each kernel's folder."""
    for kernel in kernels:
        release, tree = kernel["release"], kernel["folder"] / "tree"
        modules = next(tree.glob(f"**/lib/modules/{release}"))
        shutil.copytree(modules, root / "usr/lib/modules" / release, symlinks=True, dirs_exist_ok=True)
        shutil.copyfile(kernel["folder"] / "config", root / "boot" / f"config-{release}")
        for command in (["depmod", release], ["mkinitramfs", "-o", f"/boot/initrd-{release}", release]):
            run([*ALONE, "chroot", root, *command], env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
        shutil.copyfile(root / "boot" / f"initrd-{release}", kernel["folder"] / "initrd")
    folder.mkdir()
    made_disk(root, folder / "disk.ext4", DISK_BYTES)


def locked(lock: str, names: Sequence[str]) -> str:
    """Return the part of a lock file that is about some packages."""
    found = {name: re.findall(rf"^{re.escape(name)}==(?:.*\\\n)*.*\n", lock, re.MULTILINE) for name in names}
    if missing := [name for name, entries in found.items() if not entries]:
        raise UserError(f"requirements.lock has no {', '.join(missing)}: mend WHEELS in tests/kernels/image.py")
    return "".join(entry for entries in found.values() for entry in entries)


def made_disk(tree: Path, path: Path, size: int) -> None:
    """Make an ext4 file system of a folder in a sparse file of so many bytes."""
    run(["mke2fs", "-q", "-t", "ext4", "-E", "root_owner=0:0", "-d", tree, path, size >> 10])
