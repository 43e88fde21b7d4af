"""Verification over all pairs: exact at its thresholds, against pairs counted one by one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from retrieval.evaluation import roc
from retrieval.evaluation.protocol import Evaluation, Judged
from retrieval.evaluation.roc import verification_roc

Judge = Callable[..., tuple[Evaluation, Judged]]


def unit(angles: list[float]) -> NDArray[np.float64]:
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.1]), st.integers(0, 2)), max_size=8),
    st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.75, 3.1]), st.integers(-1, 2)), max_size=8),
)
def test_rates_are_exact_at_each_threshold(
    asked: list[tuple[float, int]], items: list[tuple[float, int]]
) -> None:
    queries = unit([a for a, _ in asked]).astype(np.float32)
    stored = unit([a for a, _ in items]).astype(np.float16)
    own, identities = (np.array([i for _, i in pairs], np.int64) for pairs in (asked, items))
    # The first query is kept from the first item.
    kept_out = np.full((len(own), 1), -1), np.full((len(identities), 1), -1)
    for side in kept_out:
        side[:1] = 7
    found = verification_roc(queries, own, stored, identities, exclude=kept_out)
    same, different = [], []
    for q in range(len(own)):
        for i in range(len(identities)):
            if (q, i) != (0, 0):
                cosine = queries[q] @ stored[i].astype(np.float32)
                distance = float(np.clip(np.float32(1) - cosine, 0, 2))
                (same if own[q] == identities[i] else different).append(distance)
    if found is None:
        assert not (same and different)
        return
    assert (found.n_positive, found.n_negative) == (len(same), len(different))
    assert (found.tar[0], found.far[0], found.tar[-1], found.far[-1]) == (0, 0, 1, 1)
    for tau, tar, far in zip(found.thresholds, found.tar, found.far, strict=True):
        assert tar == pytest.approx(np.mean(np.array(same) < tau))
        assert far == pytest.approx(np.mean(np.array(different) < tau))
    assert (np.diff(found.thresholds) > 0).all()


def test_the_area_is_the_chance_that_a_mate_is_closer(judge: Judge) -> None:
    _, judged = judge(["a"] * 6 + ["b"] * 5 + ["c"] * 4, apart=0.7)
    found = verification_roc(
        *(judged.vectors, judged.own, judged.gallery.vectors, judged.gallery.identities),
        exclude=judged.exclude,
    )
    assert found is not None
    items = judged.gallery.vectors.astype(np.float64)
    distances = 1 - items @ items.T
    mates = judged.own[:, None] == judged.own
    off = ~np.eye(len(items), dtype=bool)
    same, different = distances[mates & off], distances[~mates]
    assert (found.n_positive, found.n_negative) == (len(same), len(different))
    closer = np.mean(same[:, None] < different)
    assert 0.6 < closer < 0.999
    assert found.auc == pytest.approx(closer, abs=0.003)


def test_of_many_queries_some_are_drawn(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roc, "_QUERIES", 4)
    _, judged = judge(["a"] * 6 + ["b"] * 5)
    found = verification_roc(
        *(judged.vectors, judged.own, judged.gallery.vectors, judged.gallery.identities),
        exclude=judged.exclude,
    )
    assert found is not None
    assert found.queries == 4
    assert found.n_positive + found.n_negative == 4 * 10


def test_one_kind_of_pairs_is_no_curve(judge: Judge) -> None:
    for labels in (["a"] * 4, ["a", "b", "c"]):
        _, judged = judge(labels)
        args = (judged.vectors, judged.own, judged.gallery.vectors, judged.gallery.identities)
        assert verification_roc(*args, exclude=judged.exclude) is None
