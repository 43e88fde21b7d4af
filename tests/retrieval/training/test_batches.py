"""Which photos go into which batch, and that nothing but seed and epoch decides it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from retrieval.errors import LookalikeError
from retrieval.training.batches import balanced_batches, hard_batches, shuffled_batches

Draw = Callable[..., list[NDArray[np.int64]]]
SIZES = st.lists(st.integers(1, 12), min_size=1, max_size=12)


def coded(sizes: list[int], seed: int = 0) -> NDArray[np.int64]:
    """Codes of labels with so many photos each, in no order and with gaps between the numbers."""
    codes = np.repeat(7 * np.arange(len(sizes)) + 3, sizes)
    return np.random.default_rng(seed).permutation(codes)


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def drawn_by(kind: str, codes: NDArray[np.int64], **options: int) -> list[NDArray[np.int64]]:
    """Batches of either kind, hard ones of drawn embeddings."""
    if kind == "balanced":
        return balanced_batches(codes, **options)
    embeddings = unit(np.random.default_rng(9).normal(size=(len(codes), 6)))
    return hard_batches(embeddings, codes, **options)


def same(one: list[NDArray[np.int64]], other: list[NDArray[np.int64]]) -> bool:
    return len(one) == len(other) and all(map(np.array_equal, one, other))


@given(st.integers(0, 60), st.integers(1, 20), st.integers(0, 3), st.integers(0, 3))
def test_shuffled_batches_hold_each_photo_once(n: int, size: int, seed: int, epoch: int) -> None:
    batches = shuffled_batches(n, size, seed=seed, epoch=epoch)
    assert sorted(np.concatenate([[], *batches]).tolist()) == list(range(n))
    sizes = [len(batch) for batch in batches]
    assert len(batches) == -(-n // size)
    assert not sizes or (max(sizes) <= size and max(sizes) - min(sizes) <= 1)
    assert all(batch.dtype == np.int64 for batch in batches)


@pytest.mark.parametrize("kind", ["balanced", "hard"])
@given(
    sizes=SIZES,
    per_batch=st.integers(1, 12),
    per_label=st.integers(1, 5),
    seed=st.integers(0, 99),
    epoch=st.integers(0, 99),
)
def test_a_batch_shows_so_many_labels_with_so_many_photos(
    kind: str, sizes: list[int], per_batch: int, per_label: int, seed: int, epoch: int
) -> None:
    per_batch = min(per_batch, len(sizes))
    codes = coded(sizes, seed)
    batches = drawn_by(
        kind, codes, labels_per_batch=per_batch, photos_per_label=per_label, seed=seed, epoch=epoch
    )
    size = per_batch * per_label
    # About as many as there are: to within half a batch, and at least one batch.
    assert abs(len(batches) * size - len(codes)) <= size / 2 or len(batches) == 1
    held = Counter(codes.tolist())
    labels: Counter[int] = Counter()
    photos: Counter[int] = Counter()
    for batch in batches:
        assert batch.dtype == np.int64
        shown = codes[batch].reshape(per_batch, per_label)
        assert (shown == shown[:, :1]).all()
        assert len(set(shown[:, 0].tolist())) == per_batch
        labels.update(shown[:, 0].tolist())
        photos.update(batch.tolist())
        for code, row in zip(shown[:, 0], batch.reshape(per_batch, per_label), strict=True):
            times = Counter(row.tolist())
            few = min(held[code], per_label)
            assert len(times) == few
            assert max(times.values()) <= -(-per_label // few)
    for code, count in held.items():
        if count >= per_label:
            times_of = [photos[place] for place in np.flatnonzero(codes == code).tolist()]
            assert max(times_of) - min(times_of) <= 1
    if kind == "balanced":
        all_times = [labels[code] for code in held]
        assert max(all_times) - min(all_times) <= 1


@pytest.mark.parametrize("kind", ["balanced", "hard"])
def test_seed_and_epoch_decide_and_nothing_else(kind: str) -> None:
    codes = coded([5, 9, 2, 7, 7, 6])

    def draw(seed: int, epoch: int) -> list[NDArray[np.int64]]:
        return drawn_by(kind, codes, labels_per_batch=3, photos_per_label=2, seed=seed, epoch=epoch)

    before = draw(1, 2)
    np.random.default_rng().random()
    draw(1, 3)
    assert same(before, draw(1, 2))
    assert not same(before, draw(1, 3))
    assert not same(before, draw(2, 2))
    # Epochs of one seed are not those of another, shifted.
    assert not same(draw(1, 2), draw(2, 1))


def test_shuffling_depends_on_seed_and_epoch() -> None:
    drawn = [shuffled_batches(40, 8, seed=s, epoch=e) for s, e in [(1, 2), (1, 2), (1, 3), (2, 2)]]
    assert same(drawn[0], drawn[1])
    assert not any(same(drawn[0], other) for other in drawn[2:])


def test_numbers_of_labels_mean_nothing_but_which_are_equal() -> None:
    codes = coded([4, 4, 4])
    options = {"labels_per_batch": 2, "photos_per_label": 2, "seed": 0, "epoch": 0}
    assert same(balanced_batches(codes, **options), balanced_batches(10 * codes, **options))


def families(rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Twelve labels of five photos; those of equal code modulo three look nearly alike."""
    codes = rng.permutation(np.repeat(np.arange(12), 5))
    centres = np.eye(8)[:3]
    return unit(centres[codes % 3] + 0.05 * rng.normal(size=(60, 8))), codes


@pytest.mark.parametrize("seed", range(5))
def test_rivals_share_a_batch(seed: int) -> None:
    embeddings, codes = families(np.random.default_rng(seed))
    batches = hard_batches(
        embeddings, codes, labels_per_batch=4, photos_per_label=5, seed=seed, epoch=1
    )
    assert len(batches) == 3
    for batch in batches:
        assert len(set((codes[batch] % 3).tolist())) == 1
    assert len({int(codes[batch[0]] % 3) for batch in batches}) == 3


@pytest.mark.parametrize("seed", range(5))
def test_the_nearest_photos_of_labels_tell_how_near_they_are(seed: int) -> None:
    """Against all pairs of photos, while labels are due; means and farthest photos mislead here."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.repeat(np.arange(9), 6))
    embeddings = unit(rng.normal(size=(54, 4)))
    distances = 1 - embeddings.astype(np.float64) @ embeddings.astype(np.float64).T
    between = np.array(
        [
            [distances[np.ix_(codes == one, codes == two)].min() for two in range(9)]
            for one in range(9)
        ]
    )
    batches = hard_batches(
        embeddings, codes, labels_per_batch=3, photos_per_label=6, seed=seed, epoch=0
    )
    assert len(batches) == 3
    due = set(range(9))
    for batch in batches:
        anchor, *others = codes[batch][::6].tolist()
        assert {anchor, *others} <= due
        due -= {anchor}
        nearest = sorted(due, key=lambda one: between[anchor, one])[:2]
        # An index of 8-bit codes may swap what is equally near to 0.02.
        assert between[anchor, others].sum() <= between[anchor, nearest].sum() + 0.02
        due -= set(others)
    assert not due


def test_the_last_labels_due_are_joined_by_their_nearest_of_all() -> None:
    embeddings, codes = families(np.random.default_rng(0))
    batches = hard_batches(
        embeddings, codes, labels_per_batch=3, photos_per_label=1, seed=0, epoch=0
    )
    # Families of four in threes: three batches of one family, then what is left of them.
    for start in range(0, 20, 4):
        labels = codes[np.concatenate(batches[start : start + 4])]
        assert sorted(labels.tolist()) == list(range(12))
    batches = hard_batches(
        embeddings, codes, labels_per_batch=5, photos_per_label=1, seed=0, epoch=0
    )
    for first, last in pairwise([0, 3, 6]):
        shown = [codes[batch].tolist() for batch in batches[first:last]]
        assert set().union(*shown) == set(range(12))
        assert len(set(shown[0]) | set(shown[1])) == 10
        anchor = shown[2][0]
        assert sum(label % 3 == anchor % 3 for label in shown[2]) >= 3


def test_labels_too_far_for_the_index_to_tell_still_fill_a_batch() -> None:
    """Each photo finds a few dozen others, all of them here of the few labels next to it."""
    codes = np.repeat(np.arange(60), 20)
    angles = np.linspace(0, 1.5, 60)[codes] + 1e-4 * np.random.default_rng(0).normal(size=1200)
    embeddings = unit(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    batches = hard_batches(
        embeddings, codes, labels_per_batch=50, photos_per_label=2, seed=0, epoch=0
    )
    assert all(len(set(codes[batch].tolist())) == 50 for batch in batches)
    for batch in batches[::2]:
        anchor, first, second = codes[batch][:6:2].tolist()
        assert abs(first - anchor) <= 5
        assert abs(second - anchor) <= 5
        last = codes[batch][-20::2].tolist()
        assert last != sorted(last)


def test_large_labels_are_told_by_some_of_their_photos() -> None:
    """With hundreds of mates about a photo, its nearest others are found all the same."""
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(6), 300)
    centres = unit(rng.normal(size=(3, 8)))
    embeddings = unit(centres[codes // 2] + 0.02 * rng.normal(size=(1800, 8)))
    batches = hard_batches(
        embeddings, codes, labels_per_batch=2, photos_per_label=4, seed=0, epoch=0
    )
    assert all(len(set((codes[batch] // 2).tolist())) == 1 for batch in batches)


@pytest.mark.parametrize("kind", ["balanced", "hard"])
def test_too_few_labels_are_refused(kind: str) -> None:
    with pytest.raises(LookalikeError, match="show 2 labels and a batch 3: take 2 labels"):
        drawn_by(kind, coded([4, 4]), labels_per_batch=3, photos_per_label=2, seed=0, epoch=0)
