"""A model file: it is read as it was saved, without code and without heavy libraries, and any fault is one sentence.

Covers also: ids_repro.models.file_header, whose checks are those of the file, and ids_repro.models.twins.
"""

import io
import json
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from ids_repro import config
from ids_repro.data.features import as_float
from ids_repro.evaluate import parity_vectors
from ids_repro.models import file_header, pipeline
from ids_repro.models.int_mlp_fused import pack_lanes, unpack_lanes
from ids_repro.models.model_file import HEADER, describe, load_model, model_path, read_model, save_model
from ids_repro.models.twins import DETECTOR_TWINS, TWINS
from ids_repro.native import layouts
from ids_repro.native.layouts import MLP_FUSED, Struct

AGAIN = "; run notebooks 02 and 03 again, or train-detector for a detector"


@pytest.fixture
def path(models, tmp_path):
    return save_model(models["binary"], tmp_path)


def members(path) -> dict[str, np.ndarray]:
    """Read the members of a file."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def refused(path) -> str:
    """Read a file that has to be refused with one sentence, which names it; return what it says of the reason."""
    with pytest.raises(config.UserError) as caught:
        read_model(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ") and said.endswith(AGAIN) and "\n" not in said and said.isprintable()
    assert len(said) < len(str(path)) + 400
    return said.removeprefix(f"{path}: ").removesuffix(AGAIN)


@pytest.mark.parametrize("task", config.TASKS)
@pytest.mark.parametrize("quantized", [True, False])
def test_what_was_saved_is_read_bit_for_bit(models, flows, tmp_path, task, quantized):
    model = models[task] if quantized else replace(models[task], twins=None, thresholds=None, alpha=None)
    save_model(model, tmp_path)
    assert list(tmp_path.iterdir()) == [model_path(task, 0, tmp_path)]
    again = load_model(task, 0, tmp_path)
    same = ("task", "seed", "history", "data_sha256", "alpha", "detector", "about")
    assert all(getattr(again, name) == getattr(model, name) for name in same)
    x = np.concatenate([flows.x, parity_vectors.random_vectors(2_000, seed=1)])
    np.testing.assert_array_equal(again.tree.predict_proba(as_float(x)), model.tree.predict_proba(as_float(x)))
    scaled = model.scaler.transform(x)
    np.testing.assert_array_equal(again.scaler.transform(x), scaled)
    np.testing.assert_array_equal(again.mlp.inputs(scaled)[2], model.mlp.inputs(scaled)[2])
    np.testing.assert_array_equal(again.mlp.predict(scaled), model.mlp.predict(scaled))
    if quantized:
        assert again.sha256() == model.sha256() and again.params("nn_float") == model.params("nn_float")
        for name, twin in model.twins.items():
            np.testing.assert_array_equal(again.twins[name].logits(x), twin.logits(x))
            np.testing.assert_array_equal(again.twins[name].predict(x), twin.predict(x))
        one, other = ([*m.thresholds[0], *(t for layer in m.thresholds[1] for t in layer)] for m in (again, model))
        for ours, theirs in zip(one, other, strict=True):
            for field in ("alpha", "counts", "edges", "criterion"):
                np.testing.assert_array_equal(getattr(ours, field), getattr(theirs, field))


def test_a_model_quantized_after_it_was_read_is_the_same(models, flows, tmp_path):
    floats = replace(models["multi"], twins=None, thresholds=None, alpha=None)
    read = read_model(save_model(floats, tmp_path))
    assert pipeline.quantize_model(read, flows).sha256() == models["multi"].sha256()


def test_equal_models_give_equal_files_and_a_method_without_a_criterion_is_kept(models, flows, path, tmp_path):
    assert save_model(read_model(path), tmp_path / "again").read_bytes() == path.read_bytes()
    widest = pipeline.quantize_model(models["binary"], flows, method="max")
    assert read_model(save_model(widest, tmp_path / "max")).thresholds[0][0].criterion.shape == (0,)


def test_what_a_detector_stores_is_kept(detector, everything, tmp_path):
    path = save_model(detector, tmp_path)
    again = read_model(path)
    assert path.name == "detector-0.npz" and save_model(again, tmp_path / "again").read_bytes() == path.read_bytes()
    assert (again.detector, again.about, again.sha256()) == (detector.detector, detector.about, detector.sha256())
    for name, twin in detector.twins.items():
        assert again.twins[name].flag_at == twin.flag_at
        np.testing.assert_array_equal(again.twins[name].logits(everything.x), twin.logits(everything.x))
    told = json.loads(json.dumps(describe(path)))
    assert told["detector"]["dt"]["flag_at"] == detector.twins["dt"].flag_at and told["about"]["data"] == "lab capture"
    assert told["thresholds"] is None and set(told["structs"]) == {"nn_log2", "dt"}


def test_every_integer_model_can_be_written_and_read():
    assert {*TWINS, *DETECTOR_TWINS} == set(layouts.STRUCTS) - {"nn_float"}


def test_lanes_are_unpacked_as_they_were_packed():
    weights = np.random.default_rng(0).integers(-(1 << 31), 1 << 31, (12, 16))
    np.testing.assert_array_equal(unpack_lanes(pack_lanes(weights)), weights)


def test_reading_needs_numpy_alone(path):
    code = f"""
import pathlib, sys
before = set(sys.modules)
from ids_repro.models.model_file import describe, read_model
path = pathlib.Path({str(path)!r})
read_model(path).sha256(), read_model(path).params("nn_fused"), describe(path)
print(*{{name.partition(".")[0] for name in set(sys.modules) - before}} - sys.stdlib_module_names)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=config.ROOT, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"ids_repro", "numpy"}


@pytest.mark.parametrize("cut", [0, 10, 0.5, 0.99])
def test_a_file_that_is_cut_off_is_refused(path, cut):
    whole = path.read_bytes()
    path.write_bytes(whole[: cut if isinstance(cut, int) else int(cut * len(whole))])
    assert "cannot be read as a model: it is no complete .npz file" in refused(path)


@pytest.mark.parametrize("where", ["in front", "behind", "both"])
def test_a_file_with_bytes_around_it_is_refused(path, where):
    """It could be a program or a picture at the same time."""
    whole = path.read_bytes()
    path.write_bytes(b"#!/bin/sh\n" * (where != "behind") + whole + b"\0" * 30 * (where != "in front"))
    assert "it is no complete .npz file" in refused(path)


def test_a_directory_of_very_many_members_is_not_read(path):
    """8 MB of entries would become 100 MB in zipfile."""
    whole = path.read_bytes()
    size, begin = struct.unpack("<II", whole[-10:-2])
    end = whole[-22:-10] + struct.pack("<II", 46 * 120_000, begin) + b"\0\0"
    path.write_bytes(whole[:begin] + (b"PK\1\2" + bytes(42)) * 120_000 + end)
    tracemalloc.start()
    try:
        assert "it has more than 64 members" in refused(path)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("at", [0.02, 0.5, 0.9])
def test_a_file_with_a_wrong_byte_is_refused(path, at):
    whole = bytearray(path.read_bytes())
    whole[int(at * len(whole))] ^= 255
    path.write_bytes(whole)
    assert "Bad CRC-32" in refused(path)


def test_what_is_no_file_or_too_large_a_file(path, tmp_path):
    none, folder = tmp_path / "none.npz", tmp_path
    for what, said in ((none, "there is no such file; notebooks"), (folder, "is a folder; give a file")):
        with pytest.raises(config.UserError, match=f"{what}: {said}"):
            read_model(what)
    with path.open("ab") as file:
        file.truncate(1 << 40)  # a file with a hole
    assert "no model has more than" in refused(path)


class Code:
    """What a pickle holds of this object runs code in whoever unpickles it."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return exec, (f"open({str(self.mark)!r}, 'w')",)


def test_a_pickle_is_never_unpickled(path, tmp_path):
    arrays, mark = members(path), tmp_path / "ran"
    objects = np.array([Code(mark)], object)
    for name in ("binary-0.joblib", "binary-0.npz"):
        (tmp_path / name).write_bytes(objects.dumps())
        assert "older files (.joblib) are not read, because they could run code" in refused(tmp_path / name)
    for member in ("weights_1", "tree_classes", "dt", HEADER, "extra"):
        np.savez(path, **arrays | {member: objects})
        assert f"member '{member}" in refused(path)
    assert not mark.exists()
    with np.load(path, allow_pickle=True) as trusted:
        trusted["extra"]
    assert mark.exists(), "the pickle has to run code where somebody trusts it"


def changed(name: str, at: object, value: object, field: str | None = None):
    """Return a function that changes numbers of one member."""

    def change(arrays):
        arrays[name] = arrays[name].copy()
        (arrays[name] if field is None else arrays[name][field])[at] = value

    return change


def made(name: str, make):
    """Return a function that puts something else in the place of a member."""
    return lambda arrays: arrays.update({name: make(arrays[name])})


def header(**values):
    """Return a function that changes values of the header; None takes a value away."""

    def change(arrays):
        found = json.loads(arrays[HEADER].tobytes()) | values
        text = json.dumps({name: value for name, value in found.items() if values.get(name, "") is not None})
        arrays[HEADER] = np.frombuffer(text.encode(), np.uint8)

    return change


def text(content: bytes):
    """Return a function that puts a text in the place of the header."""
    return made(HEADER, lambda _: np.frombuffer(content, np.uint8))


def without(name: str):
    return lambda arrays: arrays.pop(name)


def swapped_children(arrays):
    """Let node 1 be its own grandchild: the walk down the tree would never end."""
    changed("tree_left_child", 2, 1)(arrays)


def large_input(arrays):
    """Let a feature become larger than the first layer's activations may be."""
    changed("nn_fused", 3, 1 << 46, "range")(arrays)
    changed("nn_fused", 3, 1, "shift")(arrays)


INF, NAN = float("inf"), float("nan")
FLOATS = "'weights_1' is not an array of float32 of shape (12, 16)"
OTHER = "a model of another version of ids_repro "
FAULTS = {
    "a member missing": (without("weights_2"), "it has 0 members 'weights_2', and a model has one"),
    "no header": (without(HEADER), "it has 0 members 'header'"),
    "a struct missing": (without("dt"), "it has 0 members 'dt'"),
    "a member too many": (lambda arrays: arrays.update(extra=np.ones(3)), "it has a member 'extra.npy'"),
    "other dtype": (made("weights_1", np.float64), FLOATS),
    "a member too large": (made("weights_1", lambda _: np.zeros(5_000)), "'weights_1' has 40,128 bytes, and a model's"),
    "dtype of the same size": (
        made("weights_1", lambda w: w.view(np.int32)),
        "not an array of float32 of shape (12, 16)",
    ),
    "other byte order": (made("weights_1", lambda w: w.astype(">f4")), FLOATS),
    "other shape": (made("weights_1", lambda w: w.reshape(16, 12)), FLOATS),
    "columns first": (made("weights_1", np.asfortranarray), FLOATS),
    "a scaler of floats": (
        made("scaler_min", lambda m: m * 1.0),
        "'scaler_min' is not an array of int64",
    ),
    "bytes for a struct": (made("dt", lambda s: np.frombuffer(s.tobytes(), "u1")), "'dt' is not the struct ids_dt"),
    "text in the header's place": (text(b"accuracy = 1.0"), "its header is no JSON object"),
    "a list in the header's place": (text(b"[]"), "its header is no JSON object"),
    "no UTF-8": (text(b"\xff\xfe{"), "its header is no JSON object"),
    "brackets without end": (text(b"[" * 60_000), "its header is no JSON object"),
    "a header too long": (text(b" " * 70_000), "'header' has 70,128 bytes"),
    "other format": (header(format=2), OTHER + "(its format is 2, this one's 3)"),
    "no format": (header(format=None), OTHER + "(its format is 'not given', this one's 3)"),
    "other structs": (header(structs={"nn_q16": 1}), OTHER + "(its dt is 'not given', this one's 32776)"),
    "a control code": (header(structs={"\x1b[2J\n": 1}), OTHER + "(its \\x1b[2J\\n is 1, this one's"),
    "structs that are none": (header(structs=[1]), OTHER + "(its structs is [1], this one's {"),
    "other task": (header(task="triple"), "its task is 'triple', not one of binary, multi"),
    "a task that is a list": (header(task=["binary"]), "its task is ['binary'], not one of"),
    "other classes": (header(classes=["Normal", "\x1b[31mAttack"]), "its classes are not those of the binary task"),
    "the classes of another task": (header(task="multi", classes=list(config.CLASSES)), "member 'weights_3'"),
    "a seed that is none": (header(seed=True), "its seed is True, and it must be a whole number"),
    "a seed below 0": (header(seed=-1), "its seed is -1, and it must be a whole number from 0"),
    "a key missing": (header(seed=None), "its header has no 'seed'"),
    "a key too many": (header(code="x"), "its header has 'code', which no model has"),
    "a control character": (header(**{"\x1b[2J\n": 1}), "its header has '\\x1b[2J\\n', which no model has"),
    "a hash that is none": (header(data_sha256="0"), "its data_sha256 is no SHA-256"),
    "another hash": (header(sha256="0" * 64), "its SHA-256 is not that of its integer models"),
    "too many nodes": (
        header(nodes=1 << 40),
        "it must be a whole number from 1 to 4096",
    ),
    "other number of nodes": (header(nodes=3), "member 'tree_left_child' is not an array of int64 of shape (3,)"),
    "other number of candidates": (header(candidates=7), "its candidates are 7, and there are 0 or 1921"),
    "a detector without parts": (header(detector={}), "a binary model that has nn_log2 and dt"),
    "a detector that is a list": (header(detector=[1]), "a binary model that has nn_log2 and dt"),
    "a key twice": (text(b'{"task": "binary", "task": "multi"}'), "its header has a name twice in one object"),
    "a number too long to be read": (text(b'{"seed": ' + b"9" * 5_000 + b"}"), "its header is no JSON object"),
    "a number of 4,000 digits": (header(about={"epochs": 10**4_000}), "its 'about' has 'epochs'"),
    "too much about it": (header(about=dict.fromkeys(map(str, range(40)), 1)), "an object of at most 32 entries"),
    "a long text about it": (header(about={"data": "x" * 2_001}), "its 'about' has 'data'"),
    "a list about it": (header(about={"data": [1]}), "its 'about' has 'data'"),
    "an infinite number about it": (header(about={"epochs": INF}), "its 'about' has 'epochs'"),
    "a weight, NaN": (changed("weights_2", (3, 4), NAN), "a number of its weights_2 is not finite"),
    "a weight, infinite": (changed("weights_3", (3, 1), INF), "a number of its weights_3 is not finite"),
    "a loss, NaN": (changed("history", (0, 0), NAN), "a number of its history is not finite"),
    "a width of zero": (changed("scaler_range", 5, 0), "the width of a feature in its scaler is below 1"),
    "alpha, NaN": (changed("alpha", 1, NAN), "a threshold alpha is not a positive number"),
    "alpha, zero": (changed("threshold_alpha", 1, 0), "a threshold alpha is not a positive number"),
    "alpha, infinite": (changed("threshold_alpha", 20, INF), "a threshold alpha is not a positive number"),
    "an edge, NaN": (changed("threshold_edges", (0, 7), NAN), "a histogram of its thresholds is damaged"),
    "edges that fall": (changed("threshold_edges", (0, 7), 0), "a histogram of its thresholds is damaged"),
    "a count below zero": (changed("threshold_counts", (0, 7), -1), "a histogram of its thresholds is damaged"),
    "a criterion, NaN": (changed("threshold_criterion", (0, 7), NAN), "a histogram of its thresholds is damaged"),
    "a child out of range": (changed("tree_left_child", 0, 1 << 40), "a node index of the tree is out of range"),
    "a child below zero": (changed("tree_right_child", 0, -5), "a node index of the tree is out of range"),
    "a circle": (swapped_children, "a node index of the tree is out of range"),
    "a node of two parents": (changed("tree_right_child", 0, 1), "a node index of the tree is out of range"),
    "a feature of the tree": (changed("tree_feature", 0, 12), "a feature index of the tree is out of range"),
    "a class of the tree": (
        changed("tree_classes", 1, 2),
        "a class of the tree is out of range",
    ),
    "a threshold of the tree": (changed("tree_threshold", 0, NAN), "a number of the tree is not finite"),
    "a share of the tree": (changed("tree_values", (0, 0), -0.5), "the tree has a negative share"),
    "a feature of dt": (changed("dt", 0, 12 << 12 | 2, "node"), "a feature index of dt is out of range"),
    "a child of dt": (changed("dt", 0, 4095, "node"), "a node index of dt is out of range"),
    "a tree of dt without nodes": (changed("dt", slice(None), 0, "node"), "a node index of dt is out of range"),
    "a lane": (changed("nn_fused", (1, 3, 2), 1 << 30, "w"), "nn_fused: a column's sum could leave its 32-bit lane"),
    "an upper lane": (changed("nn_fused", (0, 0, 0), -(1 << 62), "w"), "nn_fused: a column's sum could leave its"),
    "a shift": (changed("nn_fused", 0, 64, "shift"), "nn_fused: a shift is out of range: it is 1 to 48"),
    "a shift below zero": (changed("nn_fused", 0, -1, "shift"), "nn_fused: a shift is out of range"),
    "a multiplier": (changed("nn_fused", 0, 1 << 40, "mul"), "nn_fused: a multiplier is out of range: it is 1 to 2^15"),
    "an input": (large_input, "nn_fused: a feature becomes larger than 16383"),
    "a range of nn_fused": (changed("nn_fused", 0, 1 << 47, "range"), "nn_fused: the smallest value or the width"),
    "a range of nn_q16": (changed("nn_q16", 0, 0, "range"), "nn_q16: the smallest value or the width of a feature"),
    "a smallest value": (changed("nn_q16", 0, -(1 << 63), "min"), "nn_q16: the smallest value or the width"),
    "a reciprocal": (changed("nn_q16", 2, 5, "s"), "nn_q16: a multiplier s is not 1/range"),
    "a scale factor": (changed("nn_q16", 0, 1 << 60, "sigma"), "nn_q16: a scale factor is out of range"),
    "an overflow": (changed("nn_q16", (1, 3), 1 << 62, "dequant"), "layer 2 of the net overflows int64"),
    "an int8 of -128": (changed("nn_q16", (1, 3, 3), -128, "w"), "nn_q16: a weight is below -127"),
    "a column without use": (changed("nn_q16", (2, 9, 9), 1, "w"), "ids_nn_q16 has numbers where 2 classes use none"),
    "a lane without use": (changed("nn_fused", (2, 0, 7), 1, "w"), "ids_nn_fused has numbers where 2 classes use none"),
    "a number of dt": (changed("dt", 0, 77 << 16 | 2, "node"), "its SHA-256 is not that of its integer models"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_is_one_sentence(path, what):
    change, reason = FAULTS[what]
    arrays = members(path)
    change(arrays)
    np.savez(path, **arrays)
    assert reason in refused(path)


def test_a_column_of_the_fused_net_may_fill_its_lane_and_no_more(models, path):
    """The bound that is tested is the one that `bounds` gives."""
    net = models["binary"].twins["nn_fused"]
    most = max(bound.max() for bound in net.bounds())
    assert net.fault(2) is None and most > 1 << 30
    twice = replace(net, weights=[2 * net.weights[0], *net.weights[1:]])
    assert twice.fault(2) == "nn_fused: a column's sum could leave its 32-bit lane"
    assert net.fault(7) == "nn_fused tells 2 classes apart, the task has 7"
    assert models["binary"].twins["nn_q16"].fault(7) == "nn_q16 tells 2 classes apart, the task has 7"


def rewritten(path, name: str, npy: bytes, how: int = zipfile.ZIP_STORED) -> None:
    """Put other bytes in the place of a member's .npy file."""
    with zipfile.ZipFile(path) as archive:
        files = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for filename, content in (files | {f"{name}.npy": npy}).items():
            archive.writestr(filename, content, how if filename == f"{name}.npy" else zipfile.ZIP_STORED)


@pytest.mark.parametrize("how", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_bomb_is_not_unpacked(path, how):
    rewritten(path, "weights_1", bytes(16 << 20), how)
    assert path.stat().st_size < 3 << 20
    assert "its member 'weights_1' is compressed, and a model's is not" in refused(path)


def test_a_size_that_a_file_only_claims_is_not_believed(path):
    """The zip file's own directory says that a member has 1 GB more, or the .npy file that its array has 8 TB."""
    whole = path.read_bytes()
    at = whole.rindex(b"PK\x01\x02", 0, whole.rindex(b"weights_1.npy"))
    sizes = struct.pack("<II", 1 << 30, 1 << 30)
    path.write_bytes(whole[: at + 20] + sizes + whole[at + 28 :])
    assert "its member 'weights_1' has 1,073,741,824 bytes, and a model's has about 768" in refused(path)
    path.write_bytes(whole)
    claim = io.BytesIO()
    np.lib.format.write_array_header_1_0(claim, {"descr": "<f4", "fortran_order": False, "shape": (1 << 41,)})
    rewritten(path, "weights_1", claim.getvalue() + bytes(768))
    assert "its member 'weights_1' is not an array of float32 of shape (12, 16)" in refused(path)


@pytest.mark.parametrize("size", [0, 5, 10, 128, 700])
def test_a_member_that_is_cut_off(path, size):
    with zipfile.ZipFile(path) as archive:
        npy = archive.read("history.npy") + archive.read("weights_1.npy")
    rewritten(path, "weights_1", npy[:size])
    assert "its member 'weights_1'" in refused(path)
    rewritten(path, "weights_1", members_npy(np.zeros((12, 16), "f4"))[:-4])
    assert "its member 'weights_1'" in refused(path)


def members_npy(array: np.ndarray) -> bytes:
    """Return an array as an .npy file."""
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice(path):
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("weights_1.npy", members_npy(np.zeros((12, 16), "f4")))
    assert "it has 2 members 'weights_1', and a model has one" in refused(path)


def test_a_model_of_other_code_is_refused(path, monkeypatch):
    wider = np.dtype([*MLP_FUSED.descr, ("bias", "i8", 16)])
    monkeypatch.setitem(layouts.STRUCTS, "nn_fused", Struct(wider, logits=True))
    size = wider.itemsize
    assert f"its nn_fused is {size - 128}, this one's {size}" in refused(path)
    monkeypatch.undo()
    monkeypatch.setattr(file_header, "FORMAT", 4)
    assert "its format is 3, this one's 4" in refused(path)


def test_a_file_under_another_name_is_refused(path, tmp_path):
    with pytest.raises(config.UserError, match="run notebooks 02 and 03 first"):
        load_model("multi", 3, tmp_path)
    path.rename(model_path("multi", 3, tmp_path))
    with pytest.raises(config.UserError, match="holds the binary model of seed 0; run notebooks 02 and 03 again"):
        load_model("multi", 3, tmp_path)


@pytest.mark.parametrize("task", config.TASKS)
def test_what_is_in_a_file_can_be_told(models, tmp_path, task):
    model = models[task]
    path = save_model(model, tmp_path)
    found = json.loads(json.dumps(describe(path)))
    assert (found["file"], found["bytes"], found["format"]) == (str(path), path.stat().st_size, file_header.FORMAT)
    assert (found["task"], found["classes"], found["seed"]) == (task, list(config.TASKS[task]), 0)
    assert (found["data_sha256"], found["sha256"]) == (model.data_sha256, model.sha256())
    assert found["layers"] == [12, 16, 16, model.n_classes]
    assert found["tree"] == {"depth": model.tree.get_depth(), "leaves": int(model.tree.get_n_leaves())}
    assert found["alpha"] == list(model.alpha)
    assert found["thresholds"]["inputs"] == [t.alpha for t in model.thresholds[0]]
    assert [len(layer) for layer in found["thresholds"]["columns"]] == [16, 16, model.n_classes]
    assert found["structs"] == {name: layouts.STRUCTS[name].dtype.itemsize for name in TWINS}
    assert found["accuracy"] == max(epoch["accuracy"] for epoch in model.history)
    floats = describe(save_model(replace(model, twins=None), tmp_path))
    absent = ("sha256", "structs", "detector")
    assert all(floats[name] is None for name in absent) and floats["layers"] == found["layers"]


DETECTOR_FAULTS = {
    "a share above 1": (dict.fromkeys(("budget", "false_alarms", "found"), 1.5), "is 1.5, and it must be from 0 to 1"),
    "a share, NaN": (dict.fromkeys(("budget", "false_alarms", "found"), NAN), "is nan, and it must be from 0 to 1"),
    "a share too few": ({"budget": 0.1}, "must have budget, false_alarms, found"),
    "a number": (0.5, "must have budget, false_alarms, found"),
}


@pytest.mark.parametrize("fault", DETECTOR_FAULTS)
def test_a_detector_with_a_wrong_share_is_refused(detector, tmp_path, fault):
    said, words = DETECTOR_FAULTS[fault]
    path = save_model(detector, tmp_path)
    arrays = members(path)
    header(detector={"dt": said, "nn_log2": said})(arrays)
    np.savez(path, **arrays)
    assert words in refused(path)
