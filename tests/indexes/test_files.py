"""Index files: what was saved comes back, and anything else is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from indexes import KINDS, Changes, ExactIndex, IndexFileError, IvfIndex, load, save, suffix

IDS = np.arange(40) * 2

kinds = pytest.mark.parametrize("kind", KINDS)


def unit(seed: int, count: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, 16)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def saved(path: Path, kind: str) -> str:
    vectors = unit(0, 40).astype(np.float16)
    parts = [Changes(IDS[rows], vectors[rows]) for rows in (slice(0, 25), slice(25, 40))]
    return save(path, kind=kind, dim=16, count=40, chunks=lambda: parts)


@kinds
def test_a_saved_index_is_found_whole(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"gen.{suffix(kind)}"
    checksum = saved(path, kind)
    loaded = load(path, kind=kind, sha256=checksum)
    assert (loaded.kind, loaded.dim, len(loaded)) == (kind, 16, 40)
    vectors = unit(0, 40).astype(np.float16).astype(np.float32)
    assert loaded.search(vectors, 1).ids[:, 0].tolist() == IDS.tolist()
    loaded.apply(Changes(removed_ids=np.array([0])))
    assert len(loaded) == 39
    assert loaded.search(vectors[:1], 1).ids[0, 0] != 0
    assert [path.name for path in tmp_path.iterdir()] == [path.name]


def test_a_saved_exact_index_answers_like_one_in_memory(tmp_path: Path) -> None:
    index = ExactIndex(16)
    index.apply(Changes(IDS, unit(0, 40).astype(np.float16)))
    before = index.search(unit(1, 3), 40)
    checksum = saved(tmp_path / "gen.npz", ExactIndex.kind)
    after = load(tmp_path / "gen.npz", kind=ExactIndex.kind, sha256=checksum).search(unit(1, 3), 40)
    np.testing.assert_array_equal(before.ids, after.ids)
    np.testing.assert_array_equal(before.distances, after.distances)
    assert before.error == after.error


def test_an_exact_index_over_nothing_can_be_saved(tmp_path: Path) -> None:
    checksum = save(tmp_path / "gen.npz", kind=ExactIndex.kind, dim=16, count=0, chunks=list)
    loaded = load(tmp_path / "gen.npz", kind=ExactIndex.kind, sha256=checksum)
    assert (len(loaded), loaded.dim) == (0, 16)
    loaded.apply(Changes(IDS, unit(0, 40)))
    assert loaded.search(unit(0, 40)[:1], 1).ids.tolist() == [[0]]


@kinds
def test_a_wrong_count_leaves_no_file(tmp_path: Path, kind: str) -> None:
    parts = [Changes(IDS, unit(0, 40))]
    with pytest.raises(ValueError, match="40 vectors came instead of 41"):
        save(tmp_path / "gen", kind=kind, dim=16, count=41, chunks=lambda: parts)
    assert not list(tmp_path.iterdir())


@kinds
def test_damage_is_noticed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "gen"
    checksum = saved(path, kind)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for data in (b"", whole[:-1], bytes(flipped), b"x" + whole):
        path.write_bytes(data)
        with pytest.raises(IndexFileError, match="checksum"):
            load(path, kind=kind, sha256=checksum)
    path.unlink()
    with pytest.raises(IndexFileError, match="can't be read"):
        load(path, kind=kind, sha256=checksum)


@kinds
@pytest.mark.parametrize("data", [b"", b"something else entirely", b"PK" * 99])
def test_foreign_files_are_refused_even_with_the_right_checksum(
    tmp_path: Path, kind: str, data: bytes
) -> None:
    path = tmp_path / "gen"
    path.write_bytes(data)
    checksum = hashlib.sha256(data).hexdigest()
    with pytest.raises(IndexFileError, match="no index file of ours"):
        load(path, kind=kind, sha256=checksum)
    with pytest.raises(IndexFileError, match="doesn't know"):
        load(path, kind="crystal", sha256=checksum)


def test_another_kind_of_faiss_index_is_refused(tmp_path: Path) -> None:
    import faiss

    path = tmp_path / "gen"
    faiss.write_index(faiss.IndexFlatIP(16), str(path))
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(IndexFileError, match="holds no cells"):
        load(path, kind=IvfIndex.kind, sha256=checksum)
