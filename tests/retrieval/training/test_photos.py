"""What is trained on and what is kept back: labels, groups, and photos that can't be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.errors import LookalikeError
from retrieval.training.photos import Division, TrainingPhotos, divide, inspect, read_photos

Listed = Callable[..., TrainingPhotos]


def write_csv(folder: Path, *rows: str) -> Path:
    path = folder / "photos.csv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def made(codes: list[int], groups: list[int | None], validation: list[bool]) -> TrainingPhotos:
    shown, renumbered = np.unique(np.array(codes, dtype=np.int64), return_inverse=True)
    return TrainingPhotos(
        tuple(Path(f"{place:04}.png") for place in range(len(codes))),
        tuple(map(str, shown)),
        renumbered.astype(np.int64),
        tuple(None if group is None else f"g{group}" for group in groups),
        np.array(validation, dtype=bool),
    )


@st.composite
def photo_sets(draw: st.DrawFn, *, splits: bool = False) -> TrainingPhotos:
    count = draw(st.integers(4, 30))
    codes = draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))
    codes[:2] = [0, 1]  # two labels at least
    group = st.none() | st.integers(0, 12)
    groups = draw(st.lists(group, min_size=count, max_size=count))
    validation = [False] * count
    if splits:
        validation = draw(st.lists(st.booleans(), min_size=count, max_size=count))
        validation[:2] = [False, False]
        groups = [None] * count
    return made(codes, groups, validation)


def parts(photos: TrainingPhotos, division: Division) -> tuple[set[int], set[int], set[int]]:
    """The labels of each part, after a look that every photo is in exactly one."""
    places = np.concatenate([division.train, division.known, division.strangers])
    assert sorted(places.tolist()) == list(range(len(photos)))
    train, known, strange = (
        set(photos.codes[part].tolist())
        for part in (division.train, division.known, division.strangers)
    )
    return train, known, strange


@settings(max_examples=40)
@given(photos=photo_sets(), seed=st.integers(0, 5))
def test_strangers_share_no_label_and_known_photos_no_group_with_what_trains(
    photos: TrainingPhotos, seed: int
) -> None:
    division = divide(photos, seed=seed)
    train, known, strange = parts(photos, division)
    assert known <= train  # what is judged by was learnt, and each label goes on being learnt
    assert not strange & train
    assert len(train) >= 2
    groups = [
        {photos.groups[place] for place in part if photos.groups[place] is not None}
        for part in (division.train, division.known)
    ]
    assert not groups[0] & groups[1]


@settings(max_examples=40)
@given(photos=photo_sets(splits=True), seed=st.integers(0, 5))
def test_photos_marked_for_validation_judge_and_never_train(
    photos: TrainingPhotos, seed: int
) -> None:
    division = divide(photos, seed=seed)
    train, known, strange = parts(photos, division)
    assert not photos.validation[division.train].any()
    assert known <= train
    assert not strange & train
    if photos.validation.any():
        assert photos.validation[division.known].all()


@settings(max_examples=40)
@given(photos=photo_sets())
def test_a_seed_divides_the_same_way(photos: TrainingPhotos) -> None:
    first, again = (divide(photos, seed=3) for _ in range(2))
    for one, other in zip(vars(first).values(), vars(again).values(), strict=True):
        assert np.array_equal(one, other)


def test_another_seed_draws_other_strangers(listed: Listed) -> None:
    photos = listed([code for code in range(20) for _ in range(5)])
    drawn = {tuple(divide(photos, seed=seed).strangers.tolist()) for seed in range(5)}
    assert len(drawn) > 1


def test_the_last_photos_by_name_are_kept_back(listed: Listed) -> None:
    photos = listed([0] * 10 + [1] * 10)
    division = divide(photos, seed=0)
    assert division.known.tolist() == [8, 9, 18, 19]
    assert division.strangers.tolist() == []


def test_a_group_is_kept_back_whole_even_where_it_shows_several_labels(listed: Listed) -> None:
    groups: list[str | None] = [*("a", "a", "b", "both"), *("c", "c", "c", "both")]
    photos = listed([0] * 4 + [1] * 4, groups=groups)
    assert divide(photos, seed=0).known.tolist() == [3, 7]


def test_a_label_of_one_group_only_trains(listed: Listed) -> None:
    photos = listed([0] * 6 + [1] * 6, groups=["a"] * 6 + ["b"] * 5 + [None])
    assert divide(photos, seed=0).known.tolist() == [11]


@pytest.mark.parametrize(("labels", "strangers"), [(2, 0), (3, 1), (10, 2), (59, 12), (60, 20)])
def test_as_many_labels_are_strangers_as_a_promise_takes(
    labels: int, strangers: int, listed: Listed
) -> None:
    photos = listed([code for code in range(labels) for _ in range(2)])
    division = divide(photos, seed=0)
    assert len(set(photos.codes[division.strangers].tolist())) == strangers


def test_labels_that_only_validation_shows_are_strangers_already(listed: Listed) -> None:
    codes = [code for code in range(10) for _ in range(2)]
    photos = listed(codes, validation=[code >= 8 for code in codes])
    assert set(photos.codes[divide(photos, seed=0).strangers].tolist()) == {8, 9}


def test_a_folders_photos_have_their_folders_labels(photos: Path) -> None:
    (photos / "loose.png").write_bytes((photos / "red" / "0.png").read_bytes())
    read = read_photos(photos)
    assert read.labels == ("blue", "green", "red")
    assert [read.labels[code] for code in read.codes] == [path.parent.name for path in read.paths]
    assert len(read) == 15
    assert read.unlabelled == 1
    assert not read.validation.any()


def test_a_csv_says_label_split_and_group(photos: Path) -> None:
    file = write_csv(
        photos,
        "path,label,split,group",
        "red/0.png,warm,train,monday",
        "red/1.png,warm,val,",
        "blue/0.png,cold,train,",
        "green/0.png,odd,test,",
        "green/1.png,,train,",
    )
    read = read_photos(file)
    assert [path.parent.name + path.stem for path in read.paths] == ["red0", "red1", "blue0"]
    assert read.labels == ("cold", "warm")
    assert read.codes.tolist() == [1, 1, 0]
    assert read.groups == ("monday", None, None)
    assert read.validation.tolist() == [False, True, False]
    assert read.unlabelled == 1


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["path,label", "red/0.png,a", "red/1.png,a"], "shows 1 labels to train on"),
        (["path,label"], "shows 0 labels to train on"),
        (
            ["path,label,split", "red/0.png,a,train", "blue/0.png,b,val"],
            "shows 1 labels to train on",
        ),
        (["path,label,split", "red/0.png,a,test", "blue/0.png,b,val"], "no row says 'train'"),
        (["path,label", "red/0.png,a", "red/77.png,b"], "row 3, column path: there is no"),
        (
            [
                "path,label,split,group",
                *("red/0.png,a,train,g", "blue/0.png,b,train,", "red/1.png,a,val,g"),
            ],
            "'g' is in both train and val",
        ),
    ],
)
def test_what_can_not_be_trained_on_is_refused(photos: Path, rows: list[str], said: str) -> None:
    with pytest.raises(LookalikeError, match=said):
        read_photos(write_csv(photos, *rows))


def test_photos_that_can_not_be_read_are_left_out_and_told(photos: Path) -> None:
    (photos / "green" / "2.png").write_bytes(b"no picture")
    left, failed, _ = inspect(read_photos(photos))
    assert len(left) == 14
    assert photos / "green" / "2.png" not in left.paths
    assert [Path(one.path).name for one in failed] == ["2.png"]
    assert failed[0].reason


def test_a_label_none_of_whose_photos_can_be_read_is_gone(photos: Path) -> None:
    for path in (photos / "green").iterdir():
        path.write_bytes(b"no picture")
    left, failed, _ = inspect(read_photos(photos))
    assert left.labels == ("blue", "red")
    assert set(left.codes.tolist()) == {0, 1}
    assert len(failed) == 5


def test_too_few_labels_that_can_be_read_are_refused(photos: Path) -> None:
    for path in [*(photos / "green").iterdir(), *(photos / "red").iterdir()]:
        path.write_bytes(b"no picture")
    with pytest.raises(LookalikeError, match="Only 5 of 15 photos can be read"):
        inspect(read_photos(photos))


def test_the_digest_tells_pixels_labels_groups_and_splits(photos: Path) -> None:
    def digest(*rows: str) -> str:
        lines = ["path,label,split,group", "red/0.png,a,train,", "blue/0.png,b,train,", *rows]
        return inspect(read_photos(write_csv(photos, *lines)))[2]

    same = digest("green/0.png,a,train,g")
    assert digest("green/0.png,a,train,g") == same
    told: list[Any] = [
        digest("green/0.png,b,train,g"),
        digest("green/0.png,a,val,g"),
        digest("green/0.png,a,train,h"),
        digest("green/1.png,a,train,g"),
    ]
    (photos / "green" / "0.png").write_bytes((photos / "green" / "3.png").read_bytes())
    told.append(digest("green/0.png,a,train,g"))
    assert len({same, *told}) == 6
