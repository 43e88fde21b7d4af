"""Galleries with an index file, to be damaged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from survivors import recorded_files

import retrieval.generations
from retrieval import Gallery


@pytest.fixture(scope="session")
def made(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_encoder: Path,
    draw_many: Callable[[Path, str, range], None],
) -> Path:
    """A folder with photos, galleries of them with an index file, and those of other photos."""
    folder = tmp_path_factory.mktemp("faults")
    for colour in ("red", "green", "blue"):
        draw_many(folder / "photos", colour, range(6))
    draw_many(folder / "others", "green", range(30, 48))
    draw_many(folder / "more", "red", range(50, 80))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval.generations, "_STALE_COUNT", 1)
        for photos, name in (("photos", "gallery"), ("others", "foreign")):
            with Gallery.create(folder / name, encoder=str(tiny_encoder)) as gallery:
                gallery.build(folder / photos)
            shutil.copytree(folder / name, folder / f"{name}-ivf")
            with Gallery.open(folder / f"{name}-ivf") as gallery:
                gallery.choose_index("ivf")
                assert gallery.compact().generation
                (name,) = recorded_files(gallery)
                assert name.endswith(".ivf")
    return folder


@pytest.fixture(scope="session")
def draw_many() -> Callable[[Path, str, range], None]:
    """Draw numbered pictures of a colour into the folder of that name."""

    def draw(folder: Path, colour: str, numbers: range) -> None:
        (folder / colour).mkdir(parents=True)
        for number in numbers:
            shade = {"red": (200, 30, 30), "green": (30, 170, 40), "blue": (40, 60, 220)}[colour]
            noise = np.random.default_rng(number).integers(-30, 30, (48, 48, 3))
            pixels = np.clip(np.array(shade) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / colour / f"{number}.png")

    return draw


@pytest.fixture
def path(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the gallery with an index file."""
    monkeypatch.setattr(retrieval.generations, "_STALE_COUNT", 1)
    return Path(shutil.copytree(made / "gallery", tmp_path / "gallery"))
