"""The examples in docstrings run and say the truth."""

from __future__ import annotations

import doctest
import importlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import retrieval

ROOT = Path(retrieval.__file__).parent.parent
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in ("retrieval", "indexes", "db")
    for path in (ROOT / package).rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8")
)


def test_the_public_api_has_examples() -> None:
    assert "retrieval.gallery" in MODULES


@pytest.mark.parametrize("module", MODULES)
def test_examples(
    module: str, tmp_path: Path, tiny_encoder: Path, draw_photo: Callable[..., Image.Image]
) -> None:
    for colour in ("red", "green"):
        (tmp_path / "photos" / colour).mkdir(parents=True)
        for number in range(3):
            draw_photo(colour, number).save(tmp_path / "photos" / colour / f"{number}.png")
    draw_photo("red", 9).save(tmp_path / "query.png")
    found = doctest.testmod(
        importlib.import_module(module),
        extraglobs={"folder": tmp_path, "encoder": str(tiny_encoder)},
        optionflags=doctest.ELLIPSIS,
    )
    assert found.attempted
    assert not found.failed
