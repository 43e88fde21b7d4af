"""What every query asks of the store: how far it is, and a few vectors with their items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from db.records import Candidate, StoredEncoder


class Glance(Protocol):
    """One read snapshot, seen through a driver's connection that is in a transaction."""

    @property
    def driver_connection(self) -> Any:
        """The connection of `sqlite3` or `psycopg`, for an index that lives in the same database.

        It is in the snapshot's transaction, and must be left as it was.
        """

    @property
    def seq(self) -> int:
        """The sequence number of the last write in this snapshot."""

    def candidates(self, vector_ids: Sequence[int], encoder: StoredEncoder) -> list[Candidate]:
        """Return the live vectors among `vector_ids` with what the items they belong to show.

        Args:
            vector_ids: Distinct numbers.
            encoder: The encoder whose vectors they are.
        """

    def live(self, vector_ids: Sequence[int], encoder: StoredEncoder) -> set[int]:
        """Return those of some vectors that are live.

        Args:
            vector_ids: Distinct numbers.
            encoder: The encoder whose vectors they are.
        """

    def identities(self, vector_ids: Sequence[int]) -> dict[int, str | int]:
        """Return what the items of vectors show: a label, or the number of an item without one.

        Args:
            vector_ids: Distinct numbers; those of no item are left out.
        """
