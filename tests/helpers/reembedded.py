"""What tests of another encoder look at: a gallery's vectors and encoders, and an end halfway."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from retrieval import Gallery
from retrieval.encoders import Artifact

ENCODERS = (".encoder", "encoder")


def vectors(gallery: Gallery) -> dict[str, np.ndarray]:
    """Return the stored vectors by path."""
    with gallery._store.read() as tx:
        paths = {item.id: item.path for item in tx.items()}
        return {
            paths[item_id]: vector
            for part in tx.vectors()
            for item_id, vector in zip(part.item_ids.tolist(), part.data, strict=True)
        }


def fingerprint(encoder: Path) -> str:
    return Artifact.load(encoder).spec.fingerprint


def encoder_folders(gallery: Path) -> list[str]:
    return sorted(path.name for path in gallery.iterdir() if path.name.startswith(ENCODERS))


def assert_like_built(gallery: Gallery, encoder: Path, photos: Path, tmp_path: Path) -> None:
    """The gallery is what building one of the same photos with this encoder makes."""
    with Gallery.create(tmp_path / "built", encoder=str(encoder)) as built:
        built.build(photos)
        expected = vectors(built)
    shutil.rmtree(tmp_path / "built")
    found = vectors(gallery)
    assert found.keys() == expected.keys()
    for path, vector in expected.items():
        np.testing.assert_allclose(found[path].astype(float), vector.astype(float), atol=2e-3)
    assert gallery.info().fingerprint == fingerprint(encoder)
    report = gallery.check()
    assert report.problems == ()
    assert report.notes == ()


class Stop(Exception):  # noqa: N818
    pass


def stop_at(count: int) -> Callable[[int, int], None]:
    def progress(done: int, _total: int) -> None:
        if done == count:
            raise Stop

    return progress
