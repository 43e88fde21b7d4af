"""The page in a real browser: what a person does with it, and what it says of what lacks."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn

from retrieval import Gallery
from retrieval.service.app import create_app
from retrieval.service.running import bind
from retrieval.service.security import Tokens
from retrieval.service.settings import Settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Photo = Callable[..., bytes]
Open = Callable[..., "Page"]
SERIOUS = """() => axe.run(document, {resultTypes: ['violations']}).then(told => told.violations
    .filter(one => ['serious', 'critical'].includes(one.impact))
    .map(one => [one.id, one.nodes.map(node => node.html.slice(0, 200))]))"""
GIVE = """([kind, name, data]) => {
    const bytes = Uint8Array.from(atob(data), one => one.charCodeAt(0));
    const files = new DataTransfer();
    files.items.add(new File([bytes], name, {type: 'image/png'}));
    const about = {bubbles: true, cancelable: true};
    document.body.dispatchEvent(kind === 'paste'
        ? new ClipboardEvent('paste', {clipboardData: files, ...about})
        : new DragEvent('drop', {dataTransfer: files, ...about}));
}"""


@pytest.fixture
def knowing(gallery_path: Path) -> Path:
    """A gallery of red and green photos with a threshold: a blue photo shows a stranger."""
    with Gallery.open(gallery_path) as gallery:
        gallery.remove([item.id for item in gallery.items() if item.label == "blue"])
        gallery.tune_threshold(objective="f1")
    return gallery_path


@pytest.fixture
def site() -> Iterator[Callable[..., str]]:
    """Serve a gallery on a port of its own; settings by name; returns its address."""
    with ExitStack() as stack:

        def start(path: Path, **more: Any) -> str:
            listening = stack.enter_context(bind("127.0.0.1", 0))
            config = uvicorn.Config(
                create_app(path, Settings(**more)), log_level="warning", access_log=False, ws="none"
            )
            server = uvicorn.Server(config)
            running = threading.Thread(target=server.run, args=([listening],))
            running.start()

            def end() -> None:
                server.should_exit = True
                running.join()

            stack.callback(end)
            return f"http://127.0.0.1:{listening.getsockname()[1]}"

        yield start


@pytest.fixture
def visit(browser: Browser) -> Iterator[Open]:
    """Open an address; what was complained of, and asked of others, fails the test at its end."""
    heard: list[str] = []
    with ExitStack() as stack:

        def go(url: str, *, width: int = 1200, quiet: bool = True, **more: Any) -> Page:
            context = browser.new_context(viewport={"width": width, "height": 800}, **more)
            stack.callback(context.close)
            page, own = context.new_page(), url.partition("/#")[0]
            page.set_default_timeout(20_000)

            def listen(text: str) -> None:
                if quiet:
                    heard.append(text)

            page.on("console", lambda one: listen(one.text) if one.type != "debug" else None)
            page.on("pageerror", lambda error: heard.append(str(error)))
            context.on(
                "request",
                lambda one: (
                    None
                    if one.url.startswith((own, f"blob:{own}", "data:"))
                    else heard.append(one.url)
                ),
            )
            page.goto(url)
            page.locator("#counts").filter(has_text="item").wait_for()
            return page

        yield go
    assert heard == []


def choose(page: Page, photo: bytes, name: str = "asked.png") -> None:
    page.locator("#photo").set_input_files({"name": name, "mimeType": "image/png", "buffer": photo})


def text(page: Page, where: str, expected: str) -> None:
    """Wait until words are shown."""
    page.locator(where).filter(has_text=re.compile(expected)).wait_for()


def test_a_walk(knowing: Path, site: Callable[..., str], visit: Open, photo: Photo) -> None:
    page = visit(site(knowing))
    # A known photo, and an unknown one.
    choose(page, photo("red"))
    text(page, "#verdict .big", "match *red")
    assert page.locator("#pair img").count() == 2
    assert page.locator("#nearest-items .tile").count() == 12
    assert "τ 0.6" in page.locator(".mark.tau").inner_text()
    assert "this photo 0.001" in page.locator(".mark.here").inner_text()
    choose(page, photo("blue"))
    text(page, "#verdict .big", "^ *unknown$")
    # Moving τ only tries; a button with a confirmation stores it.
    page.locator("#tau").fill("1.24")
    text(page, "#brings", r"With τ = 1.240: at most 61.9\s% of strangers.*at least 100\s% of known")
    text(page, "#brings", "This photo would match")
    with Gallery.open(knowing) as gallery:
        tuned = gallery.threshold()
    assert tuned is not None
    assert tuned.value == pytest.approx(0.618, abs=0.01)
    page.get_by_role("button", name="Put 1.240 in force").click()
    page.get_by_role("button", name="Put it in force").click()
    text(page, "#notice", "The threshold is now 1.240")
    with Gallery.open(knowing) as gallery:
        stored = gallery.threshold()
    assert stored is not None
    assert stored.value == 1.24
    # What is shown is decided anew.
    text(page, "#verdict .big", "^ *match")
    # The photo is added, found, removed, restored.
    page.get_by_role("button", name="Add this photo to the gallery").click()
    page.locator("#add-label:focus").fill("ultramarine")
    page.keyboard.press("Enter")
    text(page, "#add-said", "1 added as ultramarine")
    page.locator("#search").fill("ultra")
    text(page, "#found", "^1 item with “ultra”$")
    page.locator("#items .tile").click()
    page.get_by_role("button", name="Remove from the gallery").click()
    text(page, "#found", "No item has “ultra”")
    text(page, "#notice", "Removed item 22, ultramarine")
    page.locator("#notice button:focus", has_text="Undo").press("Enter")
    text(page, "#found", "^1 item with “ultra”$")
    # The evaluation, told as it goes on, and its report.
    page.get_by_role("link", name="Evaluation").click()
    page.locator("#strangers").uncheck()
    page.get_by_role("button", name="Evaluate").click()
    text(page, "#figures", "recall@1, 14 of 14")
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Open the whole report").click()
    assert "valuation" in opened.value.locator("h1").inner_text()


def test_relabelling_and_its_undo(
    knowing: Path, site: Callable[..., str], visit: Open, photo: Photo
) -> None:
    page = visit(site(knowing) + "/#gallery")
    first = page.locator("#items .tile").first
    first.click()
    page.locator("#relabel").fill("<b>crimson</b>")
    page.get_by_role("button", name="Relabel").click()
    # What people write is text.
    text(page, "#items", "<b>crimson</b>")
    assert page.locator("#items b").count() == 0
    page.locator("#notice").get_by_role("button", name="Undo").click()
    text(page, "#notice", "is as it was")
    assert "crimson" not in page.locator("#items").inner_text()


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_photos_are_pasted_and_dropped(
    knowing: Path, site: Callable[..., str], visit: Open, photo: Photo, kind: str
) -> None:
    page = visit(site(knowing))
    page.evaluate(GIVE, [kind, "a.png", base64.b64encode(photo("green")).decode()])
    text(page, "#verdict .big", "match *green")
    page.get_by_role("link", name="Gallery").click()
    page.evaluate(GIVE, [kind, "b.png", base64.b64encode(photo("green")).decode()])
    text(page, "#add-chosen", "1 photo: b.png")


def test_what_lacks_is_said(
    empty_path: Path, site: Callable[..., str], visit: Open, photo: Photo, draw_photo: Any
) -> None:
    page = visit(site(empty_path))
    text(page, "#identify-note", "This gallery is empty")
    choose(page, photo("red"))
    text(page, "#verdict", "unknown.*nothing to compare with")
    page.get_by_role("link", name="Add reference photos").click()
    text(page, "#gallery-empty", "Add some below")
    page.locator("#add-files").set_input_files(
        [
            {"name": f"{n}.png", "mimeType": "image/png", "buffer": photo("red", n)}
            for n in (1, 2, 2)
        ]
    )
    page.get_by_role("button", name="Add", exact=True).click()
    text(page, "#add-said", "2 added")
    text(page, "#add-said", "2.png is there already, as item 2")
    page.get_by_role("link", name="Identify").click()
    text(page, "#threshold", "has no threshold yet")
    choose(page, photo("red"))
    text(page, "#verdict", "no verdict.*no threshold to decide by")


def test_a_photo_that_cannot_be_read_is_said(
    knowing: Path, site: Callable[..., str], visit: Open
) -> None:
    # The browser complains of the answer's status.
    page = visit(site(knowing), quiet=False)
    choose(page, b"<svg/>", "drawing.svg")
    text(page, "#identify-problem", "drawing.svg can't be used")
    assert not page.locator("#answer").is_visible()


def test_a_token_to_write_is_asked_for(
    knowing: Path,
    site: Callable[..., str],
    visit: Open,
    photo: Photo,
    tokens: tuple[str, str, Tokens],
) -> None:
    read, write, known = tokens
    page = visit(
        site(knowing, tokens=known),
        quiet=False,
        http_credentials={"username": "me", "password": read},
    )
    choose(page, photo("red"))
    text(page, "#verdict .big", "match")
    assert page.get_by_role("button", name="Add this photo").count() == 0
    page.get_by_role("button", name="reading only").click()
    page.locator("#token:focus").fill("wrong-" + 16 * "x")
    page.keyboard.press("Enter")
    text(page, "#token-why", "Say a token")
    page.locator("#token").fill(write)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="reading only").wait_for(state="detached")
    page.get_by_role("link", name="Gallery").click()
    page.locator("#items .tile").first.click()
    page.get_by_role("button", name="Remove from the gallery").click()
    text(page, "#notice", "Removed item 8, green")
    assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 1]
    assert write not in page.evaluate("document.cookie + location.href")


def test_it_works_by_keyboard(knowing: Path, site: Callable[..., str], visit: Open) -> None:
    page = visit(site(knowing))
    seen = []
    for _ in range(6):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.hash"))
    assert seen[:4] == ["#identify", "#gallery", "#evaluation", "photo"]
    assert "tau" in seen
    page.locator("#tau").focus()
    page.keyboard.press("ArrowRight")
    text(page, "#brings", "With τ = 0.61")
    page.locator("nav a").nth(1).focus()
    page.keyboard.press("Enter")
    page.locator("#gallery-title:focus").wait_for()
    page.locator("#items .tile").first.focus()
    page.keyboard.press("Enter")
    page.locator("dialog#item[open]").wait_for()
    page.keyboard.press("Escape")
    # Back where it was.
    page.locator("#items .tile:focus").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_everybody_can_use_it(
    knowing: Path, site: Callable[..., str], visit: Open, photo: Photo, width: int, scheme: str
) -> None:
    url = site(knowing)
    # axe-core is put into the page, which the page's own policy forbids.
    page = visit(url, width=width, color_scheme=scheme, bypass_csp=True, reduced_motion="reduce")
    page.add_script_tag(content=(files("axe_playwright_python") / "axe.min.js").read_text())

    def look() -> None:
        assert page.evaluate(SERIOUS) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width

    look()
    for colour, said in (("red", "match"), ("blue", "unknown")):
        choose(page, photo(colour))
        text(page, "#verdict .big", said)
        look()
    page.locator("#tau").fill("1.2")
    page.locator("#store").click()
    look()
    page.keyboard.press("Escape")
    page.locator("nav a").nth(1).click()
    page.locator("#adding summary").click()
    page.locator("#items .tile").first.wait_for()
    look()
    page.locator("#items .tile").first.click()
    page.locator("#item[open] form").wait_for()
    look()
    page.get_by_role("button", name="Remove from the gallery").click()
    text(page, "#notice", "Removed")
    look()
    page.locator("nav a").nth(2).click()
    page.get_by_role("button", name="Evaluate").click()
    text(page, "#figures", "recall@1")
    look()


def test_a_phone_can_take_a_photo(knowing: Path, site: Callable[..., str], visit: Open) -> None:
    page = visit(site(knowing), width=360, has_touch=True, is_mobile=True)
    camera = page.locator("#camera")
    assert camera.get_attribute("capture") == "environment"
    assert page.locator("label.camera").is_visible()
    assert not visit(site(knowing)).locator("label.camera").is_visible()
