"""Write and read a model's file: arrays and a JSON header in an .npz file. It is data, so it holds no code.

Reading needs NumPy alone. Whoever attaches a model is root and may have the file from somebody else. So everything in
it is checked: names, types and sizes before NumPy reads an array, and the numbers afterwards.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..config import MODELS, TASKS, UserError
from ..files import replaced, require_file
from .calibration import Threshold
from .file_header import FORMAT, Header, RefusedError
from .fixed import NO_FLAG
from .float_tree import NODE, FloatTree
from .model import Model, Seen
from .scaling import MinMax

AGAIN = "run notebooks 02 and 03 again, or train-detector for a detector"
HEADER = "header"  # the member that holds the JSON text
MOST_BYTES = 16 << 20  # of a file; a model has 2 MB, the widest 10, and more after very many epochs
MOST_TEXT = 64 << 10  # bytes of the JSON text; it has less than 2 KB
MOST_NPY = 4 << 10  # bytes that say what an array is, before its numbers; NumPy writes 128, and more for a struct
MOST_MEMBERS = 64  # a model has half of that


def model_path(kind: str, seed: int, folder: Path = MODELS) -> Path:
    """Return where `save_model` writes the model of a task, or the detector, of a seed."""
    return folder / f"{kind}-{seed}.npz"


def save_model(model: Model, folder: Path = MODELS) -> Path:
    """Write a model into a folder, as `write_model` does, and return its path."""
    kind = model.task if model.detector is None else "detector"
    return write_model(model, model_path(kind, model.seed, folder))


def write_model(model: Model, path: Path) -> Path:
    """Write a model's file and return its path.

    The file gets its name when it is complete, so no reader ever finds half a model. Equal models give equal files.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    with replaced(path) as file:
        np.savez(file, allow_pickle=False, **_arrays(model))
    return path


def _arrays(model: Model) -> dict[str, np.ndarray]:
    """Return the members of a model's file by name, the header first."""
    tree, quantized = model.float_tree, model.twins is not None
    values = {f"weights_{i}": w for i, w in enumerate(model.weights, start=1)}
    values |= {"scaler_min": model.scaler.min_, "scaler_range": model.scaler.range_}
    values |= {"history": [(epoch["loss"], epoch["accuracy"]) for epoch in model.history]}
    values |= {f"tree_{name}": column for name, column in tree.nodes.items()}
    values |= {"tree_values": tree.values, "tree_classes": tree.classes}
    found = [t for group in (model.thresholds[0], *model.thresholds[1]) for t in group] if model.thresholds else []
    values |= {f"threshold_{name}": [getattr(t, name) for t in found] for name in Threshold.__dataclass_fields__}
    values |= {name: np.frombuffer(model.params(name), np.uint8) for name in model.twins or ()}
    values |= {"alpha": model.alpha}
    header = Header(
        task=model.task,
        seed=model.seed,
        data_sha256=model.data_sha256,
        sha256=model.sha256() if quantized else None,
        nodes=len(tree.values),
        tree_classes=len(tree.classes),
        epochs=len(model.history),
        candidates=len(found[0].criterion) if found else 0,
        detector=model.detector and {name: asdict(seen) for name, seen in model.detector.items()},
        about=model.about,
        hidden=model.hidden,
    )
    out = {HEADER: np.frombuffer(header.text(), np.uint8)}
    for name, (dtype, shape) in header.members().items():
        value = np.asarray(values[name])
        out[name] = (value.view(dtype) if dtype.names else np.ascontiguousarray(value, dtype)).reshape(shape)
    return out


def load_model(task: str, seed: int, folder: Path = MODELS) -> Model:
    """Read the model of a task and seed that `save_model` wrote.

    Raises
    ------
    UserError
        If there is no such model, or the file holds another model, or for the reasons of `read_model`.
    """
    path = model_path(task, seed, folder)
    if not path.is_file():
        raise UserError(f"{path}: there is no such model yet; run notebooks 02 and 03 first, or 'make reproduce'")
    model = read_model(path)
    if (model.task, model.seed) != (task, seed):
        raise UserError(f"{path}: holds the {model.task} model of seed {model.seed}; {AGAIN}")
    return model


def read_model(path: Path) -> Model:
    """Read the model in a file, whatever its task and seed. Neither PyTorch nor scikit-learn is loaded.

    Raises
    ------
    UserError
        If there is no such file, or if it is damaged, holds no model, was written by another version of the code, or
        has a number that no model has.
    """
    require_file(path, "; notebooks 02 and 03 put models into data/models/")
    try:
        return _read(path)
    except PermissionError:
        raise  # it says all that there is to say
    except RefusedError as error:
        raise UserError(f"{path}: {error}; {AGAIN}") from None
    except Exception as error:  # a zip file that is damaged on purpose can fail in any way
        raise UserError(f"{path}: cannot be read as a model ({error!a:.200}); {AGAIN}") from None


def _read(path: Path) -> Model:
    """Read a model from a file; whatever is wrong with it is an exception."""
    if (size := path.stat().st_size) > MOST_BYTES:
        raise RefusedError(f"it has {size:,} bytes, and no model has more than {MOST_BYTES:,}")
    data = path.read_bytes()
    if not data.startswith(b"PK\3\4") or data[-22:-18] != b"PK\5\6":  # a file that is added to is none either
        text = "it is no complete .npz file, and older files (.joblib) are not read, because they could run code"
        raise RefusedError(f"cannot be read as a model: {text}")
    if data.count(b"PK\1\2") > MOST_MEMBERS:  # before each one's entry in the directory, which zipfile reads whole
        raise RefusedError(f"it has more than {MOST_MEMBERS} members, and no model has so many")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        header = Header.parse(_array(HEADER, _bytes(archive, HEADER, 0, MOST_TEXT)).tobytes())
        return _model(header, _members(archive, header))


def describe(path: Path) -> dict[str, Any]:
    """Return what is in a model's file, as JSON can hold it.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    dict
        "file"; "bytes"; "format"; "task"; "classes"; "seed"; "data_sha256"; "layers", the widths M_0 to M_L; "tree"
        ("depth", "leaves"); "epochs"; "accuracy", the best of an epoch on the validation part; "sha256"; "alpha", the
        threshold of each layer's input with which nn_q16 was made; "thresholds", those that the calibration chose
        ("inputs"; "columns" of each layer); "structs", the bytes of each integer model; "detector", "flag_at" and the
        fields of `Seen` for each integer model of a detector; "about". What the model does not have is None.

    Raises
    ------
    UserError
        As `read_model` does.
    """
    model = read_model(path)
    found = {"file": str(path), "bytes": path.stat().st_size, "format": FORMAT, "task": model.task}
    found |= {"classes": list(TASKS[model.task]), "seed": model.seed, "data_sha256": model.data_sha256}
    found |= {"layers": [len(model.weights[0]), *(w.shape[1] for w in model.weights)]}
    found |= {"tree": {"depth": model.float_tree.depth, "leaves": model.float_tree.n_leaves}}
    found |= {"epochs": len(model.history), "accuracy": max(epoch["accuracy"] for epoch in model.history)}
    found |= dict.fromkeys(("sha256", "alpha", "thresholds", "structs"))
    if model.thresholds is not None:
        inputs, columns = model.thresholds
        chosen = {"inputs": [t.alpha for t in inputs], "columns": [[t.alpha for t in layer] for layer in columns]}
        found |= {"alpha": list(model.alpha), "thresholds": chosen}
    if model.twins is not None:
        found |= {"sha256": model.sha256(), "structs": {name: len(model.params(name)) for name in model.twins}}
    seen = (model.detector or {}).items()
    flags = {name: {"flag_at": model.twins[name].flag_at, **asdict(one)} for name, one in seen}
    return found | {"detector": flags or None, "about": model.about}


def _bytes(archive: zipfile.ZipFile, name: str, least: int, most: int) -> bytes:
    """Read a member of the file if the numbers in it have `least` to `most` bytes by what the file says.

    A member must be stored uncompressed, so it cannot become larger than the file when it is read.
    """
    found = [one for one in archive.infolist() if one.filename == f"{name}.npy"]
    if len(found) != 1:
        raise RefusedError(f"it has {len(found)} members {name!r}, and a model has one")
    (info,) = found
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise RefusedError(f"its member {name!r} is compressed, and a model's is not")
    if not least < info.file_size <= most + MOST_NPY:
        raise RefusedError(f"its member {name!r} has {info.file_size:,} bytes, and a model's has about {most:,}")
    return archive.read(info)


def _array(name: str, npy: bytes, dtype: np.dtype | None = None, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Return the array in the bytes of an .npy file, which must be of this dtype and shape.

    Without a dtype it must be a line of bytes, of any length. What stands before the numbers is compared with what
    NumPy writes there, and NumPy reads only the numbers.
    """
    text, numbers = _parted(npy)
    dtype, shape = (np.dtype("u1"), (len(numbers),)) if dtype is None else (dtype, shape)
    expected = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(expected, described)
    if text != _parted(expected.getvalue())[0]:
        kind = f"the struct ids_{name}" if dtype.names else f"an array of {dtype.name} of shape {shape}"
        raise RefusedError(f"its member {name!r} is not {kind}")
    if len(numbers) != dtype.itemsize * int(np.prod(shape)):
        raise RefusedError(f"its member {name!r} is cut off")
    return np.frombuffer(numbers, dtype).reshape(shape).copy()


def _parted(npy: bytes) -> tuple[bytes, bytes]:
    """Return what an .npy file of format 1.0 says of its array, without the spaces at its end, and the numbers."""
    begin = len(np.lib.format.MAGIC_PREFIX) + 4
    end = begin + int.from_bytes(npy[begin - 2 : begin], "little")
    return npy[: begin - 2] + npy[begin:end].rstrip(b" \n"), npy[end:]


def _members(archive: zipfile.ZipFile, header: Header) -> dict[str, np.ndarray]:
    """Read all arrays of a file; nothing else may be in it."""
    members = header.members()
    for name in sorted(set(archive.namelist()) - {f"{name}.npy" for name in (HEADER, *members)}):
        raise RefusedError(f"it has a member {name!a:.40}, which no model has")
    out = {}
    for name, (dtype, shape) in members.items():
        size = dtype.itemsize * int(np.prod(shape))
        out[name] = _array(name, _bytes(archive, name, size, size), dtype, shape)
    return out


def _model(header: Header, arrays: dict[str, np.ndarray]) -> Model:
    """Make the model of a file's arrays, and check their numbers."""
    nodes = {name: arrays[f"tree_{name}"] for name in NODE}
    history = enumerate(arrays["history"].tolist())
    model = Model(
        task=header.task,
        seed=header.seed,
        weights=[arrays[name] for name in header.weights],
        float_tree=FloatTree(nodes, arrays["tree_values"], arrays["tree_classes"]),
        scaler=MinMax(arrays["scaler_min"], arrays["scaler_range"]),
        history=[{"epoch": epoch, "loss": loss, "accuracy": accuracy} for epoch, (loss, accuracy) in history],
        data_sha256=header.data_sha256,
        thresholds=_thresholds(header, arrays),
        alpha=tuple(arrays["alpha"].tolist()) if "alpha" in arrays else None,
        twins=_twins(header, arrays),
        detector=header.detector and {name: Seen(**seen) for name, seen in header.detector.items()},
        about=header.about,
    )
    for name in (*header.weights, "history"):
        if not np.isfinite(arrays[name]).all():
            raise RefusedError(f"a number of its {name} is not finite")
    if np.any(model.scaler.range_ < 1):
        raise RefusedError("the width of a feature in its scaler is below 1")
    if fault := model.float_tree.fault(model.n_classes):
        raise RefusedError(fault)
    if header.sha256 is not None and model.sha256() != header.sha256:
        raise RefusedError("its SHA-256 is not that of its integer models")
    return model


def _thresholds(header: Header, arrays: dict[str, np.ndarray]) -> tuple[list[Threshold], list[list[Threshold]]] | None:
    """Return what `calibration.thresholds` returned: the thresholds of the inputs, and of the columns of each layer."""
    if "alpha" not in arrays:
        return None
    parts = {name: arrays[f"threshold_{name}"] for name in Threshold.__dataclass_fields__}
    for alpha in (arrays["alpha"], parts["alpha"]):
        if not np.all(np.isfinite(alpha) & (alpha > 0)):
            raise RefusedError("a threshold alpha is not a positive number")
    edges, counts, criterion = parts["edges"], parts["counts"], parts["criterion"]
    # the criterion of a threshold that no method would choose is infinite
    rising = np.isfinite(edges).all() and np.all(edges[:, 1:] > edges[:, :-1])
    if not rising or np.any(counts < 0) or np.isnan(criterion).any():
        raise RefusedError("a histogram of its thresholds is damaged")
    made = [
        Threshold(float(alpha), *rest) for alpha, *rest in zip(parts["alpha"], counts, edges, criterion, strict=True)
    ]
    ends = np.cumsum([len(header.shapes), *(n_out for _, n_out in header.shapes)])
    return made[: ends[0]], [made[begin:end] for begin, end in zip(ends, ends[1:], strict=False)]


def _twins(header: Header, arrays: dict[str, np.ndarray]) -> dict[str, Any] | None:
    """Return the integer models, each made of its struct."""
    if header.sha256 is None:
        return None
    twins = {name: twin.read(arrays[name], header.n_classes, header.hidden) for name, twin in header.twins.items()}
    for name, twin in twins.items():
        if fault := twin.fault(header.n_classes):
            raise RefusedError(fault)
        if (getattr(twin, "flag_at", NO_FLAG) == NO_FLAG) != (header.detector is None):
            raise RefusedError(f"a detector, and no other model, has a threshold; ids_{name} is otherwise")
        if twin.to_bytes() != arrays[name].tobytes():
            raise RefusedError(f"the struct ids_{name} has numbers where {header.n_classes} classes use none")
    return twins
