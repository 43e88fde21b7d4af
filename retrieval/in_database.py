"""Searching a shared gallery in its own database, with pgvector.

The index is on the very column that holds the vectors: the store's transactions write it, and a
search within a snapshot sees what the snapshot sees. There is nothing to bring up to date.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from db import Glance, Reader, Store, StoredEncoder
from indexes import Hits, PgvectorIndex, VectorTable
from indexes.pgvector_building import HNSW, IVF, drop, is_prepared, is_there, kind_of, prepare

# Bytes of float16 vectors from which on comparing all takes longer than an approximate search is
# worth, and up to which it is done before anybody is called unknown: docs/scaling.md.
_APPROXIMATE_FROM, _COMPARED_TO = 8_000_000, 16_000_000
# How many times as far an index looks the second time where that takes too long.
_FARTHER = 4


class DatabaseProposer:
    """The database as an index."""

    generation = -1

    def __init__(self, asked: str, encoder: StoredEncoder, *, exact: bool) -> None:
        """Search for an encoder's vectors; `exact` compares all, whatever index there is."""
        self.asked = asked
        self._table = table_of(encoder)
        self._dim = encoder.dim
        self._exact = exact
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def may_miss(self, glance: Glance) -> bool:
        """Whether an index is used: it may have been made, or dropped, at any time."""
        return not self._exact and kind_of(glance.driver_connection, self._table) is not None

    def follow(self, tx: Reader, seq: int) -> None:  # noqa: ARG002 - there is no log to read
        """Note how many there are."""
        self._count = tx.count_items()

    def search(
        self,
        glance: Glance,
        queries: NDArray[np.float32],
        k: int,
        *,
        allow: NDArray[np.int64] | None,
        probes: int | None,
        again: bool = False,
    ) -> Hits:
        """Search within the snapshot's own transaction."""
        compared = again and 2 * self._count * self._dim <= _COMPARED_TO
        index = PgvectorIndex(
            glance.driver_connection,
            self._table,
            self._dim,
            exact=self._exact or compared,
            farther=_FARTHER if again else 1,
        )
        return index.search(queries, k, allow=allow, probes=probes)

    def close(self) -> None:
        """Do nothing: the connection is the store's."""


def table_of(encoder: StoredEncoder) -> VectorTable:
    """Return where the live vectors of an encoder are."""
    live = f"encoder_id = {int(encoder.id)} AND removed_seq IS NULL"
    return VectorTable(name="vectors", id="id", vector="data", live=live)


def prepare_database(store: Store, fingerprint: str, asked: str) -> bool:
    """Make the index of a gallery's vectors if it is due, and drop that of encoders of before.

    Readers and writers go on meanwhile.

    Args:
        store: The gallery's store.
        fingerprint: Its encoder; nothing is done for a gallery that has another one.
        asked: `IVF` or `HNSW`: of this kind, whatever the size; anything else: cells, where
            comparing all vectors would take long.

    Returns:
        Whether it was made.
    """
    always, kind = asked in (IVF, HNSW), HNSW if asked == HNSW else IVF
    with store.read() as tx:
        mine, count = tx.encoder, tx.count_items()
        if mine.fingerprint != fingerprint:
            return False
        table, dim = table_of(mine), mine.dim
        due = count > 0 and (always or 2 * count * dim >= _APPROXIMATE_FROM)
        due = due and not is_prepared(tx.driver_connection, table, dim, count, kind=kind)
        left = _indexed(tx, tx.other_encoders())
    _drop(store, left)
    if due:
        with store.lent() as connection:
            prepare(connection, table, dim, count, kind=kind)
    return due


def kind_in_database(tx: Reader) -> str | None:
    """Return the kind of index that a gallery's vectors have; `None` without one."""
    return kind_of(tx.driver_connection, table_of(tx.encoder))


def clear_database(store: Store) -> None:
    """Drop the indexes of a gallery that is searched in another way: they slow each write down.

    Readers and writers go on meanwhile.
    """
    with store.read() as tx:
        left = _indexed(tx, [tx.encoder, *tx.other_encoders()])
    _drop(store, left)


def _indexed(tx: Reader, encoders: list[StoredEncoder]) -> list[VectorTable]:
    """Return where those of some encoders have their vectors that have an index."""
    tables = map(table_of, encoders)
    return [table for table in tables if is_there(tx.driver_connection, table)]


def _drop(store: Store, tables: list[VectorTable]) -> None:
    if not tables:  # after most writes: no connection is made for nothing
        return
    with store.lent() as connection:
        for table in tables:
            drop(connection, table)
