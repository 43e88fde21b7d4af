"""Folds of labels: what is judged took no part in learning."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.verifying.folds import FOLDS, TooFewPairs, divisions, joined, label_folds


@given(st.integers(0, 2**32 - 1), st.integers(10, 40))
def test_no_label_is_on_both_sides(seed: int, labels: int) -> None:
    rng = np.random.default_rng(seed)
    identities = np.concatenate([np.arange(labels), rng.integers(0, labels, size=60)])
    first, second = rng.integers(0, len(identities), size=(2, 200))
    folds = label_folds(identities, first, second, seed=0)
    held_out = np.zeros(200, dtype=int)
    for fold in divisions(folds, first, second):
        learnt, judged = (
            set(identities[np.concatenate([first[some], second[some]])].tolist())
            for some in (fold.learn, fold.held_out)
        )
        assert not learnt & judged
        assert not (fold.learn & fold.held_out).any()
        held_out += fold.held_out
    # A pair is held out once, or not at all where its photos lie in different folds.
    np.testing.assert_array_equal(held_out, folds[first] == folds[second])


def test_folds_get_about_as_many_pairs_and_at_least_two_labels() -> None:
    identities = np.repeat(np.arange(25), 4)
    first = np.arange(0, 100, 2)
    folds = label_folds(identities, first, first + 1, seed=3)
    assert np.bincount(folds[first]).tolist() == [10] * FOLDS
    assert all(len(np.unique(identities[folds == one])) == 5 for one in range(FOLDS))


def test_the_seed_deals_the_labels() -> None:
    identities = np.repeat(np.arange(25), 4)
    first = np.arange(0, 100, 2)
    dealt = [label_folds(identities, first, first + 1, seed=seed) for seed in (0, 0, 1)]
    assert np.array_equal(dealt[0], dealt[1])
    assert not np.array_equal(dealt[0], dealt[2])


def test_nine_labels_are_too_few() -> None:
    with pytest.raises(TooFewPairs, match="takes 10 labels; these pairs show 9"):
        label_folds(np.arange(9), np.array([0]), np.array([1]), seed=0)


@given(st.integers(0, 2**32 - 1))
def test_chains_join_photos(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 20, size=(2, 12))
    found = joined(20, first, second)
    reached = np.eye(20, dtype=bool)
    reached[first, second] = reached[second, first] = True
    for _ in range(5):
        reached = reached @ reached
    np.testing.assert_array_equal(found[:, np.newaxis] == found, reached)
