"""The rules of the package: who may import whom, what must load fast, how long code may be, what stands in one place.

The rules about imports read the source, so an import inside a function or under TYPE_CHECKING counts like any other.
"""

import ast
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from ids_repro.config import BPF, ROOT

PACKAGE, TESTS = ROOT / "ids_repro", ROOT / "tests"

# The files at the top. Each may import those before it, and everything else may import all of them.
TOP = (
    *("trial_length", "config", "sources", "text", "locks", "temporary", "ownership", "files", "compressed", "require"),
    *("provenance", "progress", "cluster", "parallel", "implementations", "record_schema", "machine_load", "records"),
    *("metrics", "published"),
)
# A room, and the rooms that it may import.
ROOMS = {
    "native": (),
    "data": ("native",),
    "network": (),
    "models": ("data", "native"),
    "kernel": ("native", "network"),
    "evaluate": ("data", "models", "kernel", "native", "network", "lab"),
    "sweep": ("data", "network", "models", "kernel", "native"),
    "live": ("kernel", "models", "network", "native"),
    "lab": ("network", "data.labels"),
    "report": (),
}
LABELS = "data.labels"  # a room within a room: `lab` may import it, so it may import no other module of `data`
FOR_PEOPLE = ("explore", "notebooks", "stages", "cli", "__main__")  # these may import everything

MODULE_LINES, FUNCTION_LINES = 300, 45
HEAVY = {"torch", "sklearn", "bcc", "joblib"}

# Layouts outside native/layouts.py, and why they are not shared with the C of this project.
OTHER_LAYOUTS = {
    "ids_repro.kernel.bpf_syscall": "union bpf_attr of linux/bpf.h",
    "ids_repro.kernel.info": "struct bpf_prog_info, bpf_map_info and bpf_insn of linux/bpf.h",
    "ids_repro.data.packet_table": "the headers of a frame, in network byte order",
    "ids_repro.data.labels.flow_index": "rows of label files, which only Python reads",
}


def modules(package: Path) -> dict[str, Path]:
    """Return the file of every module by its dotted name; a folder's own name stands for its `__init__.py`."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(package: Path) -> dict[str, set[str]]:
    """Return the modules of the package that each of its modules imports."""
    known = modules(package)
    return {name: set(_imports(name, path, known)) & set(known) for name, path in known.items()}


def _imports(name: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    folder = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = folder[: len(folder) + 1 - node.level] if node.level else []
            source = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:  # a module of the folder `source`, or a name in the module `source`
                yield f"{source}.{alias.name}" if f"{source}.{alias.name}" in known else source


def nodes(path: Path) -> Iterator[ast.AST]:
    """Return every node of a file's syntax tree."""
    return ast.walk(ast.parse(path.read_text(), str(path)))


def allowed(module: str) -> tuple[str, ...] | None:
    """Return what a file at the top or a module of a room may import; None if it is not in the table."""
    if module in TOP:
        return TOP[: TOP.index(module)]
    room = module.split(".")[0]
    if room in FOR_PEOPLE:
        return (*TOP, *ROOMS, *FOR_PEOPLE)
    if module == LABELS or module.startswith(f"{LABELS}."):
        return (*TOP, LABELS, *ROOMS["data"])
    return (*TOP, room, *ROOMS[room]) if room in ROOMS else None


def wrong_imports(package: Path) -> list[str]:
    """Return a sentence for each import that the table does not allow, and for each file that is not in the table."""
    wrong, start = [], f"{package.name}."
    for name, others in imports(package).items():
        module, others = name.removeprefix(start), {other.removeprefix(start) for other in others}
        may = () if name == package.name else allowed(module)
        if may is None:
            wrong.append(f"{name} is not in the table of rooms")
            continue
        wrong += [
            f"{name} imports {start}{other}; {module.split('.')[0]} may import {', '.join(may) or 'nothing'}"
            for other in sorted(others - {package.name})
            if not any(other == one or other.startswith(f"{one}.") for one in may)
        ]
    return wrong


def circle(package: Path) -> list[str]:
    """Return modules that import each other in a circle, or nothing."""
    try:
        TopologicalSorter(imports(package)).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def none_of(violations: list[str]) -> None:
    """Fail with every violation in full; pytest's own message would shorten a list."""
    if violations:
        pytest.fail("\n".join(violations), pytrace=False)


def test_each_room_imports_only_what_the_table_allows():
    none_of(wrong_imports(PACKAGE))


def test_no_modules_import_each_other_in_a_circle():
    none_of(circle(PACKAGE))


@pytest.fixture
def made(tmp_path):
    """Write a small package; a test adds to it."""
    for name in ("__init__", "config", "records", "report/__init__", "report/page", "models/__init__", "models/model"):
        path = tmp_path / f"ids_repro/{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "ids_repro"


@pytest.mark.parametrize(
    ("module", "text", "imported"),
    [
        ("report.page", "from ..models.model import Model", "models.model"),
        ("report.page", "def draw():\n    from ..models import model", "models.model"),
        ("report.page", "if TYPE_CHECKING:\n    import ids_repro.models.model", "models.model"),
        ("report.page", "from ids_repro import config, models", "models"),
        ("config", "from . import records", "records"),
        ("records", "from .report.page import draw", "report.page"),
    ],
)
def test_a_wrong_import_is_reported_with_both_names(made, module, text, imported):
    (made / f"{module.replace('.', '/')}.py").write_text(text)
    (sentence,) = wrong_imports(made)
    assert sentence.startswith(f"ids_repro.{module} imports ids_repro.{imported}; {module.split('.')[0]} may import ")


def test_right_imports_and_a_file_without_a_room_are_told_apart(made):
    (made / "report/page.py").write_text("import numpy\nfrom .. import config, records\nfrom . import page")
    (made / "records.py").write_text("from .config import ROOT")
    assert wrong_imports(made) == []
    (made / "utils.py").touch()
    assert wrong_imports(made) == ["ids_repro.utils is not in the table of rooms"]


def test_a_circle_is_reported_with_its_names(made):
    (made / "config.py").write_text("def late():\n    from .records import read")
    (made / "records.py").write_text("from . import config")
    assert set(circle(made)) == {"ids_repro.config", "ids_repro.records"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_rooms_docstring_says_what_it_may_import(room):
    package = importlib.import_module(f"ids_repro.{room}")
    sentences = re.split(r"\.\s+", " ".join((package.__doc__ or "").split()))
    says = " ".join(sentence for sentence in sentences if "may import" in sentence)
    assert re.search(r"\btop\b", says), f"ids_repro.{room} does not say that it may import the files at the top"
    named = {other for other in ROOMS if other != room and re.search(rf"\b{other}\b", says)}
    assert named == {one.split(".")[0] for one in ROOMS[room]}, says
    assert all(one in says for one in ROOMS[room]), says


def test_each_package_lists_its_modules():
    known = modules(PACKAGE)
    for name, path in known.items():
        if path.name == "__init__.py" and name != "ids_repro":
            inside = {other.rpartition(".")[2] for other in known if other.rpartition(".")[0] == name}
            assert set(getattr(importlib.import_module(name), "__all__", ())) == inside, name


def loaded_by(names: list[str]) -> set[str]:
    """Return the packages outside the standard library that a new interpreter loads with these modules."""
    code = f"import sys\nbefore = set(sys.modules)\nimport {', '.join(names)}\nprint(*set(sys.modules) - before)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    return {name.split(".")[0] for name in run.stdout.split()} - sys.stdlib_module_names


def test_the_report_and_the_status_line_load_neither_pytorch_nor_scikit_learn_nor_bcc():
    report = [name for name in modules(PACKAGE) if name.startswith("ids_repro.report")]
    assert loaded_by(report) & HEAVY == set()
    assert loaded_by(["ids_repro.live.status"]) & HEAVY == set()


def test_a_sweep_and_the_comparison_of_kernels_load_no_pytorch_which_the_virtual_machines_lack():
    assert "torch" not in loaded_by(["ids_repro.sweep.run", "ids_repro.sweep.load_agent", "ids_repro.evaluate.kernels"])


def test_the_command_line_loads_a_room_only_when_its_command_runs():
    code = "from ids_repro.cli import make_parser; make_parser(); import sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {name.split(".")[0] for name in run.stdout.split()} & {"pandas", "matplotlib", "pyroute2", *HEAVY} == set()


def test_a_rooms_name_loads_nothing_heavier_than_numpy():
    rooms = [name for name, path in modules(PACKAGE).items() if path.name == "__init__.py"]
    assert loaded_by(rooms) <= {"ids_repro", "numpy"}


def test_modules_and_functions_are_short():
    long = []
    for name, path in modules(PACKAGE).items():
        n = len(path.read_text().splitlines())
        long += [f"{name} has {n} lines, at most {MODULE_LINES} are allowed"] if n > MODULE_LINES else []
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                n = node.end_lineno - node.lineno + 1
                much = f"{name}.{node.name} has {n} lines, at most {FUNCTION_LINES} are allowed"
                long += [much] if n > FUNCTION_LINES else []
    none_of(long)


def test_files_and_functions_of_c_are_short():
    long = []
    for path in (path for path in sorted(BPF.rglob("*")) if path.suffix in (".c", ".h")):
        lines = path.read_text().splitlines()
        if len(lines) > MODULE_LINES:
            long.append(f"{path.name} has {len(lines)} lines, at most {MODULE_LINES} are allowed")
        begins = [at for at, line in enumerate(lines) if line == "{"]
        for begin, end in ((at, lines.index("}", at)) for at in begins):
            if end - begin + 1 > FUNCTION_LINES:
                long.append(f"{path.name}:{begin}: the function has {end - begin + 1} lines")
    none_of(long)


def test_every_module_has_a_test_file_or_is_named_in_one():
    texts = "\n".join(path.read_text() for path in sorted(TESTS.rglob("test_*.py")) if path != Path(__file__))
    untested = []
    for name, path in modules(PACKAGE).items():
        own = TESTS / path.relative_to(PACKAGE).with_name(f"test_{path.stem}.py")
        if path.name != "__init__.py" and not own.exists() and not re.search(rf"\b{re.escape(name)}\b", texts):
            untested.append(f"{name} has no test file, and no other test file names it")
    none_of(untested)


def test_every_file_that_a_text_names_exists():
    """NAME stands for a file that a reader may add."""
    missing = []
    for path in [*ROOT.glob("*.md"), *(ROOT / "bpf").rglob("*.*"), *PACKAGE.rglob("*.py")]:
        named = set(re.findall(r"\b(?:tests|bpf|ids_repro)/[\w/.]+\.(?:py|h|c|md)\b", path.read_text()))
        missing += [f"{path} names {one}" for one in named if "NAME" not in one and not (ROOT / one).exists()]
    none_of(missing)


# Modules whose files run code when they are read.
CODE_IN_FILES = {"pickle", "cPickle", "_pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}
# Calls that run what a text or a file says, and what makes each of them safe; None if nothing does.
CALLS_OF_CODE = {
    r"(builtins\.)?(eval|exec)": None,
    r"(\w+\.)*read_pickle": None,
    r"(\w+\.)*unsafe_load|(\w+\.)*full_load": None,
    r"yaml\.load(_all)?": None,
    r"torch\.load": "weights_only=True",
    r"(np|numpy)\.load": "allow_pickle=False",
    r"(\w+\.)*read_array": "allow_pickle=False",
}


def runs_code(node: ast.AST) -> str | None:
    """Return the part of a program that could run code from a file, None if the node is none."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        wrong = [name for name in named if not getattr(node, "level", 0) and name.split(".")[0] in CODE_IN_FILES]
        return f"import of {wrong[0]}" if wrong else None
    if isinstance(node, ast.Call):
        name, given = ast.unparse(node.func), {ast.unparse(one) for one in node.keywords}
        for pattern, safe in CALLS_OF_CODE.items():
            if re.fullmatch(pattern, name) and safe not in given:
                return f"{name}() without {safe}" if safe else f"{name}()"
    return None


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("import joblib", "import of joblib"),
        ("from pickle import loads", "import of pickle"),
        ("import sklearn, cloudpickle.x", "import of cloudpickle.x"),
        ("torch.load(path)", "torch.load() without weights_only=True"),
        ("torch.load(path, weights_only=False)", "torch.load() without weights_only=True"),
        ("torch.load(path, weights_only=True)", None),
        ("np.load(path)", "np.load() without allow_pickle=False"),
        ("np.load(path, allow_pickle=False)", None),
        ("numpy.load(path, allow_pickle=True)", "numpy.load() without allow_pickle=False"),
        ("pd.read_pickle(path)", "pd.read_pickle()"),
        ("yaml.load(text)", "yaml.load()"),
        ("yaml.safe_load(text)", None),
        ("eval(text)", "eval()"),
        ("json.loads(text)", None),
        ("model.eval()", None),
        ("from .code import Code", None),
    ],
)
def test_what_could_run_code_from_a_file_is_recognised(line, part):
    assert [found for node in ast.walk(ast.parse(line)) if (found := runs_code(node))] == ([part] if part else [])


def test_no_file_that_a_user_hands_over_can_run_code():
    """In the package and the notebooks; a test may hand over a pickle, so of the tests the imports alone count."""
    trees = {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = [cell["source"] for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
        trees |= {f"{path.relative_to(ROOT)}, code cell {n}": ast.parse("".join(c)) for n, c in enumerate(cells, 1)}
    found = [(where, node) for where, tree in trees.items() for node in ast.walk(tree)]
    for path in sorted(TESTS.rglob("*.py")):
        found += [
            (path.relative_to(ROOT), node) for node in nodes(path) if isinstance(node, ast.Import | ast.ImportFrom)
        ]
    none_of([f"{where}:{node.lineno} has {part}" for where, node in found if (part := runs_code(node))])


# Calls that write a file, and the modules other than `files` that make them.
WRITERS = r"(\w+\.)*(write_text|write_bytes|savefig|to_parquet|savez\w*|copy\w*file|copytree|move|NamedTemporaryFile)"
WRITERS_OF_THEIR_OWN = {
    "ids_repro.cli.ending": "/dev/null",
    "ids_repro.records": "appends lines under a lock",
    "ids_repro.locks": "locks, which stay empty, and the journal of network.tuning",
    "ids_repro.network.setting_kinds": "/proc and /sys",
    "ids_repro.network.namespaces": "/proc",
    "ids_repro.data.labels.flow_index": "a file in a run's own folder",
    "ids_repro.data.parts": "a lock, which stays empty; moves finished parts between folders of its own",
    "ids_repro.live.leftovers": "renames a folder of pins in the BPF file system",
    "ids_repro.models.model_file": "np.savez into a file of `replaced`",
    "ids_repro.live.suspicious": "a pipe",
    "ids_repro.native.build": "renames what the compiler wrote into a private folder",
    "ids_repro.kernel.headers": "renames a private folder of links",
    "ids_repro.lab.files": "a temporary folder",
    "ids_repro.lab.actors": "a temporary folder",
    "ids_repro.lab.servers": "a temporary folder",
    "ids_repro.sweep.receivers": "a temporary folder",
}


def writes(node: ast.AST) -> bool:
    """Return whether a node writes a file, or puts one in another's place."""
    if not isinstance(node, ast.Call):
        return False
    name = ast.unparse(node.func).split(".")[-1]
    texts = [ast.unparse(one) for one in (*node.args, *(keyword.value for keyword in node.keywords))]
    if name == "open":
        return any(re.fullmatch(r"'[rbt]*[wax+][wax+bt]*'|.*O_(WRONLY|RDWR|CREAT)\b.*", text) for text in texts)
    if name in ("replace", "rename"):  # those of a path have one argument
        return isinstance(node.func, ast.Attribute) and len(node.args) == 1 and not node.keywords
    if name == "to_csv":
        return bool(node.args)
    return bool(re.fullmatch(WRITERS, name))


@pytest.mark.parametrize(
    ("line", "yes"),
    [
        ("path.open('wb')", True),
        ("open(path, mode='a')", True),
        ("path.open('rb')", False),
        ("os.open(path, os.O_RDONLY)", False),
        ("os.open(path, os.O_RDWR | os.O_CREAT)", True),
        ("part.replace(path)", True),
        ("text.replace('a', 'b')", False),
        ("replace(profile, trial_s=1)", False),
        ("frame.to_csv(path)", True),
        ("frame.to_csv(index=False)", False),
        ("shutil.copyfile(a, b)", True),
        ("figure.savefig(path)", True),
        ("path.write_bytes(b'')", True),
    ],
)
def test_a_call_that_writes_a_file_is_recognised(line, yes):
    assert any(map(writes, ast.walk(ast.parse(line)))) == yes


def test_files_are_written_in_one_place():
    found = {name for name, path in modules(PACKAGE).items() if any(map(writes, nodes(path)))}
    assert found == {"ids_repro.files", *WRITERS_OF_THEIR_OWN}


def rounds(node: ast.AST) -> bool:
    """Return whether a node makes text of a number with a fixed count of digits."""
    spec = node.format_spec if isinstance(node, ast.FormattedValue) else None
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "format" and len(node.args) == 2:
        spec = node.args[1]
    return bool(spec and re.search(r"\.(\d+|\{[^}]*\})[efg%]", ast.unparse(spec)))


@pytest.mark.parametrize(
    ("line", "yes"),
    [
        ("f'{x:.3f}'", True),
        ("f'{x:+,.0f}'", True),
        ("f'{x:.{n}f}'", True),
        ("format(x, '.1%')", True),
        ("f'{n:,}'", False),
        ("f'{name:8} {x:g}'", False),
        ("rounded(x, '.3f')", False),
    ],
)
def test_a_number_that_python_rounds_is_recognised(line, yes):
    assert any(map(rounds, ast.walk(ast.parse(line)))) == yes


def test_numbers_that_people_read_are_rounded_in_one_place():
    none_of(
        [
            f"{name}:{node.lineno} rounds by itself: use text.rounded"
            for name, path in modules(PACKAGE).items()
            for node in nodes(path)
            if rounds(node) and name not in ("ids_repro.text", "ids_repro.lab.activity")  # pauses of a shell script
        ]
    )


def defines_a_layout(node: ast.AST) -> bool:
    """Return whether a node is a ctypes structure, or fields of a structured dtype such as [("len", "u4"), ...]."""
    if isinstance(node, ast.ClassDef):
        return any(ast.unparse(base).endswith(("Structure", "Union")) for base in node.bases)
    if isinstance(node, ast.Dict):
        return {"names", "formats"} <= {key.value for key in node.keys if isinstance(key, ast.Constant)}
    return isinstance(node, ast.List) and any(
        isinstance(one, ast.Tuple) and re.match(r"\('\w+', '[<>=|]?[biufV]\d+'", ast.unparse(one)) for one in node.elts
    )


def test_layouts_shared_with_c_stand_in_one_module():
    found = {name for name, path in modules(PACKAGE).items() if any(map(defines_a_layout, nodes(path)))}
    assert found == {"ids_repro.native.layouts", *OTHER_LAYOUTS}


def test_locks_are_taken_in_one_place():
    """There a wait has an end, and whoever is waited for is named."""
    found = {
        name
        for name, path in modules(PACKAGE).items()
        if any(isinstance(node, ast.Attribute) and node.attr in ("flock", "lockf") for node in nodes(path))
    }
    assert found == {"ids_repro.locks"}


def test_one_module_makes_system_calls_by_number():
    """Bpf(2) and membarrier(2) have no function in libc, so a call goes through libc's `syscall`."""
    found = {
        name
        for name, path in modules(PACKAGE).items()
        if any(isinstance(node, ast.Attribute) and node.attr == "syscall" for node in nodes(path))
    }
    assert found == {"ids_repro.kernel.bpf_syscall"}


def test_nothing_lets_pyroute2_make_a_process_for_a_namespace():
    """It ends that process with SIGTERM, and the process has our handler: it would clean up what is still in use.

    `network.hosts.in_netns` is the way into a namespace.
    """
    none_of(
        [
            f"{path.relative_to(ROOT)}:{node.lineno} names a network namespace"
            for path in sorted([*modules(PACKAGE).values(), *TESTS.rglob("*.py")])
            for node in nodes(path)
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("IPRoute", "NetNS")
            if any(one.arg == "netns" for one in node.keywords) or ast.unparse(node.func).endswith("NetNS")
        ]
    )


def paths() -> set[str]:
    """Return the names of the package's global variables that are made as paths."""
    found = set()
    for path in modules(PACKAGE).values():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and re.search(r"\bPath\(| / ['\"]", ast.unparse(node.value)):
                found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def patched_by(node: ast.AST) -> list[str]:
    """Return the names that a node of a test gives another value for a while."""
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("setattr", "patch", "patch.object")):
        texts = [one.value for one in node.args[:2] if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        return [text.split(".")[-1] for text in texts]
    if isinstance(node, ast.Assign):
        return [target.attr for target in node.targets if isinstance(target, ast.Attribute)]
    return []


def test_no_test_patches_a_global_path_or_default_arguments_or_sleep():
    """What a test has to vary is a parameter."""
    forbidden = paths() | {"__defaults__", "sleep"}
    assert {"ROOT", "MODELS", "RESULTS"} <= forbidden
    none_of(
        [
            f"{path.relative_to(ROOT)}:{node.lineno} patches {name}"
            for path in sorted(TESTS.rglob("*.py"))
            for node in nodes(path)
            for name in patched_by(node)
            if name in forbidden
        ]
    )


def test_the_first_line_of_a_header_names_the_files_that_include_it():
    files = [path for path in sorted(BPF.rglob("*")) if path.suffix in (".c", ".h")]
    wrong = []
    for header in (path for path in files if path.suffix == ".h"):
        first = header.read_text().splitlines()[0]
        named = set(re.findall(r"[\w/.]+\.[ch]\b", first.split(":")[0]))
        include = re.compile(rf'#include "(\.\./|user/)?{re.escape(header.name)}"')
        by = {path for path in files if include.search(path.read_text())}
        if {path.name for path in by} != {Path(name).name for name in named}:
            wrong.append(f"{header.name} names {sorted(named)}, but {sorted(path.name for path in by)} read it")
    none_of(wrong)
