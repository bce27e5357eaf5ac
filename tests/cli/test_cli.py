"""The command line ends with an exit code and one sentence, without a traceback, after an error of the user.

Covers also: ids_repro.__main__ and ids_repro.cli.add.
"""

import ast
import json
import re
import struct
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest
from command_lines import write_captures

from ids_repro import config
from ids_repro.cli import main, make_parser, run_command
from ids_repro.stages import STAGES

HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)  # of a pcap
SCHEDULE = config.SAMPLE_LABELS
COMMANDS = ["reproduce", "figures", "record", "extract", "sweep", "parity", "bench"]
COMMANDS += ["attach", "status", "swap", "samples", "detach", "models", "accuracy", "train-detector", "detect"]


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines() if line.startswith("    ") and line[4] != " "] == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_that_begins_with_what_it_does(capsys, command):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: ids_repro {command} [-h]")


def test_importing_the_command_line_imports_no_library():
    code = "import sys, ids_repro.cli; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=config.ROOT, capture_output=True, text=True, check=True)
    assert "ids_repro" in done.stdout.split()
    assert not {"numpy", "pandas", "torch", "sklearn", "bcc", "matplotlib"} & set(done.stdout.split())


def test_python_m_ids_repro_is_the_command_line():
    command = [sys.executable, "-m", "ids_repro", "reproduce", "--profile", "huge"]
    done = subprocess.run(command, cwd=config.ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "ids_repro reproduce: there is no profile 'huge': use one of smoke, evening, paper\n"


@pytest.mark.parametrize("argv", [["reproduce", "--bogus", "1"], ["nothing"], []], ids=str)
def test_what_the_command_line_does_not_know(argv):
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code == 2


NUMBERS = {
    "--seconds": ("record", "a number from 1 to 86,400 s"),
    "--snaplen": ("record", "a whole number from 94 to 262,144 bytes"),
    "--seed": ("record", "a whole number from 0 to 4,294,967,295"),
    "--dedup-ms": ("extract a.pcap", "a number from 0 to 60,000 ms"),
    "--reorder-ms": ("extract a.pcap", "a number from 0 to 60,000 ms"),
    "--n": ("parity", "a whole number from 1 to 10,000,000"),
    "--seeds": ("accuracy", "a whole number from 1 to 1,000"),
    "--rounds": ("bench", "a whole number from 1 to 100,000"),
    "--confirm": ("attach lo --model a.npz", "a number from 0 to 3,600 s"),
    "--flows": ("attach lo --model a.npz", "a power of two from 1,024 to 4,194,304 flows"),
    "--count": ("samples lo", "a whole number from 1 to 1,000,000,000,000"),
    "--width-in": ("figures", "a number from 2 to 20 inches"),
    "--tree-depth": ("train-detector", "a whole number from 1 to 16"),
    "--false-alarms": ("detect", "a number above 0 and up to 0.5 (a share of normal flows)"),
}


@pytest.mark.parametrize("option", NUMBERS)
@pytest.mark.parametrize("value", ["-1", "nan", "inf", "1e99", "many", "", " ", "0x10", "1" * 5000, "5\n5"])
def test_a_number_out_of_range_is_one_sentence_that_names_the_option_and_the_range(refused, option, value):
    command, allowed = NUMBERS[option]
    said = refused(*command.split(), f"{option}={value}")
    assert f": {option} is " in said and said.endswith(f": use {allowed}\n")
    assert len(said) < 200


def test_every_option_that_takes_a_number_is_in_the_table_above():
    commands = make_parser()._subparsers._group_actions[0].choices
    actions = [action for command in commands.values() for action in command._actions]
    assert {action.option_strings[0] for action in actions if isinstance(action.type, partial)} == set(NUMBERS)
    assert {action.type for action in actions if not isinstance(action.type, partial)} == {None, Path}


def advice() -> dict[str, str]:
    """Return the text of each error that the package raises, by where it stands."""
    found = {}
    for path in sorted((config.ROOT / "ids_repro").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and node.exc is not None:
                texts = [one.value for one in ast.walk(node.exc) if isinstance(one, ast.Constant)]
                found[f"{path.name}:{node.lineno}"] = " ".join(text for text in texts if isinstance(text, str))
    return found


def test_errors_name_options_commands_targets_and_notebooks_that_exist():
    commands = make_parser()._subparsers._group_actions[0].choices
    options = {
        option for command in commands.values() for action in command._actions for option in action.option_strings
    }
    known = {
        r"(?<![\w-])(--[a-z][a-z-]+)": options | {"--net"},  # nsenter's
        r"ids_repro (?:-m )?([a-z][a-z-]+)": {*commands},
        r"'make ([a-z -]+)'": set(re.findall(r"^([a-z-]+):", (config.ROOT / "Makefile").read_text(), re.MULTILINE)),
        r"notebooks? (\d\d)": {stage.name[:2] for stage in STAGES},
        r"\b(xdp_\w+)": set(),  # the option --hook spells it xdp-drv and xdp-skb
    }
    texts = advice()
    assert len(texts) > 100
    for pattern, there in known.items():
        named = {
            (where, word) for where, text in texts.items() for one in re.findall(pattern, text) for word in one.split()
        }
        assert {(where, word) for where, word in named if word not in there} == set(), pattern
    assert sum("--" in text for text in texts.values()) > 8


def as_nobody(*argv: str | Path) -> subprocess.CompletedProcess:
    """Run ids_repro as an ordinary user, in the real project."""
    drop = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    if subprocess.run([*drop, "test", "-r", config.__file__, "-a", "-x", sys.executable]).returncode:
        pytest.skip("this checkout lies where other users cannot read it")
    command = [*drop, sys.executable, "-B", "-m", "ids_repro", *map(str, argv)]
    return subprocess.run(command, cwd=config.ROOT, capture_output=True, text=True)


@pytest.mark.root
@pytest.mark.parametrize("argv", [["parity"], ["reproduce", "--only", "05"], ["record"]], ids=" ".join)
def test_without_root(argv):
    done = as_nobody(*argv)
    assert (done.returncode, done.stdout) == (2, "")
    assert ("needs CAP_BPF" if argv == ["parity"] else "needs root") in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.root
def test_a_file_that_the_user_may_not_read():
    with tempfile.NamedTemporaryFile(suffix=".pcap") as secret:  # mode 0600
        Path(secret.name).write_bytes(HEADER)
        done = as_nobody("extract", secret.name, "--labels", SCHEDULE, "--out", "/tmp/never.parquet")
        assert (done.returncode, done.stderr) == (
            2,
            f"ids_repro extract: {secret.name}: cannot be read (Permission denied)\n",
        )


@pytest.mark.root
def test_a_folder_that_the_user_may_not_write_to(tmp_path):
    arguments = [
        "extract",
        str(config.SAMPLE),
        "--labels",
        str(SCHEDULE),
        "--out",
        str(tmp_path / "folder/out.parquet"),
    ]
    assert main(arguments) == 0  # root may; this also compiles what the ordinary user could not write to build/
    done = as_nobody(*arguments)
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert "Permission denied" in done.stderr
    assert done.stderr.count("\n") == 1


ENDS = {
    "user": (config.UserError("no"), 2, "ids_repro status: no\n"),
    "permission": (PermissionError(13, "Permission denied", "/a"), 2, "ids_repro status: /a: Permission denied\n"),
    "Ctrl-C": (
        KeyboardInterrupt(),
        130,
        "ids_repro status: interrupted\n",
    ),
}


@pytest.mark.parametrize("how", ENDS)
def test_how_a_command_ends_becomes_the_exit_code(capsys, how):
    error, code, said = ENDS[how]
    args = make_parser().parse_args(["status"])

    def fail(_args: object) -> int:
        raise error

    args.run = fail
    assert run_command(args) == code
    assert capsys.readouterr().err == said


CUT = {  # commands that read a capture
    "extract": ("extract", "cut.pcap", "--labels", "a.csv", "--out", "x.parquet", "--json"),
    "extract, without JSON": ("extract", "cut.pcap", "--out", "x.parquet"),
    "extract, several": ("extract", "a.pcap", "cut.pcap", "--out", "x.parquet", "--json"),
    "train-detector": ("train-detector", "--train", "cut.pcap", "--train-labels", "a.csv", "--out", "d.npz"),
    "detect": ("detect", "--train", "cut.pcap", "--train-labels", "a.csv", "--json"),
    "detect, to test on": (
        *("detect", "--train", "a.pcap", "--train-labels", "a.csv"),
        *("--test", "cut.pcap", "--test-labels", "a.csv", "--arriving-at", "10.0.0.2", "--json"),
    ),
    "accuracy": ("accuracy", "--data", "cut.pcap", "--labels", "a.csv", "--seeds", "1", "--user-space", "--json"),
    "accuracy, of a dataset": ("accuracy", "--data", "cut.parquet", "--seeds", "1", "--user-space", "--json"),
    "parity": ("parity", "--pcap", "cut.pcap", "--n", "10", "--user-space", "--json"),
}


@pytest.fixture(scope="module")
def captures(project, models, tmp_path_factory) -> Path:
    """Return a folder with a.pcap, cut.pcap, their schedule a.csv, and a dataset of cut.pcap."""
    folder = tmp_path_factory.mktemp("captures")
    write_captures(folder)
    project.save(models)
    project.add_profile("smoke", trial_s=0.3)  # `accuracy` trains
    argv = ("extract", folder / "cut.pcap", "--labels", folder / "a.csv", "--out", folder / "cut.parquet")
    assert project.cli(*argv).returncode == 1
    return folder


@pytest.mark.parametrize("what", CUT)
def test_every_command_says_alike_that_a_capture_is_cut_off(project, captures, what):
    argv = [captures / word if "." in word and "10." not in word else word for word in CUT[what]]
    done = project.cli(*argv)
    assert done.returncode == 1, done.stderr
    text = "cut.pcap: the file is cut off in the record at byte "
    said = [line for line in done.stderr.splitlines() if text in line and line.startswith(f"ids_repro {argv[0]}: ")]
    assert len(said) == 1
    if "--json" in argv:
        assert "the file is cut off in the record at byte " in json.loads(done.stdout)["damage"]


def test_a_whole_capture_is_not_said_to_be_damaged(project, captures):
    argv = ("accuracy", "--data", captures / "a.pcap", "--labels", captures / "a.csv", "--seeds", "1", "--user-space")
    done = project.cli(*argv, "--json")
    assert done.returncode == 0 and "damage" not in json.loads(done.stdout)


IDLE = {  # option -> a command beside whose other options it does nothing
    "--arithmetic": (
        ("attach", "lo", "--model", "a.npz", "--classifier", "dt", "--arithmetic", "q16"),
        "--classifier nn",
    ),
    "--capture": (("sweep", "--flows", "one", "--capture", "a.pcap"), "--flows both or replay"),
    "--confirm": (("attach", "lo", "--model", "a.npz", "--confirm", "5"), "--action filter or redirect"),
    "--test-labels": (("detect", "--test-labels", "a.csv"), "--test"),
    "--labels": (("accuracy", "--user-space", "--data", "a.parquet", "--labels", "a.csv"), "a capture as --data"),
}


@pytest.mark.parametrize("option", IDLE)
def test_an_option_that_does_nothing_is_refused(refused, option):
    argv, needed = IDLE[option]
    said = refused(*argv)
    assert f": {option} does nothing without " in said and needed in said


def test_every_option_that_may_do_nothing_is_tested():
    commands = make_parser()._subparsers._group_actions[0].choices.values()
    known = [option for command in commands for option in command._actions if hasattr(option, "only_with")]
    assert sorted(option.option_strings[0] for option in known) == sorted(IDLE)
