"""Where a disk has no room: right answers or a sentence, and nothing is lost."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from survivors import INDEXED, Gone, assert_right, lookalike, stored

from db import NewItem
from retrieval import Gallery


def tmpfs(place: Path, size: int) -> Gone:
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(place)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def can_mount() -> bool:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    with tempfile.TemporaryDirectory() as place:
        if tmpfs(Path(place), 64).returncode != 0:
            return False
        subprocess.run(["umount", place], check=True)
        return True


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = tmpfs(place, 8192)
    assert mounted.returncode == 0, mounted.stderr
    yield place
    subprocess.run(["umount", str(place)], check=True)


def assert_nothing_lost(path: Path, before: dict[str, str], made: Path) -> None:
    """What was there is there; what was under way ends when it is begun again."""
    assert stored(path).items() >= before.items()
    with Gallery.open(path) as gallery:
        assert gallery.check().problems == ()
        assert_right(gallery)
        gallery.add([made / "more"])
        assert len(gallery.items()) == 48
        assert gallery.check().problems == ()
        assert_right(gallery)


@pytest.mark.parametrize("limit", [2_000, 60_000, 130_000, 250_000])
def test_a_quota_that_ends_halfway(limit: int, path: Path, made: Path) -> None:
    before = stored(path)
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); "
    done = lookalike("add", made / "more", "-g", path, prelude=limited + INDEXED)
    assert done.returncode == 2 or len(stored(path)) == 48
    assert_nothing_lost(path, before, made)


@pytest.mark.parametrize("limit", [2_000, 300_000])
@pytest.mark.parametrize("encoder", ["copied", "made"])
def test_a_gallery_that_there_is_no_room_for(
    limit: int, encoder: str, made: Path, tiny_encoder: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); "
    new = tmp_path / "new"
    network = ("--encoder", "timm:test_efficientnet", "--weights", tiny_checkpoint)
    chosen = network if encoder == "made" else ("--encoder", tiny_encoder)
    done = lookalike("build-index", made / "photos", "-g", new, *chosen, prelude=limited)
    assert done.returncode == 2
    assert f"{tmp_path}/" in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert lookalike("build-index", made / "photos", "-g", new, *chosen).returncode == 0


def test_an_index_file_that_there_is_no_room_for(path: Path, made: Path) -> None:
    with Gallery.open(path) as gallery:
        vectors = np.random.default_rng(0).standard_normal((4000, 256)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        with gallery._store.write() as tx:
            items = [
                NewItem(
                    path=f"/made/up/{number}",
                    content_hash=hashlib.sha256(bytes(vector)).hexdigest(),
                    width=1,
                    height=1,
                    file_size=1,
                    mtime_ns=1,
                )
                for number, vector in enumerate(vectors)
            ]
            tx.add_items(items, vectors)
    before = stored(path)
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000)); "
    lookalike("add", made / "more", "-g", path, prelude=limited + INDEXED)
    # The store had room for the photos: they stay, whatever became of the index.
    assert len(stored(path)) == len(before) + 30
    with Gallery.open(path) as gallery:
        assert gallery.check().problems == ()
        assert_right(gallery)


# Where no disk can be mounted, a quota has to do.
if can_mount():

    @pytest.mark.parametrize("room", [0, 40, 180, 220])
    def test_a_disk_that_fills_up_halfway(room: int, path: Path, disk: Path, made: Path) -> None:
        gallery = Path(shutil.copytree(path, disk / "gallery"))
        before = stored(gallery)
        filler = disk / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(disk).free - room * 1024))
        done = lookalike("add", made / "more", "-g", gallery, prelude=INDEXED)
        assert done.returncode == 2 or len(stored(gallery)) == 48
        asked = lookalike("query", made / "photos/red/0.png", "-g", gallery)
        if asked.returncode == 0:
            assert "red" in asked.stdout
        else:
            assert str(gallery / "gallery.db") in asked.stderr
        filler.unlink()
        assert_nothing_lost(gallery, before, made)

    def test_a_network_that_there_is_no_room_for(
        disk: Path, made: Path, tiny_checkpoint: Path
    ) -> None:
        # Enough for the weights, and for half of what is made of them.
        (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - 600 * 1024))
        done = lookalike(
            *("build-index", made / "photos", "-g", disk / "new"),
            *("--encoder", "timm:test_efficientnet", "--weights", tiny_checkpoint),
        )
        assert done.returncode == 2
        assert "float32.xml can't be written: see whether its disk is full" in done.stderr
        assert [one.name for one in disk.iterdir()] == ["filler"]
