"""The first threshold: whole labels left out in turn, one in twenty of them accepted at most."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from db import NewItem, Store
from retrieval import calibration
from retrieval.calibration import tune, tune_first_threshold

DIM = 12


def clustered(seed: int, labels: int, each: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.standard_normal((labels, DIM)), each, axis=0)
    vectors = centres + 0.3 * rng.standard_normal(centres.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float16), np.repeat(np.arange(labels), each)


def stranger_distances(vectors: np.ndarray, identities: np.ndarray) -> list[float]:
    """Leave each item's label out, by hand, and look for the nearest item that is left."""
    exact = vectors.astype(np.float64)
    return [
        min(
            1 - float(exact[i] @ exact[j])
            for j in range(len(exact))
            if identities[j] != identities[i]
        )
        for i in range(len(exact))
    ]


@pytest.mark.parametrize("seed", range(5))
def test_as_many_strangers_pass_as_allowed_and_no_more(seed: int) -> None:
    vectors, identities = clustered(seed, 10, 8)
    tuned = tune(vectors, identities)
    assert tuned is not None
    nearest = sorted(stranger_distances(vectors, identities))
    accepted = sum(distance < tuned.value for distance in nearest)
    assert accepted == 4  # of 80, one in twenty
    assert nearest[3] < tuned.value < nearest[4]
    assert (tuned.fpir, tuned.n_mated, tuned.n_non_mated) == (0.05, 80, 80)


def test_an_item_is_never_its_own_stranger_or_mate() -> None:
    vectors, identities = clustered(0, 45, 1)  # the two nearest of them are 4 %
    tuned = tune(vectors, identities)
    assert tuned is not None
    assert tuned.value > 0
    assert (tuned.n_mated, tuned.dir) == (0, None)


def test_too_few_searches_give_no_threshold() -> None:
    assert tune(*clustered(0, 4, 4)) is None
    assert tune(*clustered(0, 5, 4)) is not None


def test_a_large_gallery_is_sampled_and_the_sample_is_always_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calibration, "_SEARCHES", 100)
    vectors, identities = clustered(0, 60, 5)
    tuned = tune(vectors, identities)
    assert tuned is not None
    assert tuned.n_non_mated == 100
    assert tuned == tune(vectors, identities)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.create(
        tmp_path / "gallery.db", fingerprint="f", encoder_name="e", dim=DIM, settings={}
    )
    yield made
    made.close()


def fill(store: Store, seed: int, labels: int, each: int) -> None:
    with store.write() as tx:
        for n, (vector, label) in enumerate(zip(*clustered(seed, labels, each), strict=True)):
            item = NewItem(
                path=f"/{seed}/{n}",
                content_hash=f"{seed}-{n}",
                width=1,
                height=1,
                file_size=1,
                mtime_ns=1,
                label=f"{seed}-{label}",
            )
            tx.add_item(item, vector.astype(np.float32))


def test_a_threshold_set_by_other_means_stays(store: Store) -> None:
    fill(store, 0, 10, 5)
    with store.write() as tx:
        tx.add_threshold(0.4, objective="far=0.01", source="pairs.csv", details={})
    assert tune_first_threshold(store) is None
    with store.read() as tx:
        assert tx.threshold().value == 0.4


def test_it_is_tuned_again_when_the_gallery_has_grown_by_a_tenth(store: Store) -> None:
    fill(store, 0, 10, 10)
    assert tune_first_threshold(store, only_if_stale=True) is not None
    fill(store, 1, 1, 10)
    assert tune_first_threshold(store, only_if_stale=True) is None
    fill(store, 2, 1, 1)
    assert tune_first_threshold(store, only_if_stale=True) is not None
    assert tune_first_threshold(store) is not None


def test_labels_of_one_item_each_give_none(store: Store) -> None:
    fill(store, 0, 30, 1)
    assert tune_first_threshold(store) is None
    with store.read() as tx:
        assert tx.threshold() is None
