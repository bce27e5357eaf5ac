"""`make test-debian`: what it starts in another release ends with it, and a second run takes the release that is there.

The release is a small one here: some of this machine's programs, and stubs of make and git.
"""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from machine_state import heed_signals, until

from ids_repro.config import ROOT

pytestmark = pytest.mark.root
PROGRAMS = ("bash", "cat", "env", "ip", "ls", "mount", "rm", "setsid", "sleep", "touch", "umount")
STUB = "#!/bin/bash\n"
# Stands in for mmdebstrap on this machine; its last argument is the folder that it makes.
MAKER = f'#!{shutil.which("bash")}\necho "$@" >> {{folder}}/made\ncp -a {{folder}}/release "${{{{@: -1}}}}"\n'


def small_release(root: Path) -> None:
    """Make a folder with programs, the libraries that they need, and stubs."""
    for folder in ("bin", "dev", "etc/apt", "proc", "root", "run", "srv/ids_repro", "sys", "tmp", "usr/local/share"):
        (root / folder).mkdir(parents=True)
    (root / "etc/apt/sources.list").write_text("deb http://archive.ubuntu.com/ubuntu noble main\n")
    for program in PROGRAMS:
        path = shutil.which(program)
        shutil.copy(path, root / "bin" / program)
        text = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
        for library in re.findall(r"(/\S+)", text):
            target = root / library.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, target)
    for stub in ("git", "make", "update-ca-certificates"):
        (root / "bin" / stub).write_text(STUB)
        (root / "bin" / stub).chmod(0o755)


class Runs:
    """A checkout with the script, and a program that makes small releases.

    Parameters
    ----------
    folder : Path
        Where they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "checkout/.cache/sid"
        (folder / "checkout/.ci").mkdir(parents=True)
        shutil.copy(ROOT / ".ci/release.sh", folder / "checkout/.ci")
        (folder / "checkout/.gitignore").write_text(".cache\n")
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        for arguments in (("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", "first")):
            subprocess.run(["git", *arguments], cwd=folder / "checkout", check=True)
        small_release(folder / "release")
        (folder / "bin").mkdir()
        (folder / "bin/mmdebstrap").write_text(MAKER.format(folder=folder))
        (folder / "bin/mmdebstrap").chmod(0o755)

    def start(self, *commands: str) -> subprocess.Popen:
        """Start the script, as a terminal starts it."""
        return subprocess.Popen(
            [self.folder / "checkout/.ci/release.sh", "sid", *commands], start_new_session=True, text=True,
            env={"PATH": f"{self.folder}/bin:{os.environ['PATH']}"}, preexec_fn=heed_signals, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, *commands: str) -> tuple[int, str]:
        """Run the script; return its exit code and what it printed."""
        with self.start(*commands) as process:
            out = process.communicate(timeout=60)[0]
        return process.returncode, out

    def made(self) -> int:
        """Return how often a release was made."""
        return len((self.folder / "made").read_text().splitlines())

    def inside(self) -> list[str]:
        """Return the processes whose root is the release."""
        return [path.parent.name for path in Path("/proc").glob("[0-9]*/root") if same(path, self.root)]

    def mounts(self) -> str:
        """Return what is mounted in it, as any other process sees it."""
        return "".join(line for line in Path("/proc/mounts").read_text().splitlines() if str(self.folder) in line)


def same(one: Path, other: Path) -> bool:
    """Return whether both are one folder; a process may have ended meanwhile."""
    try:
        return one.samefile(other)
    except OSError:
        return False


@pytest.fixture
def runs(tmp_path):
    made = Runs(tmp_path)
    yield made
    assert made.inside() == [] and made.mounts() == ""


def test_each_command_is_timed_and_one_that_failed_ends_it_with_an_error(runs):
    code, out = runs.run("exit 3", "touch /tmp/second")
    assert code == 1 and re.search(r"== sid: exit 3: \d+ s, failed with exit code 3\n", out)
    assert re.search(r"== sid: touch /tmp/second: \d+ s\n", out) and (runs.root / "tmp/second").exists()
    assert runs.run("true")[0] == 0


def test_a_second_run_takes_the_release_that_is_there(runs):
    runs.run("touch /kept")
    code, out = runs.run("cat /kept /etc/apt/sources.list")
    assert code == 0 and runs.made() == 1 and "/ubuntu noble main universe\n" in out


def test_a_release_whose_making_failed_is_made_again(runs):
    (runs.folder / "release").rename(runs.folder / "away")
    code, out = runs.run("true")
    assert code != 0 and re.search(r"make the release: \d+ s, failed", out) and not runs.root.exists()
    (runs.folder / "away").rename(runs.folder / "release")
    assert runs.run("true")[0] == 0 and runs.made() == 2


def test_a_command_has_this_machines_processes_but_a_network_and_mounts_of_its_own(runs):
    code, out = runs.run(f"cat /proc/{os.getpid()}/comm; ip -br link; ls /sys/fs/bpf /run /mnt {runs.folder} || true")
    comm = Path("/proc/self/comm").read_text()
    _, listed = out.split("== sid: cat", 1)
    assert code == 0 and comm in listed and f"'{runs.folder}': No such file" in listed
    assert re.findall(r"^(\S+) +\S+ +00:00|^(\S+) +(?:UP|DOWN) ", listed, re.MULTILINE) == [("lo", "")]


def test_what_a_command_left_running_ends(runs):
    assert runs.run("setsid sleep 1000 & sleep 0.2")[0] == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_lets_the_command_put_things_back_and_then_ends_everything(runs, number, code):
    trap = "trap 'sleep 0.3; touch /put_back; exit' TERM"
    with runs.start(
        f"{trap}; setsid sleep 1000 & touch /started; while :; do sleep 0.1; done", "touch /next"
    ) as process:
        assert until((runs.root / "started").exists)
        os.killpg(process.pid, number)
        process.communicate(timeout=20)
    assert process.returncode == code and (runs.root / "put_back").exists() and not (runs.root / "next").exists()


def test_a_second_signal_ends_a_command_that_hangs(runs):
    with runs.start("trap 'touch /asked' TERM; touch /started; while :; do sleep 0.1; done") as process:
        assert until((runs.root / "started").exists)
        process.terminate()
        assert until((runs.root / "asked").exists)
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 143


def test_after_a_kill_the_next_run_ends_what_was_left(runs):
    with runs.start("setsid sleep 1000 &>/dev/null & touch /started; wait") as process:
        assert until((runs.root / "started").exists)
        process.kill()
        process.communicate(timeout=20)
    assert runs.inside() and runs.run("true")[0] == 0


def test_two_runs_of_one_release_are_not_mixed(runs):
    with runs.start("touch /started; sleep 1000") as process:
        assert until((runs.root / "started").exists)
        code, out = runs.run("true")
        process.terminate()
        process.communicate(timeout=20)
    assert code == 2 and "another run uses" in out


@pytest.mark.parametrize("suite", ["", "../x", "a b", "-x"])
def test_only_a_name_is_a_release(runs, suite):
    done = subprocess.run([ROOT / ".ci/release.sh", suite, "true"], capture_output=True, text=True)
    assert done.returncode == 2 and "is no release" in done.stderr
