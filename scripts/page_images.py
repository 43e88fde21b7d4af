"""Take the pictures of the web page in docs/images, on a gallery of the drawn sample.

    python scripts/page_images.py

Needs `chromium` on PATH and the extras `dev` and `serve`.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from PIL import Image
from playwright.sync_api import sync_playwright

from retrieval import Gallery
from retrieval.sample import Sample, write_sample
from retrieval.service.app import create_app
from retrieval.service.running import bind

if TYPE_CHECKING:
    from playwright.sync_api import Browser

OUT = Path(__file__).parent.parent / "docs" / "images"


def main() -> None:
    """Draw the sample, serve a gallery of it, and look at it as a screen and as a phone."""
    with tempfile.TemporaryDirectory() as made, bind("127.0.0.1", 0) as listening:
        sample = write_sample(Path(made) / "sample")
        path = Path(made) / "packagings"
        with Gallery.create(path) as gallery:
            gallery.build(sample.gallery)
        server = uvicorn.Server(uvicorn.Config(create_app(path), log_level="warning", ws="none"))
        serving = threading.Thread(target=server.run, args=([listening],))
        serving.start()
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
                )
                take(browser, f"http://127.0.0.1:{listening.getsockname()[1]}", sample)
                browser.close()
        finally:
            server.should_exit = True
            serving.join()


def take(browser: Browser, url: str, sample: Sample) -> None:
    """Ask about a known photo on a screen, and about a stranger on a phone in the dark."""
    known = sorted(sample.queries.rglob("*.jpg"))[0]
    stranger = sorted(sample.strangers.rglob("*.jpg"))[0]
    screen = {"viewport": {"width": 1200, "height": 1040}, "color_scheme": "light"}
    phone = {"viewport": {"width": 360, "height": 780}, "color_scheme": "dark", "is_mobile": True}
    for name, photo, options in (("desktop", known, screen), ("phone", stranger, phone)):
        page = browser.new_context(**options, has_touch=name == "phone").new_page()
        page.goto(url)
        page.locator("#photo").set_input_files(photo)
        page.locator("#verdict .big").wait_for()
        page.wait_for_load_state("networkidle")
        picture = Image.open(BytesIO(page.screenshot()))
        # A palette is plenty for a page, and a fifth of the bytes.
        small = picture.convert("RGB").quantize(256)
        small.save(OUT / f"page-{name}.png", optimize=True)


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    main()
