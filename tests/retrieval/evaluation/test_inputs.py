"""What a gallery is judged by: folders, data sets that say what is what, CSVs."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrieval.errors import LabelsError, LookalikeError
from retrieval.evaluation.inputs import is_data_set, read_queries


def photos(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def told(folder: Path, **options: str) -> dict[str, str | None]:
    queries = read_queries(folder, **options)
    return {
        str(one.path.relative_to(folder.resolve())): one.label.label if one.label else None
        for one in queries.sources
    }


def test_a_folder_is_labelled_by_its_folders(tmp_path: Path) -> None:
    photos(tmp_path, "a/1.png", "b/c/2.png")
    assert told(tmp_path) == {"a/1.png": "a", "b/c/2.png": "c"}
    assert read_queries(tmp_path).strangers == frozenset()
    assert not is_data_set(tmp_path)


def test_a_data_set_says_who_is_a_stranger(tmp_path: Path) -> None:
    photos(tmp_path, "gallery/a/0.png", "probe/a/1.png", "unknown/a/2.png", "unknown/3.png")
    labels = {"probe/a/1.png": "a", "unknown/3.png": "unknown", "unknown/a/2.png": "a"}
    assert told(tmp_path) == labels
    strangers = read_queries(tmp_path).strangers
    assert {path.name for path in strangers} == {"2.png", "3.png"}
    assert is_data_set(tmp_path)


def test_a_csv_has_splits_and_groups(tmp_path: Path) -> None:
    photos(tmp_path, "1.png", "2.png", "3.png")
    csv = tmp_path / "queries.csv"
    csv.write_text("path,label,split,group\n1.png,a,val,s1\n2.png,a,test,\n3.png,b,test,s2\n")
    queries = read_queries(csv, split="test")
    assert [one.path.name for one in queries.sources] == ["2.png", "3.png"]
    assert [queries.group(one) for one in queries.sources] == [None, "s2"]
    assert len(read_queries(csv).sources) == 3
    with pytest.raises(LabelsError, match=r"column split: no row says 'train', only 'test', 'val'"):
        read_queries(csv, split="train")


def test_a_split_of_what_has_none_is_refused(tmp_path: Path) -> None:
    photos(tmp_path, "1.png")
    csv = tmp_path / "queries.csv"
    csv.write_text("path,label\n1.png,a\n")
    with pytest.raises(LabelsError, match="has no column 'split'"):
        read_queries(csv, split="val")
    with pytest.raises(LookalikeError, match="is a folder and has no splits"):
        read_queries(tmp_path, split="val")


def test_a_photo_that_is_not_there_is_named_with_its_row(tmp_path: Path) -> None:
    photos(tmp_path, "1.png")
    csv = tmp_path / "queries.csv"
    csv.write_text("path,label\n1.png,a\ngone.png,a\n")
    with pytest.raises(LabelsError, match=r"queries\.csv, row 3, column path: there is no .*gone"):
        read_queries(csv)


@pytest.mark.parametrize("what", ["folder", "csv"])
def test_no_photos_are_refused(what: str, tmp_path: Path) -> None:
    asked = tmp_path
    if what == "csv":
        asked = tmp_path / "queries.csv"
        asked.write_text("path,label\n")
    with pytest.raises(LookalikeError, match="holds no photos"):
        read_queries(asked)
