"""Searching a shared gallery in its own database, with pgvector.

The index is on the very column that holds the vectors: the store's transactions write it, and a
search within a snapshot sees what the snapshot sees. There is nothing to bring up to date.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from db import Glance, Reader, Store, StoredEncoder
from indexes import Hits, PgvectorIndex, VectorTable

PGVECTOR = "pgvector"
"""What a user asks for, and the kind of index that `info` tells."""
# Bytes of float16 vectors from which on comparing all takes longer than an approximate search is
# worth: docs/scaling.md.
_APPROXIMATE_FROM = 8_000_000


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
    ) -> Hits:
        """Search within the snapshot's own transaction."""
        index = PgvectorIndex(glance.driver_connection, self._table, self._dim, exact=self._exact)
        return index.search(queries, k, allow=allow, probes=probes)

    def close(self) -> None:
        """Do nothing: the connection is the store's."""


def table_of(encoder: StoredEncoder) -> VectorTable:
    """Return where the live vectors of an encoder are."""
    live = f"encoder_id = {int(encoder.id)} AND removed_seq IS NULL"
    return VectorTable(name="vectors", id="id", vector="data", live=live)


def prepare_database(store: Store, fingerprint: str, *, always: bool) -> bool:
    """Make the index of a gallery's vectors if it is due, and drop that of encoders of before.

    Readers and writers go on meanwhile.

    Args:
        store: The gallery's store.
        fingerprint: Its encoder; nothing is done for a gallery that has another one.
        always: Make it whatever the size; else only where comparing all vectors would take long.

    Returns:
        Whether it was made.
    """
    from indexes.pgvector_building import is_prepared, prepare

    with store.read() as tx:
        mine, count = tx.encoder, tx.count_items()
        if mine.fingerprint != fingerprint:
            return False
        due = count > 0 and (always or 2 * count * mine.dim >= _APPROXIMATE_FROM)
        due = due and not is_prepared(tx.driver_connection, table_of(mine))
        left = _indexed(tx, tx.other_encoders())
    _drop(store, left)
    if due:
        with store.lent() as connection:
            prepare(connection, table_of(mine), mine.dim)
    return due


def clear_database(store: Store) -> None:
    """Drop the indexes of a gallery that is searched in another way: they slow each write down.

    Readers and writers go on meanwhile.
    """
    with store.read() as tx:
        left = _indexed(tx, [tx.encoder, *tx.other_encoders()])
    _drop(store, left)


def _indexed(tx: Reader, encoders: list[StoredEncoder]) -> list[VectorTable]:
    """Return where those of some encoders have their vectors that have an index."""
    from indexes.pgvector_building import is_there

    tables = map(table_of, encoders)
    return [table for table in tables if is_there(tx.driver_connection, table)]


def _drop(store: Store, tables: list[VectorTable]) -> None:
    from indexes.pgvector_building import drop

    if not tables:  # after most writes: no connection is made for nothing
        return
    with store.lent() as connection:
        for table in tables:
            drop(connection, table)
