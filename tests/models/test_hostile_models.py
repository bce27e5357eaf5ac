"""Whatever is in a model's file: it is a model with which no arithmetic overflows, or refused with one sentence."""

import json
import math
import shutil
import subprocess
import zipfile
from dataclasses import replace
from hashlib import sha256

import hostile
import numpy as np
import pytest

from ids_repro import config
from ids_repro.models.model import Model
from ids_repro.models.model_file import HEADER, describe, read_model, write_model
from ids_repro.models.twins import DETECTOR_TWINS, TWINS
from ids_repro.native.layouts import STRUCTS

FLOATS = [0.0, -0.0, 1.0, -1.0, 5e-324, 1e-30, 1e30, 3.4e38, 1.7e308, -1.7e308, math.inf, -math.inf, math.nan]
VALUES = [
    None,
    True,
    -1,
    0,
    1,
    2**31,
    2**63,
    2**64,
    10**400,
    0.5,
    1e999,
    math.nan,
    "",
    "x",
    "0" * 64,
    "x" * 3000,
    [],
    {},
]
VALUES += [
    "\ud800",
    "\x1b[2J",
    "../../etc/passwd",
    "/etc/passwd\0",
    [[]] * 50,
    {"a": {"b": {}}},
    "binary",
    "multi",
    3.0,
]
RAW = [
    b"1e999",
    b"-" + b"9" * 4000,
    b"9" * 5000,
    b"[" * 20_000,
    b'{"a":' * 5_000,
    b"\xff\xfe",
    b"NaN",
    b'"\\ud800"',
    b"nul",
]
NAMES = [
    "../x.npy",
    "/etc/cron.d/x",
    "header.npy/",
    "",
    "a" * 70,
    "header.npy\0.txt",
    "weights_1",
    "\u202e.npy",
    "C:\\x.npy",
]
MOST_STRUCTS = 400  # of models that were accepted, so many are run in C


@pytest.fixture(scope="module")
def seeds(models, detector, tmp_path_factory) -> list[bytes]:
    """Return the bytes of a model's file of each kind."""
    folder = tmp_path_factory.mktemp("seeds")
    bare = replace(models["multi"], twins=None, thresholds=None, alpha=None)
    kinds = {"binary": models["binary"], "multi": models["multi"], "detector": detector, "bare": bare}
    return [write_model(model, folder / name).read_bytes() for name, model in kinds.items()]


def opened(path) -> dict[str, bytes]:
    """Return the members of a file."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def with_numbers(rng, members: dict[str, bytes]) -> None:
    """Change numbers of one member."""
    name = rng.choice([one for one in members if one != f"{HEADER}.npy"])
    npy = members[name]
    begin = 10 + int.from_bytes(npy[8:10], "little")
    descr = npy[10:begin].decode("latin-1")
    words = np.frombuffer(npy[begin:], np.uint8).copy()
    kind = "<f4" if "'<f4'" in descr else "<f8" if "'<f8'" in descr and "[" not in descr else "<i8"
    if len(words) % np.dtype(kind).itemsize or not len(words):
        return
    words = words.view(kind)
    some = rng.choice((1, 1, 1, 2, 5, len(words)))
    for at in rng.sample(range(len(words)), min(some, len(words), 64)):
        if kind == "<i8":
            near = int(words[at]) + rng.choice((-1, 1, 1 << 12, 1 << 16, 1 << 32))
            words[at] = np.int64(rng.choice((rng.choice(hostile.NUMBERS), (near + 2**63) % 2**64 - 2**63)))
        else:
            with np.errstate(over="ignore"):
                words[at] = rng.choice(FLOATS) if rng.random() < 0.5 else words[at] * rng.choice((-1, 2, 1e6, 1e30))
    if rng.random() < 0.1:
        words[:] = words[0]
    members[name] = npy[:begin] + words.tobytes()


def with_struct(rng, members: dict[str, bytes]) -> None:
    """Change numbers of one field of a struct by little, or to an end of what it may be."""
    names = [name for name in STRUCTS if f"{name}.npy" in members]
    if not names:
        return
    name = rng.choice(names)
    npy = members[f"{name}.npy"]
    if len(npy) < STRUCTS[name].dtype.itemsize:
        return
    struct = np.frombuffer(npy[-STRUCTS[name].dtype.itemsize :], STRUCTS[name].dtype).copy()
    values = struct[rng.choice(struct.dtype.names)].reshape(-1)
    ends = [range_end + one for range_end in (1 << 15, 1 << 45, 1 << 46, 1 << 47, 1 << 62) for one in (-1, 0, 1)]
    for at in rng.sample(range(len(values)), min(len(values), rng.choice((1, 1, 2, 12, 5000)))):
        old, most = int(values[at]), np.iinfo(values.dtype).max
        new = rng.choice((0, -old, old - 1, old + 1, old // 2, 2 * old, rng.choice(ends), -rng.choice(ends)))
        new = rng.choice((new, new, old // 4096 + (rng.randrange(1 << 48) - (1 << 47)))) if name == "dt" else new
        values[at] = max(-most - 1, min(most, new))
    members[f"{name}.npy"] = npy[: len(npy) - len(struct.tobytes())] + struct.tobytes()


def with_header(rng, members: dict[str, bytes]) -> None:
    """Change a value of the JSON text, or the text itself."""
    npy = members.get(f"{HEADER}.npy", b"")
    text = npy[10 + int.from_bytes(npy[8:10], "little") :]
    try:
        found = node = json.loads(text)
    except (ValueError, RecursionError):
        return
    while isinstance(node, dict) and node:
        key = rng.choice(list(node))
        if not isinstance(node[key], dict) or rng.random() < 0.4:
            break
        node = node[key]
    match rng.randrange(6):
        case 0:
            node.pop(key, None)
        case 1:
            node[rng.choice(("code", "__class__", "\x1b[2J\n", "x" * 3000, "", "seed", "about"))] = rng.choice(VALUES)
        case 2:
            text = (
                text.replace(b"\n }", b',\n  "seed": 7\n }', 1) if rng.random() < 0.5 else text[:-1] + b', "seed": 7}'
            )
            found = None
        case 3:
            at = text.find(b":", rng.randrange(len(text))) + 1 if rng.random() < 0.9 else 0
            end = min(i for i in (*(text.find(c, at) for c in (b",", b"\n")), len(text)) if i >= at)
            text, found = text[:at] + rng.choice(RAW) + text[end:], None
        case 4:
            text, found = hostile.changed(rng, text, [text]), None
        case _:
            node[key] = rng.choice(VALUES)
    text = text if found is None else json.dumps(found).encode("utf-8", "surrogatepass")
    put(members, text)


def put(members: dict[str, bytes], text: bytes) -> None:
    """Make a text the header."""
    described = {"descr": "|u1", "fortran_order": False, "shape": (len(text),)}
    out = npy_start(described)
    members[f"{HEADER}.npy"] = out + text


def npy_start(described: dict) -> bytes:
    text = "".join(("{", *(f"{name!r}: {value!r}, " for name, value in described.items()), "}")).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + (len(text) % 65_536).to_bytes(2, "little") + text


def with_shape(rng, members: dict[str, bytes]) -> None:
    """Let a member claim another dtype, order or shape."""
    name = rng.choice(list(members))
    npy = members[name]
    begin = 10 + int.from_bytes(npy[8:10], "little")
    shape = rng.choice([(), (0,), (-1,), (1 << 40,), (1 << 62, 4), (2,) * 70, (-5, -5), (3.5,), "x", (10**400,)])
    descr = rng.choice(["<f4", "<f8", "<i8", "|O", "|V16", "<U9", "|u1", ">f4", [("a", "<f4")], "f4,O", "<M8", "zz"])
    start = npy_start({"descr": descr, "fortran_order": rng.choice((False, True, 7)), "shape": shape})
    members[name] = rng.choice((start + npy[begin:], start, hostile.changed(rng, npy[:begin], [start]) + npy[begin:]))


def with_bytes(rng, members: dict[str, bytes]) -> None:
    """Change bytes of a member."""
    name = rng.choice(list(members))
    members[name] = hostile.changed(rng, members[name], list(members.values()))


def with_names(rng, members: dict[str, bytes]) -> None:
    """Add, drop, rename or exchange members."""
    name, other = rng.choice(list(members)), rng.choice(list(members))
    match rng.randrange(4):
        case 0:
            members[rng.choice(NAMES)] = members[name]
        case 1:
            members[rng.choice(NAMES)] = members.pop(name)
        case 2:
            members.pop(name)
        case 3:
            members[name], members[other] = members[other], members[name]


CHANGES = [with_struct] * 4 + [with_numbers] * 2 + [with_header, with_shape, with_bytes, with_names]


def resealed(members: dict[str, bytes]) -> None:
    """Let the header have the SHA-256 of the structs as they are now."""
    npy = members.get(f"{HEADER}.npy", b"")
    try:
        found = json.loads(npy[10 + int.from_bytes(npy[8:10], "little") :])
        names = TWINS if found["detector"] is None else DETECTOR_TWINS
        structs = [members[f"{name}.npy"] for name in names]
        if found["sha256"] is None:
            return
    except (ValueError, KeyError, TypeError, RecursionError):
        return
    found["sha256"] = sha256(b"".join(s[10 + int.from_bytes(s[8:10], "little") :] for s in structs)).hexdigest()
    put(members, json.dumps(found).encode("utf-8", "surrogatepass"))


def hostile_file(rng, seeds: list[bytes], path) -> None:
    """Write a changed model file."""
    seed = rng.choice(seeds)
    path.write_bytes(seed)
    members = opened(path)
    if rng.random() < 0.9:
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            how = rng.choice(
                (*[with_struct] * 4, with_numbers, with_numbers, with_header, with_shape, with_bytes, with_names)
            )
            how(rng, members)
        if rng.random() < 0.9:
            resealed(members)
        how = rng.choice((zipfile.ZIP_STORED,) * 8 + (zipfile.ZIP_DEFLATED,))
        with zipfile.ZipFile(path, "w", how) as archive:
            for name, content in members.items():
                with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
                    member.write(content)
    if rng.random() < 0.15:
        whole = path.read_bytes()
        end = rng.choice((0, max(0, len(whole) - 3000)))  # the directory is at the end
        part = whole[end:] if end else whole[:4000]
        part = hostile.changed(rng, part, seeds)
        path.write_bytes(whole[:end] + part if end else part + whole[4000:])


def check(model: Model, path, again) -> None:
    """Check that a model that was accepted can be shown and stored, as the commands do."""
    json.dumps(describe(path), allow_nan=False).encode("utf-8", "backslashreplace")
    stored = read_model(write_model(model, again))
    if model.twins is not None:
        assert stored.sha256() == model.sha256()


def raised_in(error: BaseException) -> str:
    """Return the module of the standard library, or the file, whose code raised an error."""
    while (at := error.__traceback__) and at.tb_next:
        error = error.with_traceback(at.tb_next)
    return at.tb_frame.f_globals["__name__"].partition(".")[0]


def run_in_c(folder, structs: dict[tuple[str, int, bytes], None]) -> None:
    """Run the C of the classifiers on structs, without -fwrapv and with the sanitizers."""
    target = folder / "run_structs"
    flags = ["-g", "-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-I{config.BPF}"]
    source = config.ROOT / "tests/models/run_structs.c"
    subprocess.run([shutil.which("clang"), *flags, str(source), "-o", str(target)], check=True)
    names = []
    for number, (name, n_classes, content) in enumerate(structs):
        (folder / f"{number}").write_bytes(content)
        names += [name, str(n_classes), str(folder / f"{number}")]
    done = subprocess.run([target, *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("\n") == len(structs)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_hostile_file_is_refused_or_harmless(seeds, tmp_path):
    path, again, structs = tmp_path / "input.npz", tmp_path / "again.npz", {}
    rounds = hostile.Rounds()
    for rng in rounds:
        hostile_file(rng, seeds, path)
        before = path.read_bytes()
        with rounds.refusal():
            try:
                model = read_model(path)
            except config.UserError as error:
                text = str(error)
                assert text.isprintable() and len(text) < len(str(path)) + 400, text
                assert "cannot be read as a model (" not in text or raised_in(error.__context__) == "zipfile", text
                raise
            check(model, path, again)
            for name, twin in (model.twins or {}).items():
                if len(structs) < MOST_STRUCTS or rounds.number % 50 == 0:
                    structs[name, model.n_classes, twin.to_bytes()] = None
        assert path.read_bytes() == before
    print(rounds.number, rounds.ends, len(structs))
    assert rounds.ends["refused"] > 10 and rounds.ends["accepted"] > 2 and len(structs) > 2
    run_in_c(tmp_path, structs)
