"""Clusters by mean distance: those of average linkage, whatever the blocks, and never chained."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import retrieval.evaluation.clusters as clusters_module
import retrieval.evaluation.distances as distances_module
from retrieval.evaluation.agreement import pair_agreement
from retrieval.evaluation.cluster_limits import CLUSTERS_BELOW, tune_limit
from retrieval.evaluation.clusters import MeanLinkage, cluster, spread

Vectors = NDArray[np.float32]


def drawn(seed: int, n: int, *, dim: int = 6, centres: int = 4, apart: float = 1.0) -> Vectors:
    rng = np.random.default_rng(seed)
    around = apart * rng.normal(size=(centres, dim))
    vectors = around[rng.integers(0, centres, n)] + rng.normal(size=(n, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def on_a_circle(*degrees: float) -> Vectors:
    angles = np.radians(degrees)
    return np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


def same_groups(one: NDArray[np.int64], other: NDArray[np.int64]) -> bool:
    return bool(((one[:, None] == one) == (other[:, None] == other)).all())


@given(st.integers(0, 10**6), st.integers(2, 40), st.sampled_from([0.05, 0.2, 0.4, 0.7, 1.0]))
def test_with_all_pairs_it_is_average_linkage(seed: int, n: int, below: float) -> None:
    from sklearn.cluster import AgglomerativeClustering

    vectors = drawn(seed, n)
    expected = AgglomerativeClustering(
        n_clusters=None, distance_threshold=below, metric="cosine", linkage="average"
    ).fit_predict(vectors)
    found = MeanLinkage(vectors, neighbours=n - 1).join(below)
    assert same_groups(found, expected)
    for name in np.unique(found):
        assert name == np.flatnonzero(found == name)[0]


@given(st.integers(0, 10**6), st.integers(1, 40))
def test_limit_after_limit_gives_what_one_limit_gives(seed: int, n: int) -> None:
    vectors = drawn(seed, n)
    linkage = MeanLinkage(vectors, neighbours=5)
    for below in (0.1, 0.3, 0.6, 0.9):
        alone = MeanLinkage(vectors, neighbours=5).join(below)
        assert linkage.join(below).tolist() == alone.tolist()


def test_look_alikes_between_two_groups_do_not_join_them() -> None:
    # Each is 10 degrees from the next; the ends are 90 degrees apart.
    chain = on_a_circle(*range(0, 100, 10))
    nearest = 1 - np.cos(np.radians(10))
    found = cluster(chain, below=4 * nearest)
    assert len(np.unique(found)) > 2
    for name in np.unique(found):
        members = chain[found == name]
        if len(members) > 1:
            assert spread(members)[0] < 4 * nearest


def test_copies_are_one_group_and_strangers_stay_alone() -> None:
    vectors = np.eye(8, dtype=np.float16)[[0, 1, 0, 2, 0, 3]]
    assert cluster(vectors, below=0.1).tolist() == [0, 1, 0, 3, 0, 5]


def test_ties_end() -> None:
    # More copies than neighbours are kept: all the distances are equal.
    vectors = np.ones((64, 1), dtype=np.float16)
    assert cluster(vectors, below=0.1).tolist() == [0] * 64


@pytest.mark.parametrize("n", [0, 1])
def test_few_vectors_are_groups_of_their_own(n: int) -> None:
    assert cluster(np.ones((n, 3), dtype=np.float16), below=2).tolist() == list(range(n))


def test_a_damaged_vector_stays_alone() -> None:
    vectors = np.array([[1, 0], [np.nan, 0], [1, 0]], dtype=np.float16)
    assert cluster(vectors, below=2).tolist() == [0, 1, 0]


def test_the_limit_itself_is_not_below() -> None:
    vectors = np.eye(2, dtype=np.float16)
    assert cluster(vectors, below=1).tolist() == [0, 1]
    assert cluster(vectors, below=1.0001).tolist() == [0, 0]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = drawn(3, 70, apart=2)
    whole = cluster(vectors, below=0.4)
    monkeypatch.setattr(distances_module, "_SQUARE", 16)
    monkeypatch.setattr(clusters_module, "_PAIRS", 3)
    steps: list[tuple[int, int]] = []
    parts = cluster(vectors, below=0.4, progress=lambda done, of: steps.append((done, of)))
    assert parts.tolist() == whole.tolist()
    assert steps == [(16, 70), (32, 70), (48, 70), (64, 70), (70, 70)]


@given(st.integers(0, 10**6), st.integers(2, 20))
def test_the_spread_is_the_mean_of_all_pairs(seed: int, n: int) -> None:
    vectors = drawn(seed, n)
    distance, central = spread(vectors)
    distances = 1 - vectors @ vectors.T
    assert distance == pytest.approx(distances[~np.eye(n, dtype=bool)].mean(), abs=1e-5)
    assert distances[central].sum() == pytest.approx(distances.sum(axis=1).min(), abs=1e-4)


@given(st.lists(st.integers(0, 3), max_size=12), st.data())
def test_agreement_is_that_of_a_look_at_all_pairs(groups: list[int], data: st.DataObject) -> None:
    size = {"min_size": len(groups), "max_size": len(groups)}
    labels = data.draw(st.lists(st.integers(0, 3), **size))
    n = len(groups)
    pairs = [
        (groups[i] == groups[j], labels[i] == labels[j]) for i in range(n) for j in range(i + 1, n)
    ]
    both, together = pairs.count((True, True)), sum(grouped for grouped, _ in pairs)
    same = sum(alike for _, alike in pairs)
    found = pair_agreement(np.array(groups, dtype=np.int64), np.array(labels, dtype=np.int64))
    assert found.precision == (both / together if together else 1)
    assert found.recall == (both / same if same else 1)
    if together + same:
        assert found.f(1) == pytest.approx(2 * both / (together + same))


def test_agreement_can_count_precision_more() -> None:
    found = pair_agreement(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 0]))
    assert (found.precision, found.recall) == (1, 1 / 3)
    assert found.f(0.5) > found.f(1) > found.f(2)


def test_the_limit_tuned_parts_the_labels() -> None:
    labels = np.repeat(np.arange(12), 5)
    # Pairs of one label are some 0.3 apart, those of two nearly 1.
    rng = np.random.default_rng(0)
    vectors = np.eye(12)[labels].repeat(4, axis=1) / 2 + 0.1 * rng.normal(size=(60, 48))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    limit = tune_limit(vectors, labels)
    assert limit is not None
    assert same_groups(cluster(vectors, below=limit), labels)
    # Every limit from the largest within a label to the smallest between two does as well.
    assert 0.4 < limit < 0.9
    assert limit > CLUSTERS_BELOW


@pytest.mark.parametrize(("several", "tuned"), [(9, False), (10, True)])
def test_ten_labels_with_several_items_it_takes(several: int, tuned: bool) -> None:
    labels = np.array([*range(several), *range(30)])
    vectors = np.eye(30, dtype=np.float16)[labels]
    assert (tune_limit(vectors, labels) is not None) == tuned
