"""The near end of an ssh connection, with a program that stands in for ssh and runs everything on this machine.

`tests/sweep/test_link_ssh.py` tests it with a real sshd.
"""

import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from ids_repro.config import ROOT, UserError
from ids_repro.network import facts
from ids_repro.network.namespaces import alone
from ids_repro.network.ssh import Session, SshHost, connected
from ids_repro.provenance import checkout_sha256

URL = "ssh://root@host.invalid"
STAND_IN = """#!/bin/sh
for last; do :; done
export SSH_CONNECTION="10.0.0.1 5000 10.0.0.2 22"
exec sh -c "$last"
"""


@pytest.fixture
def path(tmp_path, monkeypatch):
    """The stand-in, first on PATH."""
    (tmp_path / "ssh").write_text(STAND_IN)
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


@pytest.fixture
def there(path) -> Iterator[tuple[Session, dict]]:
    """A connection to this checkout."""
    with alone(), connected(URL, str(ROOT)) as made:
        yield made


@pytest.mark.parametrize("url", ["http://10.78.0.1", "ssh://", "ssh://root@host/folder"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(UserError, match=r"is no ssh://user@host\[:port\]"), connected(url, "folder"):
        pass


@pytest.mark.root
def test_it_says_what_the_far_end_is_and_calls_its_functions(there):
    session, about = there
    assert about == {"sha256": checkout_sha256(), "through": ["10.0.0.1", "10.0.0.2"]}
    assert session.ask(facts.addresses, "lo") == ["127.0.0.1"]
    with pytest.raises(UserError, match="there is no interface 'eth9'"):
        session.ask(facts.state, "eth9")
    with pytest.raises(UserError, match="functions of json cannot be called over ssh"):
        session.ask(json.loads, "1")


@pytest.mark.root
def test_a_programs_pipes_exit_code_and_signals_pass_through(there):
    host = SshHost("client", "", "eth0", there[0])
    done = host.run(["sh", "-c", "cat; exit 7"], input="through", stdout=subprocess.PIPE, text=True)
    assert (done.stdout, done.returncode) == ("through", 7)
    script = "trap 'exit 5' TERM; echo on; while :; do sleep 0.01; done"
    with host.popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.terminate()
        assert process.wait(timeout=5) == 5


@pytest.mark.root
def test_a_far_end_that_is_silent_or_gone_is_named(there):
    session, _ = there
    with pytest.raises(UserError, match=f"{URL} did not answer within 0 s"):
        session.answer(patience_s=0.1)
    session._master.kill()
    with pytest.raises(UserError, match=f"{URL}: the connection was lost"):
        session.ask(facts.addresses, "lo")


@pytest.mark.root
@pytest.mark.usefixtures("path")
def test_a_folder_without_a_checkout_is_named(tmp_path):
    refused = pytest.raises(UserError, match=f"no checkout of this project in {tmp_path}: make one, or give")
    with alone(), refused, connected(URL, str(tmp_path)):
        pass
