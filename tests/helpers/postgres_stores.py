"""Stores on PostgreSQL for tests, and small made-up items for them."""

from __future__ import annotations

import numpy as np
import psycopg

from db import NewItem, Store

DIM = 8


def vectors(count: int) -> np.ndarray:
    drawn = np.random.default_rng(count).standard_normal((count, DIM)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def new_item(path: str, **changes: object) -> NewItem:
    values = {"content_hash": "0", "width": 1, "height": 1, "file_size": 1, "mtime_ns": 1}
    return NewItem(path=path, **(values | changes))


def create(url: str) -> Store:
    return Store.create(url, fingerprint="f", encoder_name="e", dim=DIM, settings={})


def add(store: Store, *paths: str) -> list[int]:
    with store.write() as tx:
        return tx.add_items([new_item(path) for path in paths], vectors(len(paths)))


def paths(store: Store) -> list[str]:
    with store.read() as tx:
        return sorted(item.path for item in tx.items())


def cut(url: str) -> None:
    """End all sessions of a database but one's own."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
