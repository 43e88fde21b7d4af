"""The first threshold: whole labels left out in turn, one in twenty of them accepted at most."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from db import NewItem, Store
from retrieval.calibration import Tuned, tune_on_gallery
from retrieval.evaluation import leaving_out
from retrieval.evaluation.leaving_out import leave_labels_out
from retrieval.first_threshold import tune_first_threshold
from retrieval.rules import NEAREST, RULES

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


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.create(
        tmp_path / "gallery.db", fingerprint="f", encoder_name="e", dim=DIM, settings={}
    )
    yield made
    made.close()


def fill(store: Store, seed: int, labels: int, each: int) -> None:
    vectors, identities = clustered(seed, labels, each)
    items = [
        NewItem(
            path=f"/{seed}/{n}",
            content_hash=f"{seed}-{n}",
            width=1,
            height=1,
            file_size=1,
            mtime_ns=1,
            label=f"{seed}-{label}",
        )
        for n, label in enumerate(identities)
    ]
    with store.write() as tx:
        tx.add_items(items, vectors.astype(np.float32))


def tuned_on(store: Store, seed: int, labels: int, each: int) -> Tuned | None:
    fill(store, seed, labels, each)
    with store.read() as tx:
        return tune_on_gallery(leave_labels_out(tx), 0.05, NEAREST)


@pytest.mark.parametrize("seed", range(3))
def test_the_promise_is_kept_where_there_are_labels_enough(store: Store, seed: int) -> None:
    tuned = tuned_on(store, seed, 30, 4)
    assert tuned is not None
    nearest = stranger_distances(*clustered(seed, 30, 4))
    shares = [sum(d < tuned.value for d in nearest[4 * k : 4 * k + 4]) / 4 for k in range(30)]
    assert tuned.details["promised"]
    assert tuned.details["fpir"] == pytest.approx(sum(shares) / 30)
    assert (sum(shares) + 1) / 31 <= 0.05
    # One group of equal distances more would break it.
    next_one = min(d for d in nearest if d >= tuned.value)
    shares = [sum(d <= next_one for d in nearest[4 * k : 4 * k + 4]) / 4 for k in range(30)]
    assert (sum(shares) + 1) / 31 > 0.05


@pytest.mark.parametrize("seed", range(3))
def test_with_few_labels_as_many_pass_as_allowed_and_no_more(store: Store, seed: int) -> None:
    tuned = tuned_on(store, seed, 10, 8)
    assert tuned is not None
    assert not tuned.details["promised"]
    nearest = sorted(stranger_distances(*clustered(seed, 10, 8)))
    accepted = sum(distance < tuned.value for distance in nearest)
    assert accepted == 4  # of 80, one in twenty
    assert nearest[3] < tuned.value < nearest[4]
    counts = [tuned.details[name] for name in ("fpir", "n_mated", "n_non_mated")]
    assert counts == [0.05, 80, 80]


def test_an_item_is_never_its_own_stranger_or_mate(store: Store) -> None:
    tuned = tuned_on(store, 0, 65, 1)
    assert tuned is not None
    assert tuned.value > 0
    assert (tuned.details["n_mated"], tuned.details["dir"]) == (0, None)


def test_too_few_searches_give_no_threshold(store: Store) -> None:
    assert tuned_on(store, 0, 4, 4) is None
    assert tuned_on(store, 1, 1, 4) is not None


def test_left_out_labels_are_found_as_by_hand(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaving_out, "_CHUNK", 7)
    fill(store, 0, 6, 5)
    with store.write() as tx:
        tx.remove_items([3, 4, 8])
        tx.relabel_items([20, 21, 22], None)  # each an identity of its own
    with store.read() as tx:
        left_out = leave_labels_out(tx)
        labels = [item.label or item.id for item in tx.items()]
        vectors = np.concatenate([part.data for part in tx.vectors()]).astype(np.float64)
    for i, label in enumerate(labels):
        distances = {j: max(1 - vectors[i] @ vectors[j], 0) for j in range(len(labels)) if j != i}
        mates = [d for j, d in distances.items() if labels[j] == label]
        others = sorted(
            min(d for j, d in distances.items() if labels[j] == other)
            for other in set(labels) - {label}
        )
        assert left_out.nearest_mate[i] == pytest.approx(min(mates, default=np.inf), abs=1e-6)
        found = left_out.rivals[i]
        assert found[np.isfinite(found)].tolist() == pytest.approx(others, abs=1e-6)


def test_a_large_gallery_is_sampled_from_every_label_and_always_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaving_out, "_SEARCHES", 130)
    fill(store, 0, 60, 5)
    fill(store, 1, 1, 200)
    with store.read() as tx:
        left_out, again = leave_labels_out(tx), leave_labels_out(tx)
    np.testing.assert_array_equal(left_out.rivals, again.rivals)
    counts = np.bincount(left_out.identities)
    assert len(left_out.identities) == 130
    assert len(counts) == 61
    assert set(counts) == {2, 3}


def test_an_empty_gallery_leaves_nothing_out(store: Store) -> None:
    with store.read() as tx:
        assert len(leave_labels_out(tx).identities) == 0


def test_a_threshold_set_by_other_means_stays(store: Store) -> None:
    fill(store, 0, 10, 5)
    with store.write() as tx:
        tx.add_threshold(
            0.4,
            rule="nearest",
            objective="far=0.01",
            source="pairs.csv",
            details={},
            calibration={},
        )
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


@pytest.mark.parametrize(("labels", "rule"), [(9, "nearest"), (10, "margin")])
def test_the_rule_is_chosen_by_the_number_of_labels(store: Store, labels: int, rule: str) -> None:
    fill(store, 0, labels, 4)
    tuned = tune_first_threshold(store)
    assert tuned is not None
    with store.read() as tx:
        stored = tx.threshold()
        left_out = leave_labels_out(tx)
    assert stored.rule == tuned.rule.name == rule
    scores = left_out.as_strangers(RULES[rule])
    assert tuned.details["fpir"] == (scores < stored.value).mean()


def test_what_a_threshold_was_tuned_on_is_kept_in_brief(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 0, 40, 6)
    assert tune_first_threshold(store) is not None
    with store.read() as tx:
        kept, left_out = tx.threshold().calibration, leave_labels_out(tx)
    strangers = left_out.as_strangers(RULES["margin"])
    known = left_out.as_known(RULES["margin"])
    assert kept["scores"] == sorted(set(kept["scores"]))
    assert set(kept["scores"]) <= set(strangers.astype(float).tolist())
    assert len(kept["scores"]) < len(strangers)
    shares = [
        np.mean([(strangers[left_out.identities == one] <= score).mean() for one in range(40)])
        for score in kept["scores"]
    ]
    assert kept["p_values"] == pytest.approx([(40 * share + 1) / 41 for share in shares])
    assert kept["dirs"] == pytest.approx(
        [
            (known.right & (known.score <= score)).sum() / known.mated.sum()
            for score in kept["scores"]
        ]
    )
    # The smallest ones are all there: they are what a decision turns on.
    assert kept["scores"][:100] == np.unique(strangers)[:100].tolist()
