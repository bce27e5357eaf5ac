"""The report in a real browser: no fault, nothing from outside, nothing cut on a screen, a phone or paper."""

import re

import pytest
import synthetic

from ids_repro import config, records
from ids_repro.report import page as report
from ids_repro.report.exhibit import Results

PHONE, LAPTOP = 400, 1280  # pixels
# Elements that end to the right of what is shown, where nothing around them scrolls.
CUT = """() => {
    const scrolls = e =>
        e && (e.tagName === 'svg' || getComputedStyle(e).overflowX === 'auto' || scrolls(e.parentElement));
    const right = document.documentElement.clientWidth + 1;
    return [...document.querySelectorAll('body *')]
        .filter(e => e.getBoundingClientRect().right > right && !scrolls(e)).map(e => e.outerHTML.slice(0, 80));
}"""


@pytest.fixture(scope="module", params=["made-up records", "figures/example"])
def path(request, tmp_path_factory):
    if request.param == "figures/example":
        return config.ROOT / request.param / "report.html"
    folder = tmp_path_factory.mktemp("report")
    synthetic.everything(folder)
    results = Results(records.read(folder))
    (folder / "report.html").write_text(report.html(results, report.sections(results)), encoding="utf-8")
    return folder / "report.html"


@pytest.fixture
def opened(browser, path):
    """Return a function that opens the report in a window, the addresses that pages asked for, and their complaints."""
    pages, asked, said = [], [], []

    def open_at(width):
        pages.append(browser.new_page(viewport={"width": width, "height": 800}))
        pages[-1].on("request", lambda request: asked.append(request.url))
        pages[-1].on("console", lambda message: said.append(message.text))
        pages[-1].on("pageerror", lambda error: said.append(str(error)))
        pages[-1].goto(path.as_uri())
        return pages[-1]

    yield open_at, asked, said
    for page in pages:
        page.close()


@pytest.mark.parametrize("width", [PHONE, LAPTOP])
def test_a_screen_shows_or_scrolls_to_everything(opened, path, width):
    open_at, asked, said = opened
    page = open_at(width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CUT) == []
    assert asked == [path.as_uri()] and said == []
    hints = page.evaluate("getComputedStyle(document.querySelector('.scroll'), '::before').content")
    assert ("scroll sideways" in hints) == (width == PHONE)


def test_paper_shows_every_table_whole(opened, path):
    open_at, asked, said = opened
    page = open_at(LAPTOP)
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 703, "height": 1032})  # A4 less margins of 12 mm, at 96 pixels an inch
    assert page.evaluate(CUT) == []
    pages = len(re.findall(rb"/Type /Page\b", page.pdf(prefer_css_page_size=True)))
    assert 5 < pages < 40
    assert asked == [path.as_uri()] and said == []


def test_the_browser_sees_a_table_that_is_cut_and_a_request_to_outside(browser, tmp_path):
    """The checks above can fail: a page with both faults."""
    bad = tmp_path / "bad.html"
    bad.write_text(
        '<table><tr><td style="min-width: 3000px">wide</td></tr></table><img src="http://127.0.0.1:9/x.png">'
    )
    asked = []
    page = browser.new_page(viewport={"width": PHONE, "height": 800})
    page.on("request", lambda request: asked.append(request.url))
    page.goto(bad.as_uri())
    assert page.evaluate(CUT)
    assert asked[1:] == ["http://127.0.0.1:9/x.png"]
    page.close()
