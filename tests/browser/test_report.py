"""The report of a graph in a real browser. `make test-browser` installs Chromium and runs this."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from helpers_graph import SCHEMA, married, mention, triple
from rukh.graph.report import Attribution, MapPoint, key_of, write_report
from rukh.graph.store import KnowledgeGraph
from rukh.records import Post, Triple, WordWeight

pytestmark = pytest.mark.browser
ATTACK = "<img src=x onerror=window.hacked=1></script><script>window.hacked=1</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    assert path is not None, "run `make test-browser`"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """A report with emoji before spans, a picture, a conflict and attacks in all texts."""
    from PIL import Image

    Image.new("RGB", (80, 60), "teal").save(tmp_path / "1.png")
    text = f"\U0001f389 Ann Lee was born in Rome. {ATTACK}"
    born = Triple(
        post_id="1",
        head=mention("Ann Lee", "PER", 2),
        tail=mention("Rome", "LOC", 22),
        relation="born in",
        score=0.9,
        description=ATTACK,
        schema_id=ATTACK,
    )
    box = {"id": "o1", "box": [0.1, 0.2, 0.5, 0.9], "type": "person", "label": ATTACK}
    others = [
        triple("Ann Lee", "born in", "Oslo", "2", 0.6, time="2026-11-01"),
        married("Ann Lee", ATTACK, "3"),
        Triple(post_id="1", head=born.head, tail=box, relation="sees", score=0.7),
    ]
    words = [WordWeight(text="born", start=14, end=18, weight=2.0)]
    regions = [((0.0, 0.0, 0.5, 1.0), 1.0), ((0.5, 0.0, 1.0, 1.0), -1.0)]
    with KnowledgeGraph(tmp_path / "kg") as graph:
        graph.add([born, *others], schema=SCHEMA)
        write_report(
            graph,
            tmp_path / "report.html",
            title=ATTACK,
            posts=[Post(id="1", text=text, image=tmp_path / "1.png")],
            attributions={key_of(born): Attribution(words, regions)},
            points=[MapPoint(0, 0, ATTACK, key_of(born)), MapPoint(1, 1, "born in")],
        )
    return tmp_path / "report.html"


def opened(browser: Any, path: Path, **options: Any) -> tuple[Any, list[str]]:
    """A page, and what goes wrong on it: messages of the console and requests."""
    page = browser.new_context(**options).new_page()
    wrong: list[str] = []
    page.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "request",
        lambda r: None if r.url.startswith(("file:", "data:")) else wrong.append(r.url),
    )
    page.goto(path.as_uri())
    page.wait_for_timeout(1000)
    return page, wrong


def test_the_page_shows_the_evidence_and_runs_nothing_of_its_data(
    browser: Any, report: Path
) -> None:
    page, wrong = opened(browser, report)
    assert page.locator("#edges tbody tr").count() == 4
    assert page.locator("#conflicts h3").count() == 1
    row = page.locator("#edges tbody tr", has_text="Rome").first
    row.locator("button").first.click()
    marks = page.locator("#panel mark").all_inner_texts()
    assert any("Ann Lee" in mark for mark in marks) and any("Rome" in mark for mark in marks)
    assert page.locator("#panel .stage canvas").is_visible()  # the weights of the picture
    assert page.evaluate("window.hacked === undefined")
    assert page.evaluate("document.scripts.length") == 2
    assert wrong == []


def test_filters_act_on_the_page(browser: Any, report: Path) -> None:
    page, _ = opened(browser, report)
    page.fill("#search", "oslo")
    page.wait_for_timeout(600)
    assert page.locator("#edges tbody tr").count() == 1
    page.click("#clear")
    page.select_option("#relation", "born in")
    page.wait_for_timeout(600)
    assert page.locator("#edges tbody tr").count() == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_nothing_serious(browser: Any, report: Path, scheme: str, width: int) -> None:
    spec = find_spec("axe_playwright_python")
    assert spec is not None and spec.origin is not None, "run `make test-browser`"
    axe = Path(spec.origin).with_name("axe.min.js").read_text(encoding="utf-8")
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
    page, _ = opened(browser, report, bypass_csp=True, **options)
    page.add_script_tag(content=axe)
    for click in (None, "#edges tbody button >> nth=0"):
        if click is not None:
            page.locator(click).click()
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(overflow) <= 0


def test_a_large_graph_opens_and_prints(browser: Any, tmp_path: Path) -> None:
    some = [
        triple(f"Person {k % 1700}", "visited", f"Place {k % 997}", str(k // 3))
        for k in range(5000)
    ]
    with KnowledgeGraph(tmp_path / "kg") as graph:
        graph.add(some)
        write_report(graph, tmp_path / "large.html")
    page, wrong = opened(browser, tmp_path / "large.html")
    assert page.locator("#edges tbody tr").count() == 100
    assert page.evaluate("performance.getEntriesByType('navigation')[0].domInteractive") < 10_000
    assert len(page.pdf(format="A4")) > 10_000
    assert wrong == []
