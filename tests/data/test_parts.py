"""A run over several captures that is stopped leaves no process, keeps what is finished, and goes on from there."""

import gzip
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from distributed import LocalCluster

from ids_repro import config
from ids_repro.cli import main
from ids_repro.config import UserError
from ids_repro.data import extract_many, parts

SCHEDULE = str(config.SAMPLE_LABELS)


@pytest.fixture
def captures(tmp_path):
    """Return the sample under a name of its own, and two captures that take many seconds."""
    first, data = tmp_path / "monday.pcap", gzip.decompress(config.SAMPLE.read_bytes())
    first.write_bytes(data)
    end = 24 + 16 + int.from_bytes(data[32:36], "little")
    packets = gzip.compress(data[24:end] * 300_000)
    long = [tmp_path / f"{day}.pcap.gz" for day in ("tuesday", "wednesday")]
    for path in long:
        path.write_bytes(gzip.compress(data[:24]) + packets * 100)
    return [first, *long]


def processes(group: int) -> list[int]:
    """Return the living processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        found += [int(stat.parent.name)] if int(session) == group and state != "Z" else []
    return found


def until(condition, patience_s: float = 60) -> bool:
    """Wait for a condition; return whether it came."""
    end = time.monotonic() + patience_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(condition())


def finished(folder: Path) -> list[Path]:
    return [path for path in folder.glob("x.parquet.parts-*/*.parquet") if ".part" not in path.name]


def command(captures: list[Path], out: Path, *more: str) -> list[str]:
    return list(map(str, ["extract", *captures, "--labels", SCHEDULE, "--out", out, *more]))


def start(captures: list[Path], out: Path, *more: str) -> subprocess.Popen:
    """Start the command in a session of its own, where Ctrl-C has its usual effect, and wait for its first file."""
    before = len(list(out.parent.iterdir()))
    process = subprocess.Popen(
        [sys.executable, "-m", "ids_repro", *command(captures, out, *more)],
        cwd=config.ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    if len(captures) > 1:
        assert until(lambda: finished(out.parent)), "no capture was finished"
    else:
        assert until(lambda: len(list(out.parent.iterdir())) > before), "nothing was written"
    return process


def shortened(captures: list[Path]) -> None:
    """Make the long captures short, and the first one unreadable without a trace in its size and its time."""
    for path in captures[1:]:
        path.write_bytes(gzip.compress(captures[0].read_bytes(), mtime=0))
    facts = captures[0].stat()
    captures[0].write_bytes(bytes(facts.st_size))
    os.utime(captures[0], ns=(facts.st_atime_ns, facts.st_mtime_ns))


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Return the bytes that a run over three times the sample makes without an interruption."""
    folder, data = tmp_path_factory.mktemp("expected"), gzip.decompress(config.SAMPLE.read_bytes())
    (folder / "monday.pcap").write_bytes(data)
    names = [folder / "monday.pcap", folder / "tuesday.pcap.gz", folder / "wednesday.pcap.gz"]
    for path in names[1:]:
        path.write_bytes(gzip.compress(data, mtime=0))
    extract_many.run(names, folder / "x.parquet", SCHEDULE)
    return (folder / "x.parquet").read_bytes()


def test_one_ctrl_c_stops_all_and_the_same_command_goes_on(captures, tmp_path, expected):
    process = start(captures, tmp_path / "x.parquet")
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - began < 10  # the long captures would take longer
    assert process.returncode == 130 and "Traceback" not in err
    (folder,) = tmp_path.glob("x.parquet.parts-*")
    said = f"1 of 3 captures are finished and kept in {folder}; the same command goes on from them"
    assert err.splitlines()[-1] == f"ids_repro extract: interrupted; {said}"
    assert until(lambda: not processes(process.pid), 5)
    assert {path.name for path in folder.iterdir()} == {"lock", finished(tmp_path)[0].name}
    shortened(captures)
    assert main(command(captures, tmp_path / "x.parquet")) == 0
    assert (tmp_path / "x.parquet").read_bytes() == expected
    assert {path.name for path in tmp_path.iterdir()} == {"x.parquet", *(path.name for path in captures)}


def test_ctrl_c_in_a_run_over_one_capture_leaves_nothing_and_says_so(captures, tmp_path):
    process, out = start(captures[1:2], tmp_path / "x.parquet"), tmp_path / "x.parquet"
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.splitlines()[-1] == f"ids_repro extract: interrupted; {out} was not written"
    assert not list(tmp_path.glob("*x.parquet*"))


def test_a_killed_run_leaves_no_worker_and_no_folder_after_the_next(captures, tmp_path, expected):
    process = start(captures, tmp_path / "x.parquet")
    assert len(processes(process.pid)) > 1, "there is no worker that could be left"
    process.kill()
    process.communicate(timeout=30)
    assert until(lambda: not processes(process.pid), 3)
    shortened(captures)
    assert main(command(captures, tmp_path / "x.parquet")) == 0
    assert (tmp_path / "x.parquet").read_bytes() == expected
    assert {path.name for path in tmp_path.iterdir()} == {"x.parquet", *(path.name for path in captures)}


def test_on_a_cluster_a_stopped_run_ends_its_tasks_and_goes_on_too(captures, tmp_path, expected):
    where = {"n_workers": 1, "threads_per_worker": 3, "dashboard_address": None, "host": "127.0.0.1"}
    with LocalCluster(processes=True, **where) as cluster:
        for stop in (signal.SIGINT, signal.SIGKILL):
            process = start(captures, tmp_path / "x.parquet", "--scheduler", cluster.scheduler_address)
            process.send_signal(stop)
            _, err = process.communicate(timeout=30)
            if stop == signal.SIGINT:
                assert process.returncode == 130
                assert "1 of 3 captures are finished and kept" in err.splitlines()[-1]
            with cluster.get_client() as client:
                assert until(lambda client=client: not any(client.processing().values()), 10)
                assert until(lambda client=client: not any(client.run(busy).values()), 5)
        shortened(captures)
        assert main(command(captures, tmp_path / "x.parquet", "--scheduler", cluster.scheduler_address)) == 0
    assert (tmp_path / "x.parquet").read_bytes() == expected
    assert {path.name for path in tmp_path.iterdir()} == {"x.parquet", *(path.name for path in captures)}


def busy(dask_worker) -> int:
    """Return how many threads of a Dask worker run a task."""
    return len(dask_worker.active_threads)


def test_an_error_keeps_what_is_finished_and_says_so(captures, tmp_path):
    captures[1].write_bytes(b"no capture")
    with pytest.raises(UserError, match="tuesday.*; 1 of 2 captures are finished and kept in .*x.parquet.parts-"):
        extract_many.run(captures[:2], tmp_path / "x.parquet", SCHEDULE)
    assert len(finished(tmp_path)) == 1
    with pytest.raises(UserError, match="tuesday[^;]*; no capture is finished"):
        extract_many.run(captures[1:2] + [config.ROOT / "README.md"], tmp_path / "x.parquet", SCHEDULE)
    assert not list(tmp_path.glob("x.parquet*"))


def test_a_part_counts_only_for_the_same_capture_labels_options_and_code(captures, tmp_path):
    out, labels = tmp_path / "x.parquet", tmp_path / "labels.csv"
    labels.write_bytes(config.SAMPLE_LABELS.read_bytes())
    first = parts.names(captures, out, str(labels), {"sampling": "last"})
    assert len(set(first)) == 3 and first == parts.names(captures, out, str(labels), {"sampling": "last"})
    assert not set(first) & set(parts.names(captures, out, str(labels), {"sampling": "every"}))
    assert not set(first) & set(parts.names(captures, out, "published", {"sampling": "last"}))
    os.utime(captures[1])
    assert [
        a == b for a, b in zip(first, parts.names(captures, out, str(labels), {"sampling": "last"}), strict=True)
    ] == [
        True,
        False,
        True,
    ]
    labels.write_bytes(labels.read_bytes() + b"\n")
    assert not set(first) & set(parts.names(captures, out, str(labels), {"sampling": "last"}))


def test_two_runs_for_one_output_do_not_touch_each_others_parts(tmp_path):
    out, inside, go_on, found = tmp_path / "x.parquet", threading.Event(), threading.Event(), []

    def other():
        with parts.folder(out, ["a.parquet"]) as own:
            (own / "a.parquet").touch()
            inside.set()
            go_on.wait(10)
            found.append((own / "a.parquet").exists())

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(10)
    with parts.folder(out, ["a.parquet"]) as own:
        assert not (own / "a.parquet").exists()
    go_on.set()
    thread.join()
    assert found == [True] and not list(tmp_path.iterdir())
