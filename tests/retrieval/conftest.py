"""What tests share: drawn vectors judged by their items, many hues, small commits, a browser."""

from __future__ import annotations

import colorsys
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageDraw

from db import Item, Threshold
from retrieval import Gallery, new_vectors
from retrieval.encoders import Encoder
from retrieval.evaluation.distances import GalleryVectors
from retrieval.evaluation.protocol import Evaluation, Judged, OpenSetPlan, evaluate

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_QUIET = (
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-quic"),
)


def _no_encoder() -> Encoder:
    raise AssertionError("nothing is to be encoded")


def _judge(
    labels: Sequence[str | None],
    *,
    threshold: float | None = None,
    open_set: OpenSetPlan | None = None,
    seed: int = 0,
    apart: float = 1.0,
    rule: str = "nearest",
) -> tuple[Evaluation, Judged]:
    generator = np.random.default_rng(seed)
    names = sorted({label for label in labels if label is not None})
    centres = dict(zip(names, generator.normal(size=(len(names), 8)), strict=True))
    vectors = generator.normal(size=(len(labels), 8))
    vectors += [apart * centres.get(label, np.zeros(8)) for label in labels]  # type: ignore[arg-type]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    today = datetime(2026, 1, 2)
    items = [
        Item(
            path=f"/photos/{label}/{number}.png",
            content_hash=f"{number:064x}",
            width=8,
            height=8,
            file_size=8,
            mtime_ns=0,
            label=label,
            source_label=label,
            metadata={},
            id=number + 1,
            added_at=today,
        )
        for number, label in enumerate(labels)
    ]
    codes = {name: code for code, name in enumerate(names)}
    shown = [-item.id if item.label is None else codes[item.label] for item in items]
    gallery = GalleryVectors(
        vectors=vectors.astype(np.float16),
        identities=np.array(shown, dtype=np.int64),
        items=items,
        codes=codes,
    )
    stored = None
    if threshold is not None:
        stored = Threshold(threshold, rule, "fpir=0.05", "gallery", "", {}, {}, today)
    return evaluate(gallery, stored, None, _no_encoder, open_set=open_set)


@pytest.fixture(scope="session")
def judge() -> Callable[..., tuple[Evaluation, Judged]]:
    """Judge a gallery of drawn vectors by its own labelled items.

    A label with one item has no mate: its item is a stranger.
    """
    return _judge


HUES = 12


def _draw_hue(hue: int, number: int) -> Image.Image:
    """Draw a picture of a hue with dark spots, never twice the same."""
    rng = np.random.default_rng([hue, number])
    shade = colorsys.hsv_to_rgb(hue / HUES, 0.9, rng.uniform(0.75, 0.95))
    image = Image.new("RGB", (48, 48), tuple(int(255 * one) for one in shade))
    pen = ImageDraw.Draw(image)
    for x, y in rng.integers(0, 48, size=(2, 2)).tolist():
        pen.ellipse([x - 3, y - 3, x + 3, y + 3], fill=(40, 40, 40))
    return image


@pytest.fixture(scope="session")
def draw_hue() -> Callable[[int, int], Image.Image]:
    """The function that draws a picture of a hue, below 12, by number."""
    return _draw_hue


@pytest.fixture(scope="session")
def hues(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `hue-H/N.png` with four pictures of each of twelve hues: enough to learn pairs."""
    folder = tmp_path_factory.mktemp("hues") / "photos"
    for hue in range(HUES):
        (folder / f"hue-{hue}").mkdir(parents=True)
        for number in range(4):
            _draw_hue(hue, number).save(folder / f"hue-{hue}" / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def trained_template(
    hues: Path, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A gallery of `hues` with a linear verifier."""
    path = tmp_path_factory.mktemp("hues") / "gallery"
    with Gallery.create(path, encoder=str(tiny_encoder)) as made:
        made.build(hues)
        made.train_verifier(count=140, model="linear", components=8)
    return path


@pytest.fixture
def trained_path(trained_template: Path, tmp_path: Path) -> Path:
    """A copy of the gallery of `hues` with a linear verifier, closed."""
    return Path(shutil.copytree(trained_template, tmp_path / "trained"))


@pytest.fixture
def untrained_path(trained_path: Path) -> Path:
    """The same gallery without a verifier."""
    shutil.rmtree(trained_path / "verifier")
    return trained_path


@pytest.fixture
def small_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another encoder's vectors are committed four at a time."""
    monkeypatch.setattr(new_vectors, "_COMMIT_PHOTOS", 4)
    monkeypatch.setattr(new_vectors, "_COMMIT_SECONDS", 1e9)


# Not for a session: while Playwright runs, no other test of the process can run an event loop.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium, the one on PATH."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("put chromium on PATH to look at pages with it (Debian: apt install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=list(_QUIET))
        yield opened
        opened.close()
