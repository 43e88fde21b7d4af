"""Index files: what was saved comes back, and anything else is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexes import Changes, ExactIndex, IndexFileError, load, save


@pytest.fixture
def index() -> ExactIndex:
    vectors = np.random.default_rng(0).standard_normal((40, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    made = ExactIndex(16)
    made.apply(Changes(np.arange(40) * 2, vectors, np.array([4, 8])))
    return made


def test_a_saved_index_answers_the_same(index: ExactIndex, tmp_path: Path) -> None:
    queries = np.random.default_rng(1).standard_normal((3, 16)).astype(np.float32)
    before = index.search(queries, 40)
    checksum = save(index, tmp_path / "gen.faiss")
    loaded = load(tmp_path / "gen.faiss", kind="exact", sha256=checksum)
    after = loaded.search(queries, 40)
    np.testing.assert_array_equal(before.ids, after.ids)
    np.testing.assert_array_equal(before.distances, after.distances)
    assert len(loaded) == len(index) == 38
    loaded.apply(Changes(removed_ids=np.array([0])))
    assert len(loaded) == 37
    assert [path.name for path in tmp_path.iterdir()] == ["gen.faiss"]


def test_damage_is_noticed(index: ExactIndex, tmp_path: Path) -> None:
    path = tmp_path / "gen.faiss"
    checksum = save(index, path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for data in (b"", whole[:-1], bytes(flipped), b"x" + whole):
        path.write_bytes(data)
        with pytest.raises(IndexFileError, match="checksum"):
            load(path, kind="exact", sha256=checksum)
    path.unlink()
    with pytest.raises(IndexFileError, match="can't be read"):
        load(path, kind="exact", sha256=checksum)


def test_foreign_files_are_refused_even_with_the_right_checksum(tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "gen.faiss"
    path.write_bytes(b"something else entirely")
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(IndexFileError, match="no index file of ours"):
        load(path, kind="exact", sha256=checksum)
    with pytest.raises(IndexFileError, match="doesn't know"):
        load(path, kind="crystal", sha256=checksum)
