"""How an activity of the lab capture is written down, and how its command is drawn.

A command is a shell command with ``str.format`` fields, drawn anew at each go: ``{i[2-9]}`` is an integer,
``{f[0.2-1.5]}`` a decimal number, ``{one[A,MX]}`` one of a list; `command` gives the others. The only hosts that a
command names are the lab's own. The tables are `lab_normal.NORMAL` and `lab_attacks.ATTACKS`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

TCP, UDP, ICMP = 6, 17, 1
OPEN_PORTS = (21, 22, 53, 80, 8080)
# Linux' own range of source ports: the raw-packet tools draw theirs from it too, so that the port tells nothing.
EPHEMERAL = (32768, 60999)
# A server's web port, three times of four the usual one.
WEB = "http://{server}{one[,,,:8080]}"


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
        IP protocol of its flows; None where there are several.
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
    """Seventy ports to scan, the open ones among them."""
    return ",".join(map(str, sorted({*OPEN_PORTS, *rng.choice(10_000, 70 - len(OPEN_PORTS), replace=False) + 1})))


def _beats(rng: np.random.Generator) -> str:
    """Pauses of a beacon: an interval of its own, each pause up to a third shorter or longer."""
    interval = np.exp(rng.uniform(np.log(0.2), np.log(1.6)))
    count = max(3, min(10, round(5.0 / interval)))
    return " ".join(f"{pause:.2f}" for pause in interval * rng.uniform(2 / 3, 4 / 3, count))


def hosts_for(me: str, addresses: dict[str, str], rng: np.random.Generator) -> dict[str, str]:
    """Draw the hosts that a command may name.

    Parameters
    ----------
    me : str
        The host that runs it.
    addresses : dict of str to str
        Host name to address.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    dict of str to str
        ``server`` is one of the two servers, ``inside`` and ``outside`` are one each, ``peer`` is a client that is not
        this host, ``peers`` are three of them, ``target`` is a server or a client.
    """
    peers = [address for name, address in addresses.items() if name.startswith("client") and name != me]
    server, peer = rng.choice([addresses["inside"], addresses["outside"]]), rng.choice(peers)
    return {
        "server": str(server),
        "inside": addresses["inside"],
        "outside": addresses["outside"],
        "peer": str(peer),
        "peers": " ".join(rng.choice(peers, min(3, len(peers)), replace=False)),
        "target": str(rng.choice([server, peer])),
    }


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
        Fields that do not change: user, password, words, and those of `hosts_for`.
    """
    draws = {kind: _Draw(rng, kind) for kind in ("i", "f", "one")}
    sports = list(map(str, rng.integers(*EPHEMERAL, size=10, endpoint=True)))
    drawn = {"word": f"{rng.integers(1 << 40):x}", "ports": _ports(rng), "beats": _beats(rng)}
    return activity.command.format(dir=directory, sport=sports[0], sports=" ".join(sports), **drawn, **draws, **fixed)


def attack_rounds(rows: Sequence[Activity], rng: np.random.Generator) -> Iterator[Activity]:
    """Yield attacks without end, in rounds that hold one of each class of the rows in a new order.

    So every class is spread over the whole recording, and the time tells nothing.
    """
    labels = sorted({a.label for a in rows})
    decks: dict[str, list[Activity]] = {label: [] for label in labels}
    while True:
        for label in rng.permutation(labels):
            deck = decks[label]
            if not deck:
                choice = [a for a in rows if a.label == label for _ in range(a.weight)]
                deck += [choice[i] for i in rng.permutation(len(choice))]
            yield deck.pop()
