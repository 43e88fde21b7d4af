"""Lists of pairs on disk: what a CSV may say, what is refused, and what is written."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from retrieval import Gallery
from retrieval.errors import GalleryError, LabelsError, LookalikeError
from retrieval.pairing import make_pairs, read_pairs

Write = Callable[..., Path]


@pytest.fixture
def write(photos: Path) -> Write:
    """A function that writes rows to `pairs.csv` beside the photos' folders."""

    def write_rows(*rows: str, header: str = "path_a,path_b,label") -> Path:
        path = photos / "pairs.csv"
        path.write_text("".join(f"{row}\n" for row in (header, *rows)), encoding="utf-8")
        return path

    return write_rows


def written(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["path_a", "path_b", "label"]
    return rows


# Reading --------------------------------------------------------------------------------------


def test_pairs_are_read_with_each_photo_once(write: Write, photos: Path) -> None:
    red = photos / "red"
    listed = read_pairs(
        write(
            "red/0.png,red/1.png,1",
            f"blue/0.png,{red / '0.png'},0",
            "red/1.png,blue/../red/0.png,1",
        )
    )
    assert listed.photos == (red / "0.png", red / "1.png", photos / "blue" / "0.png")
    pairs = zip(listed.first.tolist(), listed.second.tolist(), listed.same.tolist(), strict=True)
    assert list(pairs) == [(0, 1, True), (2, 0, False), (1, 0, True)]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("1", True),
        ("0", False),
        ("same", True),
        (" Different ", False),
        ("TRUE", True),
        ("false", 0),
    ],
)
def test_labels_may_be_words(text: str, same: bool, write: Write) -> None:
    assert read_pairs(write(f"red/0.png,red/1.png,{text}")).same.tolist() == [same]


def test_further_columns_and_another_order_do_not_matter(write: Write) -> None:
    listed = read_pairs(write("0,x,red/0.png,blue/0.png", header="label,note,path_b,path_a"))
    assert [path.parent.name for path in listed.photos] == ["blue", "red"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("red/0.png,red/1.png,2", "row 3, column label: '2' is neither 1"),
        ("red/0.png,red/1.png,", "row 3, column label: '' is neither"),
        ("red/0.png,red/1.png,yes", "row 3, column label: 'yes' is neither"),
        ("red/0.png,red/9.png,1", "row 3, column path_b: there is no file "),
        ("red/9.png,red/0.png,1", "row 3, column path_a: there is no file "),
        ("red,red/0.png,1", "row 3, column path_a: there is no file "),
        (f"{'x' * 300},red/0.png,1", "row 3, column path_a: there is no file "),
        ("red/\0/0.png,red/0.png,1", "row 3, column path_a: there is no file "),
        (",red/0.png,1", "row 3, column path_a: is empty"),
        ("red/0.png,,1", "row 3, column path_b: is empty"),
        ("red/0.png,red/1.png", "row 3: expected 3 values"),
        ("red/1.png,red/0.png,0", "row 3, column label: contradicts row 2"),
    ],
)
def test_a_row_that_does_not_fit_is_named(row: str, said: str, write: Write) -> None:
    file = write("red/0.png,red/1.png,1", row)
    with pytest.raises(LabelsError) as refused:
        read_pairs(file)
    assert str(refused.value).startswith(f"{file}, {said}")


def test_a_list_without_pairs_is_refused(write: Write, tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match="holds no pairs"):
        read_pairs(write())
    with pytest.raises(LabelsError, match="no column 'path_b'"):
        read_pairs(write(header="path_a,label"))
    with pytest.raises(LabelsError, match="can't be read"):
        read_pairs(tmp_path / "none.csv")


def test_each_photo_is_embedded_once_and_told(gallery: Gallery, write: Write) -> None:
    told: list[tuple[int, int]] = []
    pairs = write("red/0.png,red/1.png,1", "red/1.png,blue/0.png,0", "red/0.png,blue/0.png,0")
    gallery.evaluate_pairs(pairs, progress=lambda *counts: told.append(counts))
    assert told == [(1, 3), (2, 3), (3, 3)]


# Writing --------------------------------------------------------------------------------------


def test_pairs_of_a_folder_can_be_read_again(photos: Path, tmp_path: Path) -> None:
    drawn = make_pairs(photos, tmp_path / "pairs.csv", count=30, seed=3)
    assert (drawn.pairs, drawn.n_positive, drawn.n_negative, drawn.hard) == (30, 15, 15, 0)
    listed = read_pairs(tmp_path / "pairs.csv")
    assert drawn.photos == len(listed.photos)
    assert drawn.labels == 3
    for first, second, same in zip(listed.first, listed.second, listed.same, strict=True):
        parents = {listed.photos[place].parent.name for place in (first, second)}
        assert (len(parents) == 1) == same
    before = (tmp_path / "pairs.csv").read_bytes()
    make_pairs(photos, tmp_path / "again.csv", count=30, seed=3)
    assert (tmp_path / "again.csv").read_bytes() == before
    make_pairs(photos, tmp_path / "other.csv", count=30, seed=4)
    assert (tmp_path / "other.csv").read_bytes() != before


def test_photos_below_the_csv_are_named_relative_to_it(photos: Path, tmp_path: Path) -> None:
    make_pairs(photos, tmp_path / "pairs.csv", count=20)
    assert {Path(row[0]).parts[0] for row in written(tmp_path / "pairs.csv")} == {"photos"}
    (tmp_path / "lists").mkdir()
    make_pairs(photos, tmp_path / "lists" / "pairs.csv", count=20)
    assert all(Path(row[1]).is_absolute() for row in written(tmp_path / "lists" / "pairs.csv"))


def test_names_that_csv_must_quote_survive(photos: Path, tmp_path: Path) -> None:
    for number, name in enumerate(['a,"b".png', "a\nb.png", "a\rb.png"]):
        (photos / "red" / f"{number}.png").rename(photos / "red" / name)
    make_pairs(photos, tmp_path / "pairs.csv", count=60)
    assert len(read_pairs(tmp_path / "pairs.csv").photos) == 15


def test_photos_of_a_csv_without_a_label_are_left_out(photos: Path, tmp_path: Path) -> None:
    labels = photos / "labels.csv"
    rows = [f"red/{n}.png,{'odd' if n % 2 else 'even'}\n" for n in range(4)]
    labels.write_text("path,label\nred/4.png,\n" + "".join(rows), encoding="utf-8")
    drawn = make_pairs(labels, tmp_path / "pairs.csv", count=4)
    assert (drawn.photos, drawn.labels) == (4, 2)
    with pytest.raises(LookalikeError, match="4 labelled photos of 2 labels make 2 positive pairs"):
        make_pairs(labels, tmp_path / "more.csv", count=6)
    assert not (tmp_path / "more.csv").exists()


def test_nothing_is_overwritten_unasked(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "pairs.csv"
    out.write_text("mine")
    with pytest.raises(LookalikeError, match="exists: say --force"):
        make_pairs(photos, out, count=20)
    assert out.read_text() == "mine"
    make_pairs(photos, out, count=20, overwrite=True)
    assert len(written(out)) == 20
    with pytest.raises(LookalikeError, match="is a folder"):
        make_pairs(photos, tmp_path, count=20, overwrite=True)
    with pytest.raises(LookalikeError, match="folder that does not exist"):
        make_pairs(photos, tmp_path / "no" / "pairs.csv", count=20)
    with pytest.raises(LookalikeError, match="can't be written"):
        make_pairs(photos, tmp_path / ("x" * 300), count=20, overwrite=True)


def test_a_name_that_is_no_text_is_refused(photos: Path, tmp_path: Path) -> None:
    for number in range(5):
        path = photos / "red" / f"{number}.png"
        path.rename(photos / "red" / f"{number}\udcff.png")
    with pytest.raises(LookalikeError, match="is no text"):
        make_pairs(photos, tmp_path / "pairs.csv", count=60)
    assert not (tmp_path / "pairs.csv").exists()


# A gallery's own items ------------------------------------------------------------------------


def test_items_are_paired_without_their_photos(
    gallery: Gallery, photos: Path, tmp_path: Path
) -> None:
    gallery.relabel([1], None)
    for path in photos.rglob("*.png"):
        path.write_bytes(b"")
    drawn = gallery.make_pairs(tmp_path / "pairs.csv", count=20, hard=0.5, seed=1)
    assert (drawn.pairs, drawn.hard) == (20, 10)
    unlabelled = gallery.items(ids=[1])[0].path
    assert unlabelled not in {str(path) for path in read_pairs(tmp_path / "pairs.csv").photos}
    with pytest.raises(GalleryError, match=r"hard is 1\.5"):
        gallery.make_pairs(tmp_path / "more.csv", hard=1.5)


def test_hard_pairs_of_items_go_by_the_stored_vectors(gallery: Gallery, tmp_path: Path) -> None:
    vectors = {item.path: gallery.embed(item.path) for item in gallery.items()}

    def mean_distances(hard: float) -> list[float]:
        out = tmp_path / f"{hard}.csv"
        gallery.make_pairs(out, count=20, hard=hard)
        rows = [
            (1 - float(vectors[str(tmp_path / a)] @ vectors[str(tmp_path / b)]), label)
            for a, b, label in written(out)
        ]
        return [sum(d for d, label in rows if label == which) / 10 for which in "10"]

    (far, near), (mates, others) = mean_distances(1.0), mean_distances(0.0)
    assert far > mates
    assert near < others


def test_copies_of_a_photo_make_no_pairs(
    tmp_path: Path, tiny_encoder: Path, draw_photo: Callable[..., Image.Image]
) -> None:
    for colour in ("red", "green"):
        (tmp_path / "photos" / colour).mkdir(parents=True)
        for number in range(2):
            draw_photo(colour, number).save(tmp_path / "photos" / colour / f"{number}.png")
            draw_photo(colour, number).save(tmp_path / "photos" / colour / f"copy-{number}.png")
    with Gallery.create(tmp_path / "gallery", encoder=str(tiny_encoder)) as gallery:
        gallery.build(tmp_path / "photos", allow_duplicates=True)
        assert gallery.info().items == 8
        drawn = gallery.make_pairs(tmp_path / "pairs.csv", count=4, hard=0.5)
        assert drawn.photos == 4
        with pytest.raises(LookalikeError, match="at most 4 pairs"):
            gallery.make_pairs(tmp_path / "more.csv", count=6)
