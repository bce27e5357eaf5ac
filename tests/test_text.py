"""No name, whatever is in it, reaches a terminal raw; numbers are rounded as people round."""

import ast
import math
import subprocess
import sys

import numpy as np
import pytest

from ids_repro import config
from ids_repro.text import duration, printable, rounded, say

# What moves the cursor, what turns the direction of writing, half a character, and what ends a line.
NAMES = {
    "\x1b[2J": r"\x1b[2J",
    "a\rb": r"a\rb",
    "\x9b31m": r"\x9b31m",
    "\u202e": r"\u202e",
    "\udcff": r"\udcff",
    "a\nb": r"a\nb",
    "\x00\x07\x7f": r"\x00\x07\x7f",
    "Größe 日本 $": "Größe 日本 $",
}
# Modules that print to a program of ours, not to a person: their lines are JSON.
TO_PROGRAMS = {"kernel/constraints.py", "network/ssh_peer.py", "sweep/load_agent.py", "sweep/sender.py"}


@pytest.mark.parametrize("name", NAMES)
def test_control_characters_are_shown_as_escapes(name):
    assert printable(name) == NAMES[name]


def test_lines_stay_lines(capsys):
    say("a\n\x1b[31mb")
    say("c\r", sys.stderr)
    assert capsys.readouterr() == ("a\n\\x1b[31mb\n", "c\\r\n")


def test_nothing_else_prints():
    package = config.ROOT / "ids_repro"
    found = set()
    for path in package.rglob("*.py"):
        calls = (node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
        if any(isinstance(one, ast.Name) and one.id == "print" for one in calls):
            found.add(str(path.relative_to(package)))
    assert found == {"text.py"} | TO_PROGRAMS


@pytest.mark.parametrize(
    "argv",
    [
        ["{}"],
        ["figures", "--{}"],
        ["figures", "{}"],
        ["figures", "--results", "{}"],
        ["figures", "--results", "data/example", "--figures", "/dev/null/{}"],
        ["figures", "--results", "data/example", "--figures", "/proc", "--methods", "{}"],
        ["figures", "--results", "data/example", "--dataset", "{}"],
        ["extract", "{}", "--out", "a.parquet"],
        ["models", "show", "{}"],
        ["detect", "{}"],
        ["reproduce", "--profile", "{}"],
    ],
)
def test_what_was_typed_is_not_printed_raw(argv):
    argv = [word.format("a\x1b[31m\rb\x9b") for word in argv]
    done = subprocess.run([sys.executable, "-m", "ids_repro", *argv], cwd=config.ROOT, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == 2 and "Traceback" not in said
    assert not set("\x1b\r\x9b") & set(said) and r"a\x1b[31m\rb\x9b" in said


def test_a_file_of_any_name_is_read_and_named(tmp_path):
    capture = tmp_path / "a\x1b[31m\n.pcap"
    capture.write_bytes((config.ROOT / "data/sample/lab.pcap.gz").read_bytes()[:100_000])
    argv = ["extract", capture, "--labels", config.SAMPLE_LABELS, "--out", tmp_path / "b\x1b]0;x\x07.parquet"]
    done = subprocess.run([sys.executable, "-m", "ids_repro", *argv], cwd=config.ROOT, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode in (0, 1, 2) and "Traceback" not in said
    assert r"\x1b" in said and "\x1b[31m" not in said and "\x07" not in said


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (0.125, ".2f", "0.13"),
        (2.675, ".2f", "2.68"),
        (-0.125, "+.2f", "-0.13"),
        (0.8825, ".3f", "0.883"),
        (2.5, ".0f", "3"),
        (1234567.5, ",.0f", "1,234,568"),
        (0.1245, ".1%", "12.5%"),
        (0.00045, ".2%", "0.05%"),
        (31.55, "#.3g", "31.6"),
        (9.996, "#.3g", "10.0"),
        (0.0205, ".3g", "0.0205"),
        (-0.0004, ".2f", "0.00"),
        (7, "7.0f", "      7"),
        (math.inf, ".1f", "inf"),
        (math.nan, ".1f", "nan"),
        (1.5, "g", "1.5"),
    ],
)
def test_halves_round_as_people_round(value, form, text):
    assert rounded(value, form) == text


def test_what_is_no_half_rounds_as_python_rounds_it():
    draw = np.random.default_rng(0)
    for value in 10.0 ** draw.uniform(-8, 6, 2000) * draw.choice([-1, 1], 2000):
        for form in (".3f", "#.3g", ",.0f", ".2%"):
            assert rounded(value, form).lstrip("-") == format(value, form).lstrip("-")


def test_a_duration_is_said_in_minutes_or_hours():
    words = [duration(seconds) for seconds in (1.2, 7.8, 99, 130, 89 * 60, 57_200)]
    assert words == ["1 second", "8 seconds", "99 seconds", "2 minutes", "89 minutes", "15.9 hours"]


def test_a_form_of_no_number_is_refused():
    with pytest.raises(ValueError, match="no form of a number"):
        rounded(1.0, "1.2.3f")
