"""What happens in the lab capture: one row an activity. A new variant, or a new class, is a new row.

A command is a shell command with ``str.format`` fields, drawn anew at each go: ``{i[2-9]}`` is an integer,
``{f[0.2-1.5]}`` a decimal number, ``{one[A,MX]}`` one of a list; `command` gives the others. The only host that a
command names is the lab's own server.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

TCP, UDP, ICMP = 6, 17, 1
OPEN_PORTS = (21, 22, 53, 80)
# Linux' own range of source ports: the raw-packet tools draw theirs from it too, so that the port tells nothing.
EPHEMERAL = (32768, 60999)


@dataclass(frozen=True)
class Activity:
    """One kind of traffic.

    Parameters
    ----------
    label : str
        Its class, one of `config.CLASSES`.
    name : str
        Short name, for the schedule.
    command : str
        Shell command template; see the module.
    dport : int or None
        Destination port of its flows; None where there are several.
    proto : int or None
        IP protocol of its flows.
    weight : int
        Share among the rows of its class.
    copies : int
        How many of the command start together in one go.
    seconds : float
        A go that takes longer is ended.
    hosts : str
        Only hosts whose name starts so do it.
    """

    label: str
    name: str
    command: str
    dport: int | None = None
    proto: int | None = TCP
    weight: int = 1
    copies: int = 1
    seconds: float = 7.0
    hosts: str = ""


_WEB = "http://{server}"
_SSH = "ssh -F {dir}/ssh_config"
# As a person at a keyboard does; no key, so that the password is what decides.
_SSH_PASSWORD = _SSH + " -o PubkeyAuthentication=no -o NumberOfPasswordPrompts=1 {user}@{server}"
_DIG = "dig +tries=1 +time=2 @{server}"

# Normal. hosts="client" where the attackers' own ICMP must stay that of their scans: ICMP has no ports to tell by.
_NORMAL = (
    ("page", f"curl -s {_WEB}/page{{i[1-40]}}.html", 80, TCP, 13),
    ("page with parts", f"curl -s {_WEB}/page{{i[1-40]}}.html '{_WEB}/part[1-{{i[2-5]}}].css'", 80, TCP, 6),
    ("parallel parts", f"curl -s -Z --parallel-max {{i[2-5]}} '{_WEB}/part[1-{{i[3-6]}}].css'", 80, TCP, 2),
    (
        "reader",
        f"wget -q -O /dev/null --wait={{f[0.1-1.2]}} --random-wait "
        f"{_WEB}/page{{i[1-40]}}.html {_WEB}/page{{i[1-40]}}.html {_WEB}/part{{i[1-8]}}.css",
        80,
        TCP,
        2,
    ),
    ("download", f"curl -s --limit-rate {{i[60-900]}}k {_WEB}/file{{i[1-6]}}.bin", 80, TCP, 2),
    ("download, cut off", f"curl -s -m {{f[0.1-0.9]}} --limit-rate {{i[20-60]}}k {_WEB}/file6.bin", 80, TCP, 1),
    ("page over a slow line", f"curl -s -m 6 --limit-rate {{i[3-12]}}k {_WEB}/page{{i[1-40]}}.html", 80, TCP, 1),
    ("missing page", f"curl -s {_WEB}/gone{{i[1-999]}}", 80, TCP, 3),
    ("upload", f"head -c {{i[1-20]}}k {{dir}}/www/file6.bin | curl -s --data-binary @- {_WEB}/form", 80, TCP, 1),
    ("connection kept in hand", "sleep {f[0.3-4.0]} | curl -s telnet://{server}:80", 80, TCP, 2),
    ("name", f"{_DIG} host{{i[1-300]}}.lab.test {{one[A,A,A,AAAA]}}", 53, UDP, 19),
    (
        "names of a page",
        f"{_DIG} host{{i[1-300]}}.lab.test A cdn{{i[1-20]}}.lab.test A cdn{{i[1-20]}}.lab.test AAAA lab.test MX",
        53,
        UDP,
        5,
    ),
    ("other records", f"{_DIG} lab.test {{one[MX,TXT,NS,SOA,SRV,ANY]}} ; {_DIG} -x {{server}}", 53, UDP, 3),
    ("unknown name", f"{_DIG} typo{{i[1-9999]}}.lab.test ; {_DIG} typo{{i[1-9999]}}.invalid AAAA", 53, UDP, 3),
    ("name over TCP", f"{_DIG} +tcp host{{i[1-300]}}.lab.test", 53, TCP, 2),
    ("remote command", f"{_SSH} {{user}}@{{server}} '{{one[uptime,id,ls -l /usr,df,ps aux]}}'", 22, TCP, 1),
    (
        "remote shell",
        "(for x in {one[ls,id,pwd]} date 'ls -l /etc' {one[uptime,df]} exit; do sleep {f[0.1-0.9]}; echo $x; done)"
        f" | {_SSH} -tt {{user}}@{{server}}",
        22,
        TCP,
        1,
    ),
    ("copy from", f"{_SSH} {{user}}@{{server}} 'head -c {{i[2-14]}}k /dev/urandom'", 22, TCP, 1),
    ("copy to", f"head -c {{i[2-14]}}k /dev/urandom | {_SSH} {{user}}@{{server}} 'cat > /dev/null'", 22, TCP, 1),
    ("login by password", f"sshpass -p {{password}} {_SSH_PASSWORD} {{one[id,date]}}", 22, TCP, 1),
    ("mistyped password", f"sshpass -p {{word}} {_SSH_PASSWORD} id", 22, TCP, 1),
    ("file by FTP", "curl -s -u {user}:{password} ftp://{server}/file{i[1-4]}.bin", 21, TCP, 2),
    ("listing by FTP", "curl -s -u {user}:{password} ftp://{server}/", 21, TCP, 1),
    ("mistyped FTP password", "curl -s -u {user}:{word} ftp://{server}/", 21, TCP, 1),
    ("wrong port", "curl -s -m 2 {one[http,ftp]}://{server}:{i[1025-9999]}/", None, TCP, 2),
)

_SCAN = "nmap -Pn -n -e eth0"
_FLOOD = "for p in {sports}; do hping3 -q -n -S -p PORT -s $p -c {i[8-16]} -i u{i[200-20000]} {server}; done"
_SLOW = f"slowhttptest -u {_WEB}/page{{i[1-40]}}.html -l {{i[4-6]}} -c {{i[20-40]}} -r {{i[10-40]}} -p 2"

ACTIVITIES = (
    *(Activity("Normal", name, command, dport, proto, weight) for name, command, dport, proto, weight in _NORMAL),
    Activity("Normal", "ping", "ping -c {i[1-4]} -i {f[0.2-0.6]} {server}", None, ICMP, 1, hosts="client"),
    # Portscan. Scanners at once, each from a port of its own (-g; -sT has the kernel's), spread the source ports:
    # nmap's own choice goes above the kernel's range.
    Activity("Portscan", "SYN scan", _SCAN + " -sS -T{i[3-5]} -g {sport} -p {ports} {server}", copies=2),
    Activity("Portscan", "connect scan", _SCAN + " -sT -T{i[3-4]} -p {ports} {server}", copies=2),
    Activity(
        "Portscan",
        "slow SYN scan",
        _SCAN + " -sS --scan-delay {i[20-110]}ms -g {sport} -p {ports} {server}",
        copies=3,
    ),
    Activity(
        "Portscan",
        "FIN, Xmas or null scan",
        _SCAN + " {one[-sF,-sX,-sN]} -T4 --max-retries {i[0-1]} -g {sport} -p {ports} {server}",
        copies=2,
    ),
    Activity(
        "Portscan",
        "ACK or Maimon scan",
        _SCAN + " {one[-sA,-sM]} -T{i[3-4]} --max-retries 1 -g {sport} -p {ports} {server}",
    ),
    Activity(
        "Portscan",
        "UDP scan",
        _SCAN + " -sU -T4 --max-retries {i[0-1]} -g {sport} -p {ports} {server}",
        proto=UDP,
        copies=2,
    ),
    Activity("Portscan", "version scan", _SCAN + " -sT -sV --version-light -p {ports} {server}", seconds=9.0),
    # DoS. hping3 counts its source port up from a base: short runs from bases of their own spread it. They run one
    # after another, for each hping3 would count the other's replies as its own and stop early.
    Activity("DoS", "SYN flood", _FLOOD.replace("PORT", "80"), 80, weight=2),
    Activity("DoS", "SYN flood on SSH", _FLOOD.replace("PORT", "22"), 22),
    Activity("DoS", "SYN flood on DNS", _FLOOD.replace("PORT", "53"), 53),
    Activity("DoS", "slow headers", _SLOW + " -H -i {i[1-3]} -x {i[8-40]}", 80, weight=2),
    Activity("DoS", "slow body", _SLOW + " -B -i {i[1-3]} -s {i[1000-9000]} -x {i[8-40]}", 80, weight=2),
    Activity("DoS", "slow read", _SLOW + " -X -w {i[10-60]} -y {i[100-600]} -n 1 -z {i[16-200]} -k {i[1-3]}", 80),
    Activity("DoS", "range headers", _SLOW + " -R -a {i[1-20]} -b {i[200-900]}", 80),
    # Brute force. The list never holds the password: the guessing fails to its end.
    Activity(
        "Brute force",
        "SSH guessing, hydra",
        "hydra -I -t {i[2-4]} -l {user} -P {words} ssh://{server}",
        22,
        weight=2,
        seconds=3.2,
    ),
    Activity(
        "Brute force",
        "SSH spraying, hydra",
        "hydra -I -u -t {i[2-4]} -L {words} -p {word} ssh://{server}",
        22,
        seconds=3.2,
    ),
    Activity(
        "Brute force",
        "FTP guessing, hydra",
        "hydra -I -t {i[8-16]} -l {user} -P {words} ftp://{server}",
        21,
        weight=2,
        seconds=3.2,
    ),
    Activity(
        "Brute force",
        "FTP guessing, ncrack",
        "ncrack -T{i[3-5]} -g CL=16,at={i[1-3]} --user {user} -P {words} ftp://{server}",
        21,
        seconds=9.0,
    ),
)
# In the schedule the Normal rows stand last and cover the rest by port, so a name for each suffices: "web", not "page".
SERVICES = (("DNS", 53), ("web", 80), ("SSH", 22), ("FTP", 21), ("other", None))

PROGRAMS = (
    "apache2",
    "curl",
    "dig",
    "dnsmasq",
    "dropbear",
    "dropbearkey",
    "ethtool",
    "hping3",
    "hydra",
    "ncrack",
    "nmap",
    "openssl",
    "ping",
    "slowhttptest",
    "ssh",
    "ssh-keygen",
    "sshpass",
    "tcpdump",
    "unshare",
    "wget",
)


class _Draw:
    """Draws for ``{i[2-9]}``, ``{f[0.2-1.5]}`` and ``{one[A,MX]}``."""

    def __init__(self, rng: np.random.Generator, kind: str) -> None:
        self.rng, self.kind = rng, kind

    def __getitem__(self, text: str) -> str:
        if self.kind == "one":
            return str(self.rng.choice(text.split(",")))
        low, high = text.split("-")
        if self.kind == "i":
            return str(self.rng.integers(int(low), int(high) + 1))
        return f"{self.rng.uniform(float(low), float(high)):.2f}"


# Death by signal does not reach a program that changes its user, as servers do, nor a shell's children. A process
# namespace does: when its first process dies, the kernel ends all in it. (setpriv ends unshare, unshare the first.)
TOGETHER = ("unshare", "--pid", "--fork", "--kill-child")


def _ports(rng: np.random.Generator) -> str:
    """Fifty ports to scan, the open ones among them."""
    return ",".join(map(str, sorted({*OPEN_PORTS, *rng.choice(10_000, 46, replace=False) + 1})))


def command(activity: Activity, rng: np.random.Generator, directory: Path, **fixed: str) -> str:
    """Return the activity's shell command with every field drawn.

    Parameters
    ----------
    activity : Activity
        The row.
    rng : numpy.random.Generator
        Source of the draws.
    directory : pathlib.Path
        The lab's temporary directory, field ``dir``.
    **fixed : str
        Fields that do not change: server, user, password, words.
    """
    draws = {kind: _Draw(rng, kind) for kind in ("i", "f", "one")}
    sports = list(map(str, rng.integers(*EPHEMERAL, size=10, endpoint=True)))
    word = f"{rng.integers(1 << 40):x}"
    return activity.command.format(
        dir=directory, sport=sports[0], sports=" ".join(sports), word=word, ports=_ports(rng), **draws, **fixed
    )


def attack_rounds(rng: np.random.Generator) -> Iterator[Activity]:
    """Yield attacks without end, in rounds that hold one of each class in a new order.

    So every class is spread over the whole recording, and the time tells nothing.
    """
    labels = sorted({a.label for a in ACTIVITIES} - {"Normal"})
    decks: dict[str, list[Activity]] = {label: [] for label in labels}
    while True:
        for label in rng.permutation(labels):
            deck = decks[label]
            if not deck:
                rows = [a for a in ACTIVITIES if a.label == label for _ in range(a.weight)]
                deck += [rows[i] for i in rng.permutation(len(rows))]
            yield deck.pop()
