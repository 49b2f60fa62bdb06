"""The page in a real Chromium: it renders, sorts, filters, toggles, reads, prints and asks nobody."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright

from jobs.cli import main
from tests.analysis import report_root
from tests.analysis.report_root import SEEN

pytestmark = pytest.mark.slow
CHROMIUM = shutil.which("chromium")


@dataclass
class Visit:
    """An open page, and what went wrong in it.

    Attributes:
        said: messages of its console, and errors of its script.
        asked: addresses that it wanted from a network.
    """

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def refuse(self, route: Route) -> None:
        """Note a request, and let only the page's own file through."""
        if route.request.url.startswith("file:"):
            route.continue_()
        else:
            self.asked.append(route.request.url)
            route.abort()

    def column(self, number: int) -> list[str]:
        """What a column of the table of results shows, from 1."""
        return self.page.locator(f"#rows tbody td:nth-child({number})").all_inner_texts()

    def style(self, selector: str, name: str) -> str:
        """A computed property of the first element."""
        script = f"e => getComputedStyle(e).getPropertyValue('{name}')"
        return str(self.page.locator(selector).first.evaluate(script))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with sync_playwright() as playwright:
        # root, as in a container, may not use Chromium's own sandbox
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a study with masked, failed and hostile parts."""
    manifest = report_root.write(tmp_path_factory.mktemp("page"))
    page = manifest.with_suffix(".html")
    runs = str(manifest.parent / "runs")
    assert main(["report", str(manifest), "--root", runs, "--out", str(page)]) == 0
    return page


@pytest.fixture
def visit(browser: Browser, report: Path) -> Iterator[Visit]:
    """The page, freshly opened; whatever a test does to it, it stays silent and asks nobody."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    found = Visit(context.new_page())
    found.page.on("console", lambda message: found.said.append(message.text))
    found.page.on("pageerror", lambda error: found.said.append(str(error)))
    context.route("**/*", found.refuse)
    found.page.goto(report.as_uri())
    yield found
    context.close()
    assert (found.said, found.asked) == ([], [])


def test_it_renders_all_sections(visit: Visit) -> None:
    titles = visit.page.locator("h2").all_inner_texts()
    assert titles[:3] == [
        "Worst case over attacks",
        "Robustness curves",
        "Beside published numbers",
    ]
    assert visit.page.locator("svg.chart").count() == 5
    assert visit.column(3)[0] == "clean"
    # 4 settings: clean, 4 attacks and 2 worst cases at 5 radii
    assert visit.page.locator("#count").inner_text() == "124 shown of 124 chosen, 124 rows in all"


def test_a_header_sorts_up_and_down(visit: Visit) -> None:
    accuracy = visit.page.get_by_role("button", name="accuracy %")
    accuracy.click()
    rising = [float(text.removeprefix("⚠ ")) for text in visit.column(6)]
    assert rising == sorted(rising)
    accuracy.press("Enter")
    assert visit.page.locator("[aria-sort=descending]").inner_text().startswith("accuracy")
    assert [float(text.removeprefix("⚠ ")) for text in visit.column(6)] == sorted(rising)[::-1]


def test_radii_sort_as_numbers(visit: Visit) -> None:
    visit.page.get_by_role("button", name="ε", exact=True).click()
    radii = list(dict.fromkeys(visit.column(5)))
    assert radii == ["0", "4/255", "8/255", "16/255", "24/255", "32/255"]


def test_lists_and_words_filter(visit: Visit) -> None:
    visit.page.locator("[data-column=attack]").select_option("pgd-10")
    assert set(visit.column(3)) == {"pgd-10"}
    visit.page.locator("#words").fill("lif 8/255 adversarial")
    assert visit.column(1) == ["small-lif"] * len(visit.column(1))
    assert "8/255" in visit.column(5)
    visit.page.locator("#words").fill("no such words")
    assert visit.page.locator("#count").inner_text().startswith("0 shown of 0 chosen")


def test_the_legend_toggles_a_curve_everywhere(visit: Visit) -> None:
    curve = visit.page.locator(".chart [data-s='0']")
    button = visit.page.locator(".legend [data-s='0']")
    button.click()
    assert [curve.nth(i).is_visible() for i in range(curve.count())] == [False] * 5
    assert button.get_attribute("aria-pressed") == "false"
    visit.page.get_by_role("button", name="all", exact=True).click()
    assert curve.first.is_visible()


def test_hover_tells_all_about_a_point(visit: Visit) -> None:
    chart = visit.page.get_by_label(re.compile("^pgd-10 rectangle"))
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box is not None
    # 8/255 on an axis that ends at 32, and 10 % on one from 100 to 0
    x, y = 36 + 292 * 8 / 32, 8 + 188 * 0.9
    visit.page.mouse.move(box["x"] + x * box["width"] / 340, box["y"] + y * box["height"] / 230)
    lines = visit.page.locator("#tip").inner_text().splitlines()
    assert lines[0] == "small-lif, clean"
    assert lines[1] == "ε = 8/255 · 10.0 % [7.4, 13.3]"
    assert lines[2:4] == ["2 seeds (0, 1), 10.0 to 10.0 %", "correct: 40, 40 of 400"]
    assert lines[4:6] == ["pgd-10 rectangle(gamma=1) · pixel, linf", "surrogate rectangle(gamma=1), gradient own"]  # fmt: skip
    visit.page.mouse.move(0, 0)
    assert not visit.page.locator("#tip").is_visible()


def test_the_keyboard_reads_points_too(visit: Visit) -> None:
    visit.page.locator("svg.chart").first.focus()
    assert visit.style("svg.chart", "outline-style") == "solid"
    tips = []
    for key in ("ArrowRight", "ArrowRight", "ArrowRight"):
        visit.page.keyboard.press(key)
        tips.append(visit.page.locator("#tip").inner_text().splitlines()[1].split(" · ")[0])
    assert tips == ["ε = 0", "ε = 4/255", "ε = 8/255"]
    visit.page.keyboard.press("Escape")
    assert not visit.page.locator("#tip").is_visible()


def test_dark_follows_the_system_until_somebody_chooses(visit: Visit) -> None:
    light = visit.style("body", "background-color")
    visit.page.emulate_media(color_scheme="dark")
    dark = visit.style("body", "background-color")
    assert dark != light
    for name, shown in (("light", light), ("dark", dark), ("system", dark)):
        visit.page.locator("#theme").click()
        assert visit.page.locator("#theme").inner_text() == f"theme: {name}"
        assert visit.style("body", "background-color") == shown


def test_hostile_words_are_seen_and_do_nothing(visit: Visit) -> None:
    log = visit.page.locator(".failure")
    log.locator("summary").click()
    assert SEEN in log.locator("pre").inner_text()
    assert SEEN in visit.page.locator("#published").inner_text()
    assert visit.page.locator("img").count() == 0


def test_an_injected_script_or_style_does_not_run(visit: Visit) -> None:
    visit.page.evaluate(
        """() => {
            document.body.insertAdjacentHTML("beforeend", "<b id=bad onclick='window.x=1'>b</b>");
            const script = document.createElement("script");
            script.textContent = "window.y = 1";
            document.body.append(script);
            document.getElementById("bad").click();
        }"""
    )
    assert visit.page.evaluate("[window.x, window.y]") == [None, None]
    refused = [text for text in visit.said if "Content Security Policy" in text]
    assert refused == visit.said
    assert len(refused) == 2
    visit.said.clear()


def test_print_is_light_and_leaves_the_controls_out(visit: Visit) -> None:
    visit.page.emulate_media(media="print", color_scheme="dark")
    assert visit.style("body", "background-color") == "rgb(255, 255, 255)"
    for hidden in ("nav", "#theme", ".filters"):
        assert not visit.page.locator(hidden).is_visible()
    assert visit.style(".scroll.tall", "overflow-y") == "visible"
    assert visit.page.pdf()[:5] == b"%PDF-"


def test_logs_are_printed_and_folded_again(visit: Visit) -> None:
    log = visit.page.locator(".failure pre").first
    visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert log.is_visible()
    visit.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not log.is_visible()


def test_a_tap_tells_all_about_a_point(browser: Browser, report: Path) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    page.goto(report.as_uri())
    chart = page.get_by_label(re.compile("^pgd-10 rectangle"))
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box is not None
    x, y = 36 + 292 * 8 / 32, 8 + 188 * 0.9
    page.touchscreen.tap(box["x"] + x * box["width"] / 340, box["y"] + y * box["height"] / 230)
    assert page.locator("#tip").inner_text().startswith("small-lif, clean")
    page.touchscreen.tap(5, 5)
    assert not page.locator("#tip").is_visible()
    context.close()


@pytest.mark.parametrize("width", [320, 768])
def test_narrow_screens_scroll_only_downwards(visit: Visit, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 800})
    wide = visit.page.evaluate("document.documentElement.scrollWidth")
    assert wide == width


def test_without_script_the_findings_stand(browser: Browser, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator("table.worst").count() == 2
    assert page.get_by_text("This table needs JavaScript").is_visible()
    assert page.locator(".chart .line").first.is_visible()
    context.close()
