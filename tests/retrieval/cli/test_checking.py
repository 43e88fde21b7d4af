"""`check`: finds what is wrong, says how to mend it, and the mending works."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

import retrieval.generations
from db.sqlite import PAGE_SIZE

Run = Callable[..., Result]
Ask = Callable[..., list[dict[str, Any]]]
Sql = Callable[..., list[tuple[Any, ...]]]

DIM = 256


@pytest.fixture
def problems(run: Run) -> Callable[[Path], list[str]]:
    """Run `check`, and return the problems it tells; text, JSON and exit code must agree."""

    def find(gallery: Path) -> list[str]:
        result = run("check", "-g", gallery)
        told = [
            line.removeprefix("problem: ")
            for line in result.stdout.splitlines()
            if line.startswith("problem: ")
        ]
        verdict = result.stdout.splitlines()[-1].split(": ")[-1]
        as_json = run("check", "-g", gallery, "--json")
        assert json.loads(as_json.stdout)["problems"] == told
        assert result.exit_code == as_json.exit_code == (1 if told else 0)
        count = "1 problem" if len(told) == 1 else f"{len(told)} problems"
        assert verdict == (count if told else "all is well")
        assert all(one.endswith(".") for one in told)
        return told

    return find


@pytest.fixture
def indexed(
    run: Run, photos: Path, tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A gallery with an index file, which a gallery of fifteen photos does without."""
    monkeypatch.setattr(retrieval.generations, "_STALE_COUNT", 1)
    gallery = tmp_path / "indexed"
    run("build-index", photos, "-g", gallery, "--encoder", tiny_encoder)
    return gallery


def index_file(gallery: Path) -> Path:
    (path,) = (gallery / "index").iterdir()
    return path


def flip(path: Path) -> None:
    """Flip a bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def rewrite(path: Path) -> None:
    """Put another index file in the place of one: whole, but with its vectors mixed up."""
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez(path, **arrays | {"ids": arrays["ids"][::-1]})


def vector(length: float, *, dim: int = DIM) -> bytes:
    return np.full(dim, length / dim**0.5, dtype="<f2").tobytes()


def test_a_sound_gallery_is_told_to_be_well(
    run: Run, ask_json: Ask, gallery_path: Path, indexed: Path
) -> None:
    for gallery, files in ((gallery_path, 0), (indexed, 1)):
        (report,) = ask_json("check", "-g", gallery)
        assert report == {
            "problems": [],
            "notes": [],
            "items": 15,
            "vectors": 15,
            "generations": files,
        }
    result = run("check", "-g", indexed)
    assert result.exit_code == 0
    assert result.stdout == "15 items, 15 vectors, 1 index file: all is well\n"


@pytest.mark.parametrize(
    ("happen", "said"),
    [(flip, "has changed"), (truncate, "has changed"), (Path.unlink, "is missing")],
    ids=["flipped", "truncated", "missing"],
)
def test_weights_that_are_not_what_was_written_are_a_problem(
    happen: Callable[[Path], None],
    said: str,
    problems: Callable[[Path], list[str]],
    gallery_path: Path,
    tiny_encoder: Path,
) -> None:
    weights = gallery_path / "encoder" / "weights.safetensors"
    happen(weights)
    (told,) = problems(gallery_path)
    assert told == f"{weights} {said}: restore it from a copy of the gallery."
    shutil.copyfile(tiny_encoder / "weights.safetensors", weights)
    assert problems(gallery_path) == []


def test_every_file_of_the_encoder_is_looked_at(
    problems: Callable[[Path], list[str]], gallery_path: Path
) -> None:
    files = [
        path
        for path in (gallery_path / "encoder").rglob("*")
        if path.is_file() and path.name != "encoder.json" and path.suffix != ".blob"
    ]
    for path in files:
        flip(path)
    told = problems(gallery_path)
    assert sorted(one.split(" has changed")[0] for one in told) == sorted(map(str, files))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "Item 3 has no vector: "),
        (vector(float("nan")), "The vector of item 3 is no unit vector: "),
        (vector(0), "The vector of item 3 is no unit vector: "),
        (vector(1.01), "The vector of item 3 is no unit vector: "),
        (vector(1, dim=DIM - 1), "tem 3"),
        (vector(1)[:-1], "tem 3"),
        (b"", "tem 3"),
    ],
    ids=["none", "NaN", "zero", "too long", "one number short", "one byte short", "empty"],
)
def test_a_vector_that_is_none_is_a_problem_that_adding_again_mends(
    data: bytes | None,
    said: str,
    run: Run,
    ask_json: Ask,
    sql: Sql,
    problems: Callable[[Path], list[str]],
    gallery_path: Path,
) -> None:
    path = ask_json("list", "-g", gallery_path)[2]["path"]
    if data is None:
        sql(gallery_path, "DELETE FROM vectors WHERE item_id = 3")
    else:
        sql(gallery_path, "UPDATE vectors SET data = ? WHERE item_id = 3", data)
    (told,) = problems(gallery_path)
    assert said in told
    assert told.endswith((": remove the item and add it again.", ": remove it and add it again."))
    assert run("remove", 3, "-g", gallery_path).exit_code == 0
    assert problems(gallery_path) == []
    assert run("add", path, "-g", gallery_path).exit_code == 0
    assert problems(gallery_path) == []
    assert len(ask_json("query", path, "-g", gallery_path, "-k", 100)[0]["items"]) == 15


def test_a_second_vector_of_an_item_is_a_problem(
    sql: Sql, problems: Callable[[Path], list[str]], gallery_path: Path
) -> None:
    sql(
        gallery_path,
        "INSERT INTO vectors (item_id, encoder_id, added_seq, data)"
        " SELECT item_id, encoder_id, added_seq, data FROM vectors WHERE item_id = 3",
    )
    assert problems(gallery_path) == ["Item 3 has two vectors: remove it and add it again."]


def test_a_vector_of_no_item_is_a_problem(
    sql: Sql, problems: Callable[[Path], list[str]], gallery_path: Path
) -> None:
    sql(gallery_path, "DELETE FROM items WHERE id = 3")
    (told,) = problems(gallery_path)
    assert told.startswith("There is a vector for item 3, which does not exist: ")


def test_every_problem_is_told(
    sql: Sql, problems: Callable[[Path], list[str]], gallery_path: Path
) -> None:
    (gallery_path / "encoder" / "weights.safetensors").unlink()
    sql(gallery_path, "DELETE FROM vectors WHERE item_id IN (3, 7)")
    sql(gallery_path, "UPDATE vectors SET data = ? WHERE item_id = 5", vector(2))
    told = problems(gallery_path)
    assert len(told) == 4
    for said in ("weights.safetensors", "Item 3 ", "Item 7 ", "item 5 "):
        assert sum(said in one for one in told) == 1


@pytest.mark.parametrize("happen", [flip, truncate, rewrite])
def test_a_damaged_index_file_is_a_problem_and_answers_stay_right(
    happen: Callable[[Path], None],
    ask_json: Ask,
    problems: Callable[[Path], list[str]],
    indexed: Path,
    query_photo: Path,
) -> None:
    before = ask_json("query", query_photo, "-g", indexed)
    path = index_file(indexed)
    happen(path)
    (told,) = problems(indexed)
    assert told.startswith(f"{path} ")
    assert "delete it, build-index makes another" in told
    assert ask_json("query", query_photo, "-g", indexed) == before
    path.unlink()
    assert problems(indexed) == []


def test_a_missing_index_file_is_worth_a_note(
    run: Run, ask_json: Ask, indexed: Path, query_photo: Path
) -> None:
    before = ask_json("query", query_photo, "-g", indexed)
    path = index_file(indexed)
    path.unlink()
    result = run("check", "-g", indexed)
    assert result.exit_code == 0
    note, verdict = result.stdout.splitlines()
    assert note.startswith(f"note: {path} is gone; ")
    assert verdict.endswith(": all is well")
    assert ask_json("query", query_photo, "-g", indexed) == before


def test_build_index_makes_another_index_file_as_check_promises(
    run: Run, ask_json: Ask, photos: Path, indexed: Path
) -> None:
    index_file(indexed).unlink()
    assert run("build-index", photos, "-g", indexed).exit_code == 0
    assert index_file(indexed).is_file()
    (report,) = ask_json("check", "-g", indexed)
    assert (report["problems"], report["notes"]) == ([], [])


def test_photos_that_are_gone_are_worth_a_note(run: Run, photos: Path, gallery_path: Path) -> None:
    shutil.rmtree(photos / "red")
    result = run("check", "-g", gallery_path)
    assert result.exit_code == 0
    note, verdict = result.stdout.splitlines()
    assert note.startswith("note: 5 of 15 items' photos are not at their path any more")
    assert verdict == "15 items, 15 vectors, 0 index files: all is well"


def test_a_damaged_store_is_a_problem(
    problems: Callable[[Path], list[str]], gallery_path: Path
) -> None:
    store = gallery_path / "gallery.db"
    whole = store.read_bytes()
    store.write_bytes(whole[:-PAGE_SIZE] + np.random.default_rng(0).bytes(PAGE_SIZE))
    (told,) = problems(gallery_path)
    assert str(store) in told
    assert told.endswith(": restore it from a backup.")
    store.write_bytes(whole)
    assert problems(gallery_path) == []
