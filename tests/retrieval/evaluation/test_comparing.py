"""What queries find, against the definitions spelt out on whole matrices."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from retrieval.evaluation import comparing
from retrieval.evaluation.comparing import Compared, compare
from retrieval.evaluation.identities import NOBODY
from retrieval.evaluation.metrics import search_outcomes

INF = float("inf")
DIM = 3
# Products and sums of these are exact in float32, whatever the order, so ties are ties. Some
# distances leave [0, 2] and are clipped: more ties.
LEVELS = (-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0)


class Case(NamedTuple):
    queries: NDArray[np.float32]
    own: NDArray[np.int64]
    items: NDArray[np.float16]
    identities: NDArray[np.int64]
    exclude: tuple[NDArray[np.int64], NDArray[np.int64]] | None
    rivals: int

    def compare(self, held: int | None = None) -> Compared:
        queries, own, items, identities, exclude, rivals = self
        with patch.object(comparing, "_HELD", held or comparing._HELD):
            return compare(queries, own, items, identities, rivals=rivals, exclude=exclude)

    def distances(self) -> NDArray[np.float32]:
        rows = [[1 - np.dot(q, i) for i in self.items.astype(np.float32)] for q in self.queries]
        whole = np.array(rows, dtype=np.float32).reshape(len(self.queries), len(self.items))
        return whole.clip(0, 2)

    def eligible(self, query: int, item: int) -> bool:
        if self.exclude is None:
            return True
        theirs, ours = self.exclude[0][query].tolist(), self.exclude[1][item].tolist()
        return not any(t == o and t >= 0 for t, o in zip(theirs, ours, strict=True))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    nq, n = draw(st.integers(0, 6)), draw(st.integers(0, 14))

    def numbers(rows: int, low: int, high: int, columns: int = 1) -> NDArray[np.int64]:
        size = rows * columns
        cells = draw(st.lists(st.integers(low, high), min_size=size, max_size=size))
        return np.array(cells, dtype=np.int64).reshape(rows, columns)

    def vectors(rows: int) -> NDArray[np.float32]:
        return np.array(LEVELS, np.float32)[numbers(rows, 0, len(LEVELS) - 1, DIM)]

    # One label, few, or each item its own; below 0 are items without a label.
    low, high = draw(st.sampled_from([(0, 0), (-2, 3), (-1, 30)]))
    own = numbers(nq, low, high)[:, 0]
    strangers = draw(st.sampled_from(["none", "some", "all"]))
    if strangers != "none":
        own[:: 1 if strangers == "all" else 2] = NOBODY
    identities = numbers(n, low, high)[:, 0]
    exclude = None
    if draw(st.booleans()):
        columns = draw(st.integers(0, 2))
        most = draw(st.integers(-1, 4))
        exclude = numbers(nq, -1, most, columns), numbers(n, -1, most, columns)
    items = vectors(n).astype(np.float16)
    return Case(vectors(nq), own, items, identities, exclude, draw(st.integers(1, 5)))


def assert_same(actual: Compared, expected: Compared) -> None:
    """Everything but sums of fractions is equal to the bit."""
    for part, other in ((actual, expected), (actual.outcomes, expected.outcomes)):
        for field in dataclasses.fields(part):
            a, e = getattr(part, field.name), getattr(other, field.name)
            if field.name == "outcomes":
                continue
            assert a.dtype == e.dtype, field.name
            same = np.testing.assert_array_equal
            if field.name == "average_precision":
                same = np.testing.assert_allclose
            same(a, e, err_msg=field.name)


@settings(max_examples=300)
@given(cases(), st.sampled_from([None, 1, 100]))
def test_what_is_found_follows_the_definitions(case: Case, held: int | None) -> None:
    distances = case.distances()
    shape = distances.shape
    eligible = np.array([case.eligible(*place) for place in np.ndindex(shape)], bool).reshape(shape)
    mates = case.own[:, np.newaxis] == case.identities
    expected = Compared(
        search_outcomes(distances, mates, eligible=eligible),
        mate=np.full(shape[0], -1),
        rival=np.full(shape[0], -1),
        rival_identities=np.full((shape[0], case.rivals), NOBODY),
        rival_distances=np.full((shape[0], case.rivals), INF, dtype=np.float32),
    )
    for query in range(shape[0]):
        items = sorted(
            (float(distances[query, item]), item)
            for item in range(shape[1])
            if case.eligible(query, item)
        )
        nearest: dict[int, float] = {}
        for distance, item in items:
            if case.identities[item] == case.own[query]:
                if expected.mate[query] < 0:
                    expected.mate[query] = item
                continue
            nearest.setdefault(int(case.identities[item]), distance)
        ranked = sorted((distance, name) for name, distance in nearest.items())
        if ranked:
            expected.rival[query] = next(
                item for _, item in items if case.identities[item] == ranked[0][1]
            )
        for place, (distance, name) in enumerate(ranked[: case.rivals]):
            expected.rival_identities[query, place] = name
            expected.rival_distances[query, place] = distance
    assert_same(case.compare(held), expected)


def drawn(queries: int, items: int, labels: int, *, rivals: int = 2, seed: int = 0) -> Case:
    """A case of a few hundred items, more than one block, whose products are exact."""
    random = np.random.default_rng(seed)

    def vectors(count: int) -> NDArray[np.float32]:
        return random.integers(-4, 5, (count, DIM)).astype(np.float32) / 8

    own, identities = random.integers(0, labels, queries), random.integers(0, labels, items)
    exclude = random.integers(-1, 40, (queries, 2)), random.integers(-1, 40, (items, 2))
    held = vectors(items).astype(np.float16)
    return Case(vectors(queries), own, held, identities, exclude, rivals)


@pytest.mark.parametrize("labels", [1, 5, 60, 100_000])
def test_blocks_of_items_and_chunks_of_queries_change_nothing(labels: int) -> None:
    case = drawn(40, 500, labels, rivals=32)
    whole = case.compare()
    with patch("retrieval.evaluation.distances._BLOCK", 64):
        assert_same(case.compare(held=4 * 500 * 7), whole)
    outcomes = search_outcomes(
        case.distances(),
        case.own[:, np.newaxis] == case.identities,
        eligible=[[case.eligible(query, item) for item in range(500)] for query in range(40)],
    )
    assert_same(dataclasses.replace(whole, outcomes=outcomes), whole)


def test_by_hand() -> None:
    # Items a, b, a, c at 0.5, 0.25, 0.75 and 0.25 from a photo of a: b and c precede the first a.
    items = np.array([[0.5], [0.75], [0.25], [0.75]], dtype=np.float16)
    a, b, c = 7, 9, 8
    found = compare(
        np.ones((1, 1), np.float32), np.array([a]), items, np.array([a, b, a, c]), rivals=3
    )
    assert found.outcomes.mate_rank.tolist() == [3]
    assert found.outcomes.mates.tolist() == [2]
    assert found.outcomes.average_precision.tolist() == [0.0]
    assert (found.mate.tolist(), found.rival.tolist()) == ([0], [3])
    assert found.rival_identities.tolist() == [[c, b, NOBODY]]
    assert found.rival_distances.tolist() == [[0.25, 0.25, INF]]


@pytest.mark.parametrize("held", [1, 10_000])
def test_nan_is_refused_with_its_place(held: int) -> None:
    case = drawn(5, 30, 4)
    case.queries[3] = np.nan
    with pytest.raises(ValueError, match="the distance of query 3 to item 0 is NaN"):
        case.compare(held)
    case = drawn(5, 30, 4)
    case.items[[29, 17]] = np.nan
    with pytest.raises(ValueError, match="the distance of query 0 to item 17 is NaN"):
        case.compare(held)


def test_nan_is_refused_even_where_it_is_excluded() -> None:
    case = drawn(1, 3, 4)
    case.items[1] = np.nan
    everything = np.zeros((1, 1), np.int64), np.zeros((3, 1), np.int64)
    with pytest.raises(ValueError, match="query 0 to item 1 is NaN"):
        case._replace(exclude=everything).compare()


def test_exclusions_that_do_not_fit_are_refused() -> None:
    case = drawn(2, 3, 4)
    one = np.zeros((2, 1), np.int64), np.zeros((3, 2), np.int64)
    with pytest.raises(ValueError, match=r"queries have 1 columns .* items have 2"):
        case._replace(exclude=one).compare()


def test_arguments_are_left_as_they_were() -> None:
    case, before = drawn(9, 30, 4), drawn(9, 30, 4)
    case.compare()
    assert case.exclude is not None
    assert before.exclude is not None
    for now, then in zip((*case[:4], *case.exclude), (*before[:4], *before.exclude), strict=True):
        np.testing.assert_array_equal(now, then)


def test_progress_counts_queries() -> None:
    case = drawn(7, 10, 4)
    told: list[tuple[int, int]] = []
    with patch.object(comparing, "_HELD", 4 * 10 * 3):
        compare(*case[:4], rivals=1, progress=lambda done, of: told.append((done, of)))
    assert told == [(3, 7), (6, 7), (7, 7)]


def test_no_matrix_of_all_queries_by_all_items_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []

    def watched(*args: object, out: NDArray[np.float32], **kwargs: object) -> NDArray[np.float32]:
        shapes.append(out.shape)
        return real(*args, out=out, **kwargs)  # type: ignore[arg-type]

    real = comparing.distance_rows
    monkeypatch.setattr(comparing, "distance_rows", watched)
    drawn(50, 100, 4).compare(held=4 * 100 * 20)
    assert shapes == [(20, 100), (20, 100), (10, 100)]
