"""A program stays in order while hostile traffic passes: floods of new flows, odd and damaged frames, for a while.

    IDS_HOSTILE_S=600 .venv/bin/python -m pytest tests/live/test_hostile_traffic.py

takes ten minutes for each case. The traffic stays between two network namespaces, and its sender ends with the test.
"""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import psutil
import pytest
from machine_state import heed_signals
from parser_cases import ROWS

from ids_repro import config
from ids_repro.kernel.variants import Variant
from ids_repro.live import attached
from ids_repro.network.hosts import Host
from ids_repro.sweep.link_netns import two_namespaces
from ids_repro.sweep.sender import Sender

pytestmark = [pytest.mark.root, pytest.mark.quiet, pytest.mark.bpf]
SECONDS = float(os.environ.get("IDS_HOSTILE_S", "15"))
FLOOD = {"generator": "live_frames", "flows": "new"}
FASTEST, BEARABLE = {**FLOOD, "rate_pps": 10_000_000}, {**FLOOD, "rate_pps": 50_000}
COMMAND = (sys.executable, "-m", "ids_repro")
SERVICE, PATIENCE_S = 2222, 10.0
WARNING = 4  # of the kernel's log levels
RSS_GROWTH = 8 << 20  # byte
# Sends the frames that it reads as lines of hexadecimal digits, over and over, until it is killed.
ODD_SENDER = """
import socket, sys
frames = [bytes.fromhex(line) for line in sys.stdin]
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
    raw.bind((sys.argv[1], 0))
    print("ready", flush=True)
    while True:
        for frame in frames:
            try:
                raw.send(frame)
            except OSError:  # the device's queue is full, or the frame is too long for it
                pass
"""


def odd_frames(mac: bytes, rng: random.Random) -> list[bytes]:
    """Return each kind of frame that the parser knows, damaged ones, and tiny and giant ones, to a MAC address."""
    known = [frame for cases in ROWS.values() for frame, _ in cases if len(frame) >= 14]
    frames = list(known)
    for _ in range(4000):
        frame = bytearray(rng.choice(known))
        for _ in range(rng.randint(1, 6)):
            frame[rng.randrange(12, len(frame))] = rng.randrange(256)
        frames.append(bytes(frame[: rng.randint(14, len(frame))]) + rng.randbytes(rng.choice((0, 0, 6, 1400))))
    rng.shuffle(frames)
    return [mac + frame[6:1514] for frame in frames]


@contextlib.contextmanager
def odd_traffic(client: Host, mac: bytes) -> Iterator[None]:
    """Send odd frames from another process while the block runs."""
    argv = [sys.executable, "-c", ODD_SENDER, client.iface]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with client.popen(argv, preexec_fn=heed_signals, **pipes) as sender:
        try:
            sender.stdin.write("".join(f"{frame.hex()}\n" for frame in odd_frames(mac, random.Random(0))))
            sender.stdin.close()
            assert sender.stdout.readline() == "ready\n"
            yield
            assert sender.poll() is None
        finally:
            sender.kill()


@contextlib.contextmanager
def service(server: Host) -> Iterator[None]:
    """Answer each connection to SERVICE with what it sends, while the block runs."""
    with server.call(lambda: socket.create_server(("", SERVICE))) as listening:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    one, _ = listening.accept()
                    with one, contextlib.suppress(OSError):
                        one.settimeout(PATIENCE_S)
                        one.sendall(one.recv(100))

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def fault(client: Host, server: Host) -> str:
    """Return why the service did not answer within PATIENCE_S; empty if it did."""
    with client.call(socket.socket) as one:
        one.settimeout(PATIENCE_S)
        try:
            one.connect((server.address, SERVICE))
            one.sendall(b"hello")
            return "" if one.recv(100) == b"hello" else "another answer"
        except OSError as error:
            return str(error)


def kernel_warnings() -> list[str]:
    """Return the kernel's messages of level "warning" and worse."""
    found, log = [], os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while True:
            with contextlib.suppress(BrokenPipeError):  # the ring went on meanwhile
                line = os.read(log, 8192).decode(errors="replace")
                if int(line.split(",", 1)[0]) & 7 <= WARNING:
                    found.append(line)
    os.close(log)
    return found


def status(server: Host) -> dict:
    """Return what `status` says of the one program."""
    argv = [*COMMAND, "status", "--json"]
    (found,) = json.loads(server.run(argv, cwd=config.ROOT, capture_output=True, text=True, timeout=60).stdout)
    return found


@pytest.mark.parametrize(("hook", "action"), [("xdp_drv", "count"), ("tc_both", "filter")])
def test_every_packet_is_counted_once_and_the_service_answers(files, hook, action, tmp_path):
    before = kernel_warnings()
    with two_namespaces() as on, contextlib.closing(Sender(on)) as sender, contextlib.ExitStack() as stack:
        client, server = on.client, on.server
        model = files["detector"] if action == "filter" else files["binary"]
        variant = Variant(action=action, classifier="dt", flows=1 << 12)
        server.call(attached.attach, server.iface, model, hook, variant, True)
        stack.callback(server.call, attached.detach, server.iface)
        shown = server.run(["ip", "-json", "link", "show", server.iface], capture_output=True, check=True).stdout
        mac = bytes.fromhex(json.loads(shown)[0]["address"].replace(":", ""))
        argv = [*COMMAND, "status", server.iface, "--watch", "--json"]
        log = stack.enter_context((tmp_path / "looks").open("w+"))
        quiet = {"cwd": config.ROOT, "stdout": log, "preexec_fn": heed_signals}
        watch = stack.enter_context(server.popen(argv, **quiet))
        stack.callback(watch.send_signal, signal.SIGINT)
        stack.enter_context(service(server))
        rss, answers = [], {}
        with odd_traffic(client, mac):
            for name, flood, seconds in (("fastest", FASTEST, SECONDS), ("bearable", BEARABLE, SECONDS / 3)):
                answers[name] = []
                with sender.running(seconds + 60, **flood):
                    end = time.monotonic() + seconds
                    while time.monotonic() < end:
                        time.sleep(0.2)
                        answers[name].append(fault(client, server))
                        rss.append(psutil.Process(watch.pid).memory_info().rss)
        found = status(server)
    looks = [json.loads(line)[0] for line in (tmp_path / "looks").read_text().splitlines() if line.endswith("]")]
    print(hook, action, {name: f"{of.count('')} of {len(of)} answered" for name, of in answers.items()})
    assert found["packets"] > 1e5 * SECONDS / 15
    assert found["packets"] == sum(found["reasons"].values())
    assert found["reasons"]["ok"] == sum(found["verdicts"].values())
    assert all(found["reasons"][name] for name in ("ok", "truncated", "not_ip", "malformed", "too_deep"))
    assert found["flows"] <= 1 << 12 and found["evicted_unproven"] > found["packets"] / 20
    assert max(look["new_flows_per_s"] for look in looks) > 1e4
    # The fastest flood fills the server's ring whoever receives: SYNs are lost several times in a row, and how many
    # requests are answered depends on the machine. A flood that one CPU bears must keep none from its answer.
    assert set(answers["bearable"]) == {""}, answers
    assert max(rss[len(rss) // 2 :]) - max(rss[: len(rss) // 2]) < RSS_GROWTH
    assert kernel_warnings() == before
