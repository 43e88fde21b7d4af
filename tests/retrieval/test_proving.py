"""Answers that leave doubts are looked for again, farther than an index was tuned to look."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import DIM, brute_force, item, unit

from db import Store
from indexes import Hits, IvfIndex, PgvectorIndex, pgvector
from retrieval import in_database, proposing, proving
from retrieval.asking import answer, question, search
from retrieval.index_choice import settle_index
from retrieval.proving import always
from retrieval.searching import Searcher

COUNT, QUERIES = 800, 60


@pytest.fixture(params=["folder", "database"])
def searcher(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Searcher]:
    """Over vectors in cells, of which a search looks into only one at first."""
    monkeypatch.setattr(IvfIndex, "probes", property(lambda _: 1))
    monkeypatch.setattr(proposing, "FARTHER", 10_000)
    monkeypatch.setattr(pgvector, "_CELLS", 1)
    # More would make it look into more cells, until it has as many.
    monkeypatch.setattr(proving, "_DEPTH", 4)
    monkeypatch.setattr(proving, "_DEPTH_OF_IDENTITIES", 4)
    in_folder = request.param == "folder"
    place = tmp_path / "gallery.db" if in_folder else request.getfixturevalue("postgres_url")
    store = Store.create(
        place, fingerprint="f", encoder_name="e", dim=DIM, settings={"index": "ivf"}
    )
    with store.write() as tx:
        tx.add_items([item(f"/{n}", label=f"L{n}") for n in range(COUNT)], unit(1, COUNT))
    settle_index(store, tmp_path / "index", "f", stale_share=0)
    yield Searcher(store, tmp_path / "index")
    store.close()


def nearest(searcher: Searcher, queries: np.ndarray) -> list[tuple[int, float]]:
    return [brute_force(searcher._store, query, 1)[0] for query in queries]


def told(found: list[list]) -> list[tuple[int, float]]:
    return [(items[0].id, items[0].distance) for items in found]


def test_a_second_look_finds_what_the_first_left_out(searcher: Searcher) -> None:
    queries = unit(2, QUERIES)
    true = nearest(searcher, queries)
    first = told(searcher.search(queries, 1).items)
    assert sum(a != b for a, b in zip(first, true, strict=True)) > QUERIES / 10
    found = searcher.search(queries, 1, 2, doubt=always)
    assert told(found.items) == told(found.identities) == true


def test_only_where_there_is_doubt(searcher: Searcher) -> None:
    queries = unit(2, QUERIES)
    first = told(searcher.search(queries, 1).items)
    limit = np.median([distance for _, distance in first])
    found = searcher.search(queries, 1, doubt=lambda _, near: near[0].distance > limit)
    true = nearest(searcher, queries)
    for mine, before, right in zip(told(found.items), first, true, strict=True):
        assert mine == (right if before[1] > limit else before)
    assert told(found.items) not in (first, true)


def test_nobody_is_called_unknown_by_a_mere_miss(searcher: Searcher) -> None:
    queries = unit(2, QUERIES)
    true = nearest(searcher, queries)
    threshold = float(np.median([distance for _, distance in true]))
    asked = question(1, threshold)
    found = search(searcher, queries, asked)
    for row, (item_id, distance) in enumerate(true):
        decided = answer(found, row, asked, None, queries[row])
        assert decided.decision == ("match" if distance < threshold else "unknown")
        if distance >= threshold:
            assert decided.items[0].id == item_id
    hurried = searcher.search(queries, 1).items
    assert any(
        items[0].distance >= threshold > distance
        for items, (_, distance) in zip(hurried, true, strict=True)
    ), "nothing that matters was left out: this shows nothing"


def test_where_comparing_all_takes_long_a_database_looks_into_more_cells(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_database, "_COMPARED_TO", 0)
    monkeypatch.setattr(in_database, "_FARTHER", 1000)
    queries = unit(2, QUERIES)
    found = searcher.search(queries, 1, doubt=always)
    assert told(found.items) == nearest(searcher, queries)


@pytest.mark.parametrize("index", ["auto", "exact", "ivf"])
def test_what_was_all_compared_is_not_compared_again(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: str
) -> None:
    store = Store.create(
        postgres_url, fingerprint="f", encoder_name="e", dim=DIM, settings={"index": index}
    )
    with store.write() as tx:
        tx.add_items([item(f"/{n}") for n in range(50)], unit(1, 50))
    searcher = Searcher(store, tmp_path / "index")
    search, asked = PgvectorIndex.search, list[int]()

    def counted(index: PgvectorIndex, queries: np.ndarray, *args: Any, **options: Any) -> Hits:
        asked.append(len(queries))
        return search(index, queries, *args, **options)

    monkeypatch.setattr(PgvectorIndex, "search", counted)
    searcher.search(unit(2, 3), 1, doubt=always)
    assert asked == [3]  # there is no index yet
    settle_index(store, tmp_path / "index", "f")
    searcher.search(unit(2, 3), 1, doubt=always)
    assert asked == [3, 3, *([3] if index == "ivf" else [])]
    store.close()
