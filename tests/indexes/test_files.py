"""Index files: what was saved comes back, and anything else is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexes import Changes, ExactIndex, IndexFileError, load, save

IDS = np.arange(40) * 2


def unit(seed: int, count: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, 16)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def saved(path: Path) -> str:
    vectors = unit(0, 40).astype(np.float16)
    parts = [Changes(IDS[rows], vectors[rows]) for rows in (slice(0, 25), slice(25, 40))]
    largest = float(np.abs(vectors).max())
    return save(path, dim=16, count=40, chunks=parts, largest=largest)


def test_a_saved_index_answers_like_one_in_memory(tmp_path: Path) -> None:
    index = ExactIndex(16)
    index.apply(Changes(IDS, unit(0, 40).astype(np.float16)))
    before = index.search(unit(1, 3), 40)
    checksum = saved(tmp_path / "gen.npz")
    loaded = load(tmp_path / "gen.npz", kind=ExactIndex.kind, sha256=checksum)
    after = loaded.search(unit(1, 3), 40)
    np.testing.assert_array_equal(before.ids, after.ids)
    np.testing.assert_array_equal(before.distances, after.distances)
    assert before.error == after.error
    assert len(loaded) == 40
    loaded.apply(Changes(removed_ids=np.array([0])))
    assert len(loaded) == 39
    assert [path.name for path in tmp_path.iterdir()] == ["gen.npz"]


def test_an_index_over_nothing_can_be_saved(tmp_path: Path) -> None:
    checksum = save(tmp_path / "gen.npz", dim=16, count=0, chunks=[], largest=0.0)
    loaded = load(tmp_path / "gen.npz", kind=ExactIndex.kind, sha256=checksum)
    assert (len(loaded), loaded.dim) == (0, 16)
    loaded.apply(Changes(IDS, unit(0, 40)))
    assert loaded.search(unit(0, 40)[:1], 1).ids.tolist() == [[0]]


def test_a_wrong_count_leaves_no_file_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="40 vectors came instead of 41"):
        save(tmp_path / "gen.npz", dim=16, count=41, chunks=[Changes(IDS, unit(0, 40))], largest=1)
    assert not (tmp_path / "gen.npz").exists()


def test_damage_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "gen.npz"
    checksum = saved(path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for data in (b"", whole[:-1], bytes(flipped), b"x" + whole):
        path.write_bytes(data)
        with pytest.raises(IndexFileError, match="checksum"):
            load(path, kind=ExactIndex.kind, sha256=checksum)
    path.unlink()
    with pytest.raises(IndexFileError, match="can't be read"):
        load(path, kind=ExactIndex.kind, sha256=checksum)


def test_foreign_files_are_refused_even_with_the_right_checksum(tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "gen.npz"
    path.write_bytes(b"something else entirely")
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(IndexFileError, match="no index file of ours"):
        load(path, kind=ExactIndex.kind, sha256=checksum)
    with pytest.raises(IndexFileError, match="doesn't know"):
        load(path, kind="crystal", sha256=checksum)
