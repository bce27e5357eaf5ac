"""What an activity of the lab capture is, and how its shell command is drawn at random.

A command has ``str.format`` fields, and each run of the activity draws new values for them. ``{i[2-9]}`` is an integer,
``{f[0.2-1.5]}`` a decimal number, ``{one[A,MX]}`` one item of a list; `command` lists the others. Commands name no
hosts but the lab's own. The tables of activities are `normal.NORMAL` and `attacks.ATTACKS`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

TCP, UDP, ICMP = 6, 17, 1
OPEN_PORTS = (21, 22, 53, 80, 8080)
# Linux' own range of source ports. Raw-packet tools get theirs from it too, so that the port does not reveal the class.
EPHEMERAL = (32768, 60999)
# A web server: port 80 three times out of four, else port 8080.
WEB = "http://{server}{one[,,,:8080]}"


@dataclass(frozen=True)
class Activity:
    """One kind of traffic.

    Parameters
    ----------
    label : str
        The class of its flows, one of `config.CLASSES`.
    name : str
        Short name for the schedule.
    command : str
        Shell command with fields; see the module.
    dport : int or None
        Destination port of its flows; None if there are several.
    proto : int or None
        IP protocol of its flows; None if there are several.
    weight : int
        How often it is drawn, relative to the other activities of its class.
    copies : int
        How many copies of the command start together in one run.
    seconds : float
        A run that takes longer is killed.
    hosts : str
        Only hosts whose names begin with this do it.
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
    """Draws the values of ``{i[2-9]}``, ``{f[0.2-1.5]}`` or ``{one[A,MX]}``."""

    def __init__(self, rng: np.random.Generator, kind: str) -> None:
        self.rng, self.kind = rng, kind

    def __getitem__(self, text: str) -> str:
        if self.kind == "one":
            return str(self.rng.choice(text.split(",")))
        low, high = text.split("-")
        if self.kind == "i":
            return str(self.rng.integers(int(low), int(high) + 1))
        return f"{self.rng.uniform(float(low), float(high)):.2f}"


# The death signal of `Host.command` reaches neither a program that changes its user, as servers do, nor the children of
# a shell. So each command gets a process namespace: when the first process in it dies, the kernel kills all the others.
# The death signal kills unshare, and unshare's --kill-child kills that first process.
TOGETHER = ("unshare", "--pid", "--fork", "--kill-child")


def _ports(rng: np.random.Generator) -> str:
    """Draw seventy ports to scan; the open ones are among them."""
    return ",".join(map(str, sorted({*OPEN_PORTS, *rng.choice(10_000, 70 - len(OPEN_PORTS), replace=False) + 1})))


def _beats(rng: np.random.Generator) -> str:
    """Draw the pauses of a beacon [s]: an interval, and pauses that are up to a third shorter or longer than it."""
    interval = np.exp(rng.uniform(np.log(0.2), np.log(1.6)))
    count = max(3, min(10, round(5.0 / interval)))
    return " ".join(f"{pause:.2f}" for pause in interval * rng.uniform(2 / 3, 4 / 3, count))


def hosts_for(me: str, addresses: dict[str, str], rng: np.random.Generator) -> dict[str, str]:
    """Draw the hosts that a command names.

    Parameters
    ----------
    me : str
        The host that runs the command.
    addresses : dict of str to str
        Host name to address.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    dict of str to str
        Field to address. ``inside`` and ``outside`` are the two servers, and ``server`` is one of them. ``peer`` is a
        client other than this host, and ``peers`` are up to three such clients. ``target`` is ``server`` or ``peer``.
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
    """Return an activity's shell command with a value for every field.

    Drawn here are ``i``, ``f``, ``one``; ``sport`` and ``sports``, one source port and ten; ``word``, a random word;
    ``ports``, a list for nmap; ``beats``, the pauses of a beacon [s].

    Parameters
    ----------
    activity : Activity
        The activity.
    rng : numpy.random.Generator
        Source of the draws.
    directory : pathlib.Path
        The lab's temporary directory; field ``dir``.
    **fixed : str
        Values of the other fields: ``user``, ``password``, ``words`` (path of a list of passwords), and those of
        `hosts_for`.
    """
    draws = {kind: _Draw(rng, kind) for kind in ("i", "f", "one")}
    sports = list(map(str, rng.integers(*EPHEMERAL, size=10, endpoint=True)))
    drawn = {"word": f"{rng.integers(1 << 40):x}", "ports": _ports(rng), "beats": _beats(rng)}
    return activity.command.format(dir=directory, sport=sports[0], sports=" ".join(sports), **drawn, **draws, **fixed)


def attack_rounds(rows: Sequence[Activity], rng: np.random.Generator) -> Iterator[Activity]:
    """Yield attacks without end, in rounds; a round has one attack of each class, in random order.

    This spreads every class over the whole recording, so that the time of a flow does not reveal its class.

    Parameters
    ----------
    rows : sequence of Activity
        The attacks to choose from.
    rng : numpy.random.Generator
        Source of the draws.
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
