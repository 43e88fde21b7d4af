"""What every query asks of the store: how far it is, and a few vectors with their items.

Plain SQL on a connection of the pool. SQLAlchemy would spend three times as long on these questions
as SQLite does, and a query feels it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from db.records import Candidates, StoredEncoder, StoredVectors

# Ids named in one statement; SQLite takes 32,766 parameters.
_IDS = 10_000
_CANDIDATES = """
    SELECT v.id, v.item_id, v.data, i.label, i.path, i.meta
    FROM vectors AS v JOIN items AS i ON i.id = v.item_id
    WHERE v.encoder_id = ? AND v.removed_seq IS NULL AND v.id IN ({})
"""


class Glance:
    """One read snapshot, seen through a driver's connection that is in a transaction."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @cached_property
    def seq(self) -> int:
        """The sequence number of the last write in this snapshot."""
        return int(self._connection.execute("SELECT seq FROM gallery").fetchone()[0])

    def candidates(self, vector_ids: NDArray[np.int64], encoder: StoredEncoder) -> Candidates:
        """Return the live vectors among `vector_ids` with what the items they belong to show.

        Args:
            vector_ids: int64, shape `(n,)`, distinct.
            encoder: The encoder whose vectors they are.
        """
        rows: list[Any] = []
        for start in range(0, len(vector_ids), _IDS):
            part = vector_ids[start : start + _IDS].tolist()
            query = _CANDIDATES.format(",".join("?" * len(part)))
            rows += self._connection.execute(query, (encoder.id, *part)).fetchall()
        ids, item_ids, data, labels, paths, metadata = zip(*rows, strict=True) if rows else [()] * 6
        vectors = stored_vectors(ids, item_ids, data, dim=encoder.dim)
        return Candidates(vectors, list(labels), list(paths), list(metadata))


def stored_vectors(
    ids: Sequence[int], item_ids: Sequence[int], data: Sequence[bytes], *, dim: int
) -> StoredVectors:
    """Make arrays of columns as they come from the database."""
    # A vector of another length is damage, which `check` finds as it finds NaN.
    whole = [part if len(part) == 2 * dim else _damaged(dim) for part in data]
    return StoredVectors(
        ids=np.array(ids, dtype=np.int64),
        item_ids=np.array(item_ids, dtype=np.int64),
        data=np.frombuffer(b"".join(whole), dtype="<f2").reshape(len(whole), dim),
    )


def _damaged(dim: int) -> bytes:
    return np.full(dim, np.nan, dtype="<f2").tobytes()
