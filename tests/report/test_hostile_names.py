"""A name from elsewhere stays a name: in HTML, Markdown, LaTeX and figures it is shown, and nothing in it acts."""

import io
import re
import warnings
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest
import synthetic

from ids_repro import explore, records
from ids_repro.report import page
from ids_repro.report.exhibit import Block, Exhibit
from ids_repro.text import printable

HOSTILE = {
    "tag": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "comment": "--> <!-- ]]>",
    "quotes": '" onload="alert(1)" \'',
    "template": "{{ 7 * 7 }} {% raw %} {n} %s",
    "table": "a | b\n| --- |\n| c `code` | <b>",
    "link": "[a](javascript:alert(1)) ![b](http://nowhere/c)",
    "formula": "$x$ $\\frac$ 1$",
    "latex": "\\input{/etc/passwd} % & # _ ^ ~ {",
    "terminal": "\x1b[31m\r\x00\x9b\u202e",
    "half": "\ud800",
    "long": "a" * 3_000 + " b" * 3_000,
}
_SHORT = [name for kind, name in HOSTILE.items() if kind != "long"]
# Names that are all of them, where drawing takes seconds.
TOGETHER = {"all": " ".join(_SHORT), "backwards": "".join(_SHORT[::-1]), "long": HOSTILE["long"]}


@pytest.fixture(scope="module", params=TOGETHER)
def made(request, tmp_path_factory):
    """Return a hostile name, and what is made of records in which every free text has it."""
    name, folder = TOGETHER[request.param], tmp_path_factory.mktemp("hostile")
    named = {"dataset": name, "labels": name, "profile": name}
    identity = {"data_hash": "1", "more": name, name: name}
    synthetic.accuracy(folder / "accuracy.jsonl", seeds=1, **named)
    asked = {"row": "dt_c", "task": "binary", "seed": 0, name: name} | named
    raw = {"confusion": [[3, 1], [0, 4]], name: name}
    for status in ("ok", "failed", "bad"):
        more = {"cpu": name, "kernel": name, "commit": name, "compiler": name, "mode": name, "packages": {name: name}}
        records.append(folder / "accuracy.jsonl", "accuracy", asked, raw, status, name, identity=identity, **more)
    synthetic.costs(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name may have letters that the font lacks
        exhibits = page.write_all(records.read(folder), folder / "figures", dataset=name)
    return name, folder / "figures", exhibits


class Tags(HTMLParser):
    """Gathers the tags of a page, and the attributes that would run something."""

    def __init__(self):
        super().__init__()
        self.tags, self.acting = set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.acting += [name for name, value in attrs if name.startswith("on") or "javascript:" in (value or "")]


def test_the_page_and_what_notebooks_show_have_only_tags_of_ours(made):
    _, folder, exhibits = made
    shown = [one._repr_html_() for one in exhibits.values() if one.blocks]
    for text in [(folder / "report.html").read_text(encoding="utf-8"), *shown]:
        parser = Tags()
        parser.feed(text)
        assert not parser.acting and not parser.tags & {"script", "img", "b", "iframe"}
        assert not any(not one.isprintable() and one != "\n" for one in text)


def test_markdown_has_no_tag_no_link_and_no_column_more(made):
    _, folder, _ = made
    for path in folder.glob("*.md"):
        text = path.read_text(encoding="utf-8")
        assert "<" not in text and not re.search(r"(?<!\\)\]\(", text) and not re.search(r"(?<!\\)`", text)
        assert not any(not one.isprintable() and one != "\n" for one in text)
        for table in re.findall(r"(?:^\|.*\n)+", text, re.M):
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_figures_are_whole_and_their_texts_are_no_formulas(made):
    _, folder, _ = made
    drawn = list(folder.glob("*.svg"))
    assert drawn and all(ET.parse(path).getroot().tag.endswith("svg") for path in drawn)
    assert all(path.read_bytes().rstrip().endswith(b"%%EOF") for path in folder.glob("*.pdf"))


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_a_cell_a_title_and_a_caption_are_escaped(name):
    name = printable(name)  # as `Results` has it
    frame = pd.DataFrame([[name, "1"]], columns=["a", "b"])
    exhibit = Exhibit("a", name, frame, [Block(name, frame)])
    assert "<" not in exhibit.markdown()
    for line in exhibit.latex().splitlines():
        bare = line if line.startswith("%") else re.sub(r"\\[&%$#_{}\\]|\\text[a-z]+\{\}", "", line)
        assert line.startswith("%") or not set("%$#^~") & set(bare), line
        assert not line.startswith("\\input")
    back = pd.read_csv(io.StringIO(frame.to_csv(index=False)), dtype=str)
    assert back.shape == frame.shape


@pytest.mark.parametrize("begin", ["[1pt]", "*"])
def test_a_line_of_latex_does_not_begin_with_an_option_of_the_line_before(begin):
    frame = pd.DataFrame([["a"], [begin]], columns=["a"])
    assert "{}" + begin in Block("", frame).latex()


@pytest.mark.parametrize("name", TOGETHER.values(), ids=TOGETHER)
def test_notebooks_draw_a_data_set_of_any_name(everything, name):
    some = replace(everything, meta=everything.meta | {"name": name})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for figure in (explore.classes(some.sample("last")), explore.outcomes(some)):
            assert figure.file("svg").rstrip().endswith(b"</svg>")
