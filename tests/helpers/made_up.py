"""A store of made-up items, and what brute force finds among them."""

from __future__ import annotations

import numpy as np

from db import NewItem, Store
from retrieval.ranking import exact_distances
from retrieval.searching import Searcher

DIM = 16


def unit(seed: int, count: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def item(path: str, **changes: str) -> NewItem:
    values = {"content_hash": "0"} | changes
    return NewItem(path=path, width=1, height=1, file_size=1, mtime_ns=1, **values)


def add(store: Store, seed: int, count: int) -> list[int]:
    with store.write() as tx:
        return tx.add_items(
            [
                item(f"/{seed}/{n}", content_hash=f"{seed}-{n}", label=f"{n % 7}")
                for n in range(count)
            ],
            unit(seed, count),
        )


def brute_force(store: Store, query: np.ndarray, k: int) -> list[tuple[int, float]]:
    with store.read() as tx:
        pairs = [
            (float(distance), int(item_id))
            for part in tx.vectors()
            for item_id, distance in zip(
                part.item_ids, exact_distances(query, part.data), strict=True
            )
        ]
    return [(item_id, distance) for distance, item_id in sorted(pairs)[:k]]


def assert_exact(searcher: Searcher, store: Store, k: int = 6) -> None:
    queries = unit(99, 4)
    for query, answer in zip(queries, searcher.search(queries, k).items, strict=True):
        assert [(one.id, one.distance) for one in answer] == brute_force(store, query, k)
