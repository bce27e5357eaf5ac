"""The far end of an ssh connection, without ssh: what it answers, and how it runs and ends a program."""

import json
import os
import signal
import subprocess
import sys

import pytest
from machine_state import alive, heed_signals, until

from ids_repro.network import facts, ssh_peer

PEER = [sys.executable, "-m", ssh_peer.__name__]


def serve(*calls: dict, path: str = os.environ["PATH"]) -> list[dict]:
    """Let a peer answer calls until its input ends; its answers, the one without a call first."""
    done = subprocess.run(
        PEER, input="".join(json.dumps(call) + "\n" for call in calls), capture_output=True, text=True, timeout=60,
        env=os.environ | {"SSH_CONNECTION": "10.0.0.1 5000 10.0.0.2 22", "PATH": path},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def call(module: str, function: str, *args: object) -> dict:
    """A call as `Session.ask` writes it."""
    return {"module": module, "function": function, "args": args}


def test_the_first_answer_says_what_the_checkout_is_and_through_which_addresses_it_is_reached():
    (first,) = serve()
    assert set(first["value"]) == {"sha256", "through"}
    assert first["value"]["through"] == ["10.0.0.1", "10.0.0.2"]


def test_a_missing_program_is_the_first_answer():
    assert serve(path="/nonexistent") == [{"error": "the program 'hping3' is not installed: run 'make system'"}]


def test_it_calls_functions_under_the_names_that_the_near_end_sends():
    calls = [
        call(f.__module__, f.__name__, *args) for f, *args in ((facts.first, "a(.)", "ab"), (facts.route, "127.0.0.1"))
    ]
    assert serve(*calls)[1:] == [{"value": "b"}, {"value": "lo"}]


def test_what_goes_wrong_is_an_answer_and_the_next_call_is_answered_too():
    _, refused, failed, missing, good = serve(
        call("os", "getcwd"),
        call(facts.__name__, "state", "eth9"),
        call(facts.__name__, "addresses", "eth9"),
        call(facts.__name__, "addresses", "lo"),
    )
    assert refused == {"error": "functions of os cannot be called over ssh"}
    assert failed["error"].startswith("there is no interface 'eth9'; there are ")
    assert missing["error"].startswith("OSError: ")
    assert good == {"value": ["127.0.0.1"]}


def start(token: str, script: str) -> subprocess.Popen:
    """Start a peer that runs a shell script; its first line has been read."""
    argv = [*PEER, token, "sh", "-c", script]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, preexec_fn=heed_signals)
    process.first = process.stdout.readline().strip()
    return process


def test_input_output_and_exit_code_are_the_programs_own():
    argv = [*PEER, "token", "sh", "-c", "cat; echo no >&2; exit 7"]
    done = subprocess.run(argv, input="through", capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("through", "no\n", 7)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 5), (signal.SIGHUP, 128 + signal.SIGHUP)])
def test_a_signal_reaches_the_program_with_the_token_and_no_other(number, code):
    script = "trap 'exit 5' TERM; echo on; while :; do sleep 0.01; done"
    with start("one-token", script) as one, start("other-token", script) as other:
        calls = [call(ssh_peer.__name__, "send_signal", token, number) for token in ("one-token", "no-token")]
        assert serve(*calls)[1:] == [{"value": True}, {"value": False}]
        assert one.wait(timeout=5) == code
        assert other.poll() is None


@pytest.mark.parametrize("end", [lambda peer: peer.stdout.close(), lambda peer: peer.terminate()])
def test_when_the_connection_ends_the_program_ends_and_its_children_too(end):
    with start("token", "setsid sleep 60 & echo $!; wait") as peer:
        assert alive(int(peer.first))
        end(peer)
        peer.wait(timeout=5)
        assert until(lambda: not alive(int(peer.first)))
