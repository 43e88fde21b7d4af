"""Which photos a folder holds, and what labels a folder, nothing or a CSV gives them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval.errors import LabelsError, LookalikeError
from retrieval.images import IMAGE_SUFFIXES
from retrieval.sources import Label, absolute, find_photos, label_source, read_labels

WriteCsv = Callable[..., Path]


def touch(folder: Path, *names: str) -> Path:
    """Create empty files in a folder; whether they are images is not asked here."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def found(folder: Path) -> list[str]:
    return [path.relative_to(folder.resolve()).as_posix() for path in find_photos(folder)]


@pytest.fixture
def write(tmp_path: Path) -> WriteCsv:
    """A function that writes lines to `lists/labels.csv`."""

    def write_lines(*lines: str, encoding: str = "utf-8") -> Path:
        path = tmp_path / "lists" / "labels.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines), encoding=encoding)
        return path

    return write_lines


def test_photos_are_told_by_their_suffix_in_any_case(tmp_path: Path) -> None:
    photos = [f"{number:02}{suffix}" for number, suffix in enumerate(sorted(IMAGE_SUFFIXES))]
    photos += ["90.JPG", "91.Jpeg", "92.tar.png", "93 with space.png", "94ü.png"]
    touch(tmp_path, *photos, "notes.txt", "png", "jpg.", "photo.png.part", "Thumbs.db", "a.svg")
    assert found(tmp_path) == photos


def test_photos_come_sorted_within_each_folder_and_folders_after_them(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.png", "b/10.png", "a/z/1.png", "a/3.png", "c.png", "B.png")
    assert found(tmp_path) == ["B.png", "c.png", "a/3.png", "a/z/1.png", "b/10.png", "b/2.png"]


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    hidden = tmp_path / ".cache" / "photos"
    touch(hidden, "seen.png", "._seen.png", ".hidden.png", ".thumbnails/1.png", "a/.b/c/2.png")
    # The folder that was asked for may lie in a hidden one.
    assert found(hidden) == ["seen.png"]


def test_a_link_to_a_file_is_found_and_a_link_to_a_folder_is_not_followed(tmp_path: Path) -> None:
    touch(tmp_path, "outside/1.png", "photos/2.png")
    (tmp_path / "photos" / "link.png").symlink_to(tmp_path / "outside" / "1.png")
    (tmp_path / "photos" / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "photos" / "folder.png").symlink_to(tmp_path / "outside")
    (tmp_path / "photos" / "loop").symlink_to(tmp_path / "photos")
    # A dangling link is a photo that can't be read, and will be reported as one.
    assert found(tmp_path / "photos") == ["2.png", "dangling.png", "link.png"]


def test_a_link_to_the_folder_gives_the_names_in_the_folder_itself(tmp_path: Path) -> None:
    touch(tmp_path / "photos", "1.png")
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    assert list(find_photos(tmp_path / "link")) == [(tmp_path / "photos" / "1.png").resolve()]


def test_relative_folders_give_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "photos/1.png")
    monkeypatch.chdir(tmp_path)
    assert list(find_photos(Path("photos"))) == [(tmp_path / "photos" / "1.png").resolve()]
    assert found(Path()) == ["photos/1.png"]


def test_file_names_need_not_be_utf_8(tmp_path: Path) -> None:
    name = b"caf\xe9.png"
    try:
        (tmp_path / os.fsdecode(name)).touch()
    except OSError:  # such a file system holds none to find
        return
    (photo,) = find_photos(tmp_path)
    assert os.fsencode(photo.name) == name
    assert photo.is_file()


@pytest.mark.parametrize("name", ["nowhere", "photo.png"])
def test_what_is_no_folder_is_refused(name: str, tmp_path: Path) -> None:
    touch(tmp_path, "photo.png")
    with pytest.raises(LookalikeError, match=rf"{name} is no folder: name the folder"):
        next(find_photos(tmp_path / name))


def test_a_folder_that_can_not_be_listed_is_named_and_not_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "1.png", "a/2.png", "b/3.png")
    looking = find_photos(tmp_path)
    next(looking)
    shutil.rmtree(tmp_path / "a")  # permissions, which an administrator ignores, end the same way
    with pytest.raises(LookalikeError, match=r"/a can't be read \(No such file or directory\)"):
        list(looking)


def test_folders_label_photos_with_the_folder_they_are_in(tmp_path: Path) -> None:
    touch(tmp_path, "1.png", "cat/2.png", "pets/dog/3.png", "Ängström 7/4.png")
    (tmp_path / "link").symlink_to(tmp_path)
    label = label_source("folder", tmp_path / "link")
    assert {path.name: label(path).label for path in find_photos(tmp_path)} == {
        "1.png": None,
        "2.png": "cat",
        "3.png": "dog",
        "4.png": "Ängström 7",
    }


def test_no_labels_make_each_photo_its_own_identity(tmp_path: Path) -> None:
    label = label_source("none", tmp_path)
    assert label(tmp_path / "cat" / "1.png") == Label(None, {})


def test_a_csv_labels_the_photos_it_names(tmp_path: Path, write: WriteCsv) -> None:
    photos = touch(tmp_path / "photos", "cat/1.png", "cat/2.png", "cat/3.png")
    labels = write("path,label,shop", "cat/1.png,Kitty,north", "cat/2.png,,")
    label = label_source(str(labels), photos)
    assert [label(path) for path in find_photos(photos)] == [
        Label("Kitty", {"shop": "north"}),
        Label(None, {"shop": ""}),
        Label(None, {}),
    ]


def test_a_csv_keeps_its_order_and_its_further_columns(tmp_path: Path, write: WriteCsv) -> None:
    labels = read_labels(write("shop,label, path ,price", "a,x,2.png,3", '"b, c",y,1.png,'))
    lists = (tmp_path / "lists").resolve()
    assert list(labels.items()) == [
        (lists / "2.png", Label("x", {"shop": "a", "price": "3"})),
        (lists / "1.png", Label("y", {"shop": "b, c", "price": ""})),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_csv_of_a_spreadsheet_is_read(encoding: str, write: WriteCsv) -> None:
    labels = read_labels(write("path,label\r", "1.png,Käse\r", "\r", encoding=encoding))
    assert list(labels.values()) == [Label("Käse")]


def test_paths_are_looked_up_beside_the_csv_first_and_then_in_the_folder(
    tmp_path: Path, write: WriteCsv
) -> None:
    photos = touch(tmp_path / "photos", "both.png", "there.png")
    touch(tmp_path / "lists", "both.png", "beside.png")
    outside = touch(tmp_path, "outside.png") / "outside.png"
    names = ["both.png", "beside.png", "there.png", "gone.png", str(outside), "../photos/up.png"]
    labels = read_labels(write("path,label", *(f"{name},x" for name in names)), photos)
    assert [path.relative_to(tmp_path.resolve()).as_posix() for path in labels] == [
        *("lists/both.png", "lists/beside.png", "photos/there.png", "lists/gone.png"),
        *("outside.png", "photos/up.png"),
    ]


def test_a_csv_and_a_folder_mean_the_same_photo_by_a_link(tmp_path: Path, write: WriteCsv) -> None:
    photos = touch(tmp_path / "photos", "1.png")
    (photos / "link.png").symlink_to(photos / "1.png")
    (tmp_path / "way").symlink_to(photos)
    labels = read_labels(write("path,label", "../way/link.png,x"))
    assert list(labels) == [photos.resolve() / "link.png"]
    assert set(labels) <= set(find_photos(photos))
    assert absolute(tmp_path / "way" / "link.png") in labels


@pytest.mark.parametrize("again", ["1.png", "./1.png", "../lists/1.png", "way/1.png"])
def test_a_photo_named_twice_is_refused(again: str, tmp_path: Path, write: WriteCsv) -> None:
    touch(tmp_path / "lists", "1.png", "2.png")
    (tmp_path / "lists" / "way").symlink_to(tmp_path / "lists")
    labels = write("path,label", "1.png,x", "2.png,x", f"{again},x")
    expected = r"labels\.csv, row 4, column path: .*1\.png is named a second time\."
    with pytest.raises(LabelsError, match=expected):
        read_labels(labels)


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["path,name", "1.png,x"], r"no column 'label': .* it names path, name\.$"),
        (["Path,label", "1.png,x"], r"no column 'path': .* it names Path, label\.$"),
        (["path;label", "1.png;x"], r"no column 'path': .* it names path;label\.$"),
        ([], r"no column 'path': .* it names nothing\.$"),
        (["path,label", "1.png,x", "2.png"], r"row 3: expected 2 values \(path, label\)\.$"),
        (["path,label", "1.png,x,y"], r"row 2: expected 2 values \(path, label\)\.$"),
        (["path,label,a", "1.png,x,1", "", "2.png,x"], r"row 4: expected 3 values"),
        (["path,label", "1.png,x", ",y"], r"row 3, column path: is empty\.$"),
        (["path,label", "1.png,x\0"], r"row 2, column label: 'x\\x00' holds the character NUL"),
        (["path,label", "1.png," + "x" * 3000], r"row 2, column label: 'x.*' is longer than 2,600"),
        (["path,label,a", "1.png,x,\0"], r"row 2, column a: '\\x00' holds the character NUL"),
        (["path,label", '"1.png,x'], r"is no CSV \(.*\): check its quotes\.$"),
        (["path,label", '"1".png,x'], r"is no CSV \(.*\): check its quotes\.$"),
    ],
)
def test_a_csv_that_does_not_fit_is_refused_by_row_and_column(
    lines: list[str], complaint: str, write: WriteCsv
) -> None:
    with pytest.raises(LabelsError, match=complaint) as caught:
        read_labels(write(*lines))
    assert "labels.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rows_are_counted_as_an_editor_counts_lines(write: WriteCsv) -> None:
    with pytest.raises(LabelsError, match="row 5: expected 2 values"):
        read_labels(write("path,label", '1.png,"two', 'lines"', "", "2.png"))


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_csv_that_is_not_utf_8_is_refused(encoding: str, write: WriteCsv) -> None:
    labels = write("path,label", "1.png,Käse", encoding=encoding)
    with pytest.raises(LabelsError, match=r"is not UTF-8 .*: save it as UTF-8\.$"):
        read_labels(labels)


def test_a_name_too_long_for_a_file_is_one_that_is_not_there(
    tmp_path: Path, write: WriteCsv
) -> None:
    name = "x" * 300 + ".png"
    labels = read_labels(write("path,label", "1.png,x", f"{name},y"), tmp_path)
    assert [path.name for path in labels] == ["1.png", name]


def test_a_csv_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match=r"gone\.csv can't be read \(No such file"):
        read_labels(tmp_path / "gone.csv")
    with pytest.raises(LabelsError, match=r"no label file .*: say folder, none, or a CSV's path"):
        label_source(str(tmp_path / "gone.csv"), tmp_path)
    with pytest.raises(LabelsError, match="no label file folders: say folder, none"):
        label_source("folders", tmp_path)
