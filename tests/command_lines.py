"""Command lines that do real work on small real inputs, and what hypothesis makes of them: for test_anything.py."""

import argparse
import gzip
import os
import random
import shutil
import stat
import zipfile
from functools import partial
from pathlib import Path

import made_captures as made
from hypothesis import strategies as st
from label_files import HEADER, csv_line
from packet_tables import write_table

from ids_repro import config
from ids_repro.cli import make_parser
from ids_repro.models.model import Model
from ids_repro.models.model_file import write_model

BEGIN_US = 1_499_256_000_000_000  # 2017-07-05 12:00 UTC, when CIC-IDS2017 was captured
CLIENT, SERVER = "10.0.0.1", "10.0.0.2"  # the addresses of made_captures.ipv4
SLOW = ("record", "sweep", "reproduce")  # commands that are drawn less often
NUMBERS = ["0", "0.01", "0.5", "1", "2", "3.5", "10", "94", "1000", "1024", "65536"]
NASTY = ["", " ", "-", "--", ".", "..", "/", "-1", "0", "1", "2", "5", "0.5", "nan", "inf", "1e400", "9" * 5000, "0x10"]
NASTY += ["a\nb", "%s%n", "{}", "[]", "=1+1", "\x1b[31m", "\x7f", "\udcff", "é", "a" * 256, "a/" * 3000, "all", "lo"]
NASTY += ["/dev/null", "/dev/full", "/dev/zero", "/dev/stdout", "/dev/stdin", "/proc/self/mem", "/proc/self/cmdline"]
NASTY += ["/nowhere/x", "/sys/kernel", "tcp://127.0.0.1:1", "ssh://root@127.0.0.1:1", "ssh://-oProxyCommand=false"]
NASTY += ["none", "eth999", "10.88.0.10", "10.88.0.10,x", "no_filter", "no_filter,,x", "smoke", "01", "05", "published"]
NASTY += ["csv", "1024", "94"]


def write_captures(folder: Path) -> list[tuple[int, int, int]]:
    """Write a.pcap, b.pcap and cut.pcap of 60 flows, and their schedule; return ports and protocol of the flows."""
    flows = [(1000 + k, 80 if k % 2 else 22, made.TCP if k % 3 else made.UDP) for k in range(60)]
    for name, after_us in (("a", 0), ("b", 500)):
        frames = []
        for k, (sport, dport, proto) in enumerate(flows):
            there = made.ipv4(sport, dport, proto, payload=b"." * dport)
            back = made.ipv4(dport, sport, proto, src=made.B, dst=made.A)
            times = [BEGIN_US + after_us + k * 1_000_000 + n * 20_000 * (1 + k % 2) for n in range(4 - k % 2)]
            frames += zip(times, map(made.ethernet, (there, back, there, back)), strict=False)
        data = made.pcap(frames)
        (folder / f"{name}.pcap").write_bytes(data)
        (folder / f"{name}.pcap.gz").write_bytes(gzip.compress(data))
    (folder / "cut.pcap").write_bytes(data[:-7])
    schedule = "label,activity,start_us,end_us,src,dst,dport,proto\nDoS,x,0,9000000000000000,,,22,\n"
    (folder / "a.csv").write_text(schedule + "Normal,y,0,9000000000000000,,,,\n")
    return flows


def write_inputs(folder: Path, models: dict[str, Model], detector: Model) -> None:
    """Write files of every kind that commands read to a folder, and what is no file."""
    flows = write_captures(folder)
    lines = [
        csv_line(CLIENT, sport, SERVER, dport, proto, "5/7/2017 9:00", "BENIGN" if dport == 80 else "DoS Hulk")
        for sport, dport, proto in flows
    ]
    (folder / "rows.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    with zipfile.ZipFile(folder / "rows.zip", "w") as archive:
        archive.write(folder / "rows.csv", "TrafficLabelling /rows.csv")
    (folder / "table").mkdir()
    write_table(folder / "table")
    write_model(models["binary"], folder / "binary.npz")
    write_model(models["multi"], folder / "multi.npz")
    write_model(detector, folder / "detector.npz")
    for name in ("sweep", "accuracy"):
        shutil.copy(config.DATA / f"example/{name}.jsonl", folder)
    (folder / "text").write_text("neither this nor that\n")
    (folder / "empty").touch()
    os.mkfifo(folder / "pipe")
    for name, target in {"link": "a.pcap", "circle": "circle", "dangling": "none", "folder": "table"}.items():
        (folder / name).symlink_to(target)


def bases(inputs: Path, out: Path) -> list[list[str]]:
    """Return command lines that are valid, at least one of each command.

    Parameters
    ----------
    inputs : Path
        A folder of `write_inputs`, with the dataset a.parquet besides.
    out : Path
        A folder to write to.
    """
    to = f"--out {out}/x.parquet"
    labelled = "--train a.pcap --train-labels a.csv"
    attach = "attach lo --model"
    lines = [
        f"extract a.pcap --labels a.csv {to} --json",
        f"extract a.pcap.gz --labels a.csv --sampling every --dedup-ms 10 --reorder-ms 5 --name x {to}",
        f"extract a.pcap b.pcap.gz --labels rows.csv --flow-rules go-flows {to}",
        f"extract a.pcap --labels rows.zip {to}",
        f"extract table {to}",
        f"train-detector {labelled} --false-alarms 0.1 --out {out}/d.npz",
        f"train-detector {labelled} --arriving-at {SERVER} --seed 1 --out {out}/d.npz",
        f"detect {labelled} --classifier dt --json",
        f"detect {labelled} --test b.pcap --test-labels a.csv --false-alarms 0.1",
        "accuracy --data a.pcap --labels a.csv --seeds 1 --user-space",
        "accuracy --data a.parquet --seeds 1 --user-space --json",
        "parity --user-space --n 100 --pcap a.pcap",
        "parity --n 10 --pcap a.pcap --json",
        "bench --rounds 1 --json",
        f"figures --results sweep.jsonl --figures {out}/f --methods no_filter --width-in 3",
        f"figures --results accuracy.jsonl --figures {out}/f",
        "models show binary.npz",
        "models show detector.npz --json",
        f"{attach} binary.npz --hook xdp-skb --flows 1024",
        f"{attach} multi.npz --hook xdp-skb --classifier nn --arithmetic q16 --flows 1024",
        f"{attach} detector.npz --hook tc --action redirect --confirm 0 --yes-drop --flows 1024",
        f"{attach} binary.npz --hook tc-both --classifier dt --offloads off --action filter --yes-drop --confirm 0",
        "status",
        "status lo --json",
        "swap lo --model binary.npz",
        "swap lo --model detector.npz --yes-drop",
        f"samples lo --count 1 --out {out}/s.pcap",
        "detach lo",
        "sweep --profile smoke --methods no_filter --flows one",
        f"record --seconds 1 --seed 1 --snaplen 96 --out {out}/r",
        "reproduce --profile smoke --only 06",
    ]
    known = {path.name for path in inputs.iterdir()}
    return [[str(inputs / word) if word in known else word for word in line.split()] for line in lines]


def subparser(argv: list[str]) -> tuple[argparse.ArgumentParser, int]:
    """Return the parser of a command line's options, and how many words name the command."""
    parser = make_parser()._subparsers._group_actions[0].choices[argv[0]]
    return (parser._subparsers._group_actions[0].choices[argv[1]], 2) if parser._subparsers else (parser, 1)


def groups(argv: list[str]) -> list[list[str]]:
    """Return the words of a command line, each option with its values."""
    out: list[list[str]] = []
    for word in argv:
        if out and not word.startswith("--") and out[-1][0].startswith("--"):
            out[-1].append(word)
        else:
            out.append([word])
    return out


@st.composite
def command_lines(draw: st.DrawFn, valid: list[list[str]], values: list[str], broken: Path) -> list[str]:
    """Draw a valid command line, and drop, double, replace and add some of its words, or damage one of its files."""
    rng = draw(st.randoms(use_true_random=True))  # drawn one by one, the choices would be much alike from run to run
    argv = rng.choice([one for one in valid for _ in range(1 if one[0] in SLOW else 4)])
    parser, n = subparser(argv)
    head, rest = argv[:n], groups(argv[n:])
    options = [action for action in parser._actions if action.option_strings and action.dest != "help"]
    for change in rng.choices(("drop", "double", "replace", "add", "damage"), (1, 1, 2, 2, 2), k=rng.randint(0, 3)):
        group = rng.choice(rest) if rest else [""]
        if change == "add" and options:
            rest.append(_option(rng, rng.choice(options), values))
        elif rest and change == "drop":
            rest.remove(group)
        elif rest and change == "double":
            rest.append(list(group))
        elif change == "replace" and not group[-1].startswith("--"):
            group[-1] = rng.choice([*values, *NUMBERS])
        elif change == "damage":
            places = [(words, k) for words in rest for k, word in enumerate(words) if _is_input(word, broken)]
            for words, k in rng.sample(places, min(len(places), 1)):
                words[k] = str(_damaged(rng, Path(words[k]), broken))
    return [*head, *(word for words in rest for word in words)]


def _option(rng: random.Random, action: argparse.Action, values: list[str]) -> list[str]:
    """Draw an option with a value that it takes, or with a nasty one."""
    if action.nargs == 0:
        return [action.option_strings[0]]
    usual = sorted(action.choices or ()) or (NUMBERS if isinstance(action.type, partial) else values)
    return [action.option_strings[0], rng.choice(usual if rng.random() < 0.8 else values)]


def _is_input(word: str, broken: Path) -> bool:
    """Return whether a word is a file beside the folder of broken ones, and not itself broken."""
    path = Path(word)
    try:
        return stat.S_ISREG(path.lstat().st_mode) and path.parents[1] == broken.parent and path.parent != broken
    except (OSError, ValueError, IndexError):
        return False


def _damaged(rng: random.Random, path: Path, broken: Path) -> Path:
    """Return a copy of a file of which bytes are changed or the end is cut off; a zip file perhaps within a member."""
    out = broken / f"{rng.randrange(100)}{''.join(path.suffixes)}"
    if zipfile.is_zipfile(path) and rng.random() < 0.7:
        with zipfile.ZipFile(path) as old:
            members = {name: old.read(name) for name in old.namelist()}
        name = rng.choice(sorted(members))
        members[name] = _changed(rng, members[name])
        with zipfile.ZipFile(out, "w") as new:
            for name, member in members.items():
                new.writestr(name, member)
    else:
        out.write_bytes(_changed(rng, path.read_bytes()))
    return out


def _changed(rng: random.Random, data: bytes) -> bytes:
    if not data or rng.random() < 0.2:
        return data[: rng.randint(0, len(data))]
    out, most = bytearray(data), rng.choice((256, len(data)))  # headers stand in front
    for _ in range(rng.randint(1, 8)):
        out[rng.randrange(min(most, len(out)))] = rng.choice(b'0123456789-.,:"e{}[]\n \0\xff')
    return bytes(out)
