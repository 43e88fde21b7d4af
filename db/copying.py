"""Filling a store with all that another one holds, whatever databases they are in.

Vectors take most of the time. They never change but for `removed_seq`, and their ids ascend with
the commits that made them, so that a copy that was broken off goes on after the last one that is
there. All else is small, and written anew in one transaction by each run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, bindparam, delete, insert, update

from db.backend import Backend
from db.copy_mark import COPY, mark_details
from db.errors import StoreError
from db.rows import REST, Rows
from db.schema import Base, EncoderRow, GalleryRow, VectorRow, WatermarkRow
from db.writer import Writer

if TYPE_CHECKING:
    from db.store import Store

# Ids that are looked through at a time for what has gone since the run before.
_IDS = 100_000
# Ids named in one statement; SQLite takes 32,766 parameters.
_NAMED = 10_000


class Filler(Rows, Writer):
    """Changes to a store that a copy fills, one transaction of them.

    The sequence number counts them, until it becomes that of the gallery copied.
    """

    def __init__(self, connection: Connection, backend: Backend) -> None:
        super().__init__(connection, backend)
        details = mark_details(connection)
        if details is None or details["verified"]:
            raise StoreError(
                f"{backend.place} was finished meanwhile by another process with the same copy "
                "command: open it."
            )

    def know_encoders(self, encoders: Sequence[dict[str, Any]]) -> None:
        """Note encoders under the ids they have in the other store."""
        for encoder in encoders:
            self._connection.execute(
                self._backend.upsert(EncoderRow)
                .values(encoder)
                .on_conflict_do_update(index_elements=[EncoderRow.id], set_=encoder)
            )

    def follow_removals(self, source: Rows, *, after: int, up_to: int) -> int:
        """Let vectors that are here go as they went in the other store.

        Args:
            source: The other store.
            after: Look at the vectors with larger ids only,
            up_to: and with ids up to this one.

        Returns:
            How many the other store has of them.
        """
        theirs, mine = source.removals(after, up_to), self.removals(after, up_to)
        purged = sorted(mine.keys() - theirs.keys())
        for start in range(0, len(purged), _NAMED):
            part = purged[start : start + _NAMED]
            self._connection.execute(delete(VectorRow).where(VectorRow.id.in_(part)))
        changed = [
            {"of": vector_id, "went": seq}
            for vector_id, seq in theirs.items()
            if vector_id in mine and mine[vector_id] != seq
        ]
        if changed:
            self._connection.execute(
                update(VectorRow.__table__)  # type: ignore[arg-type]
                .where(VectorRow.__table__.c.id == bindparam("of"))
                .values(removed_seq=bindparam("went")),
                changed,
            )
        return len(theirs)

    def add_rows(self, rows: Sequence[Any], *, after: int) -> int:
        """Insert vectors of the other store, and return the last one's id.

        Args:
            rows: Their rows, in order of id.
            after: The id of the last vector that is here.

        Raises:
            StoreError: There are later ones.
        """
        if self.highest_vector() != after:
            raise self._disturbed()
        self._backend.load_rows(self._connection, VectorRow.__table__, rows)
        return int(rows[-1].id)

    def replace_rest(self, source: Rows, told: Callable[[int], None]) -> None:
        """Put all that is no vector and no file in place of what is here."""
        for row in REST:
            self._connection.execute(delete(row))
            for part in source.parts(row):
                self._backend.load_rows(self._connection, row.__table__, part)
                told(len(part))
        self._connection.execute(update(GalleryRow).values(source.gallery()))
        kept = [encoder["id"] for encoder in source.encoders()]
        self._connection.execute(delete(EncoderRow).where(EncoderRow.id.not_in(kept)))
        self._backend.set_highest_ids(self._connection, source.highest_ids())

    def finish(self, source: Rows, settings: dict[str, Any], *, compared: int, digest: str) -> None:
        """Let the store be used from now on.

        Args:
            source: What it holds.
            settings: The gallery's settings here.
            compared: The sequence number at which both were found equal.
            digest: What `compare` returned.

        Raises:
            StoreError: It was changed since.
        """
        if self.seq != compared + 1:
            raise self._disturbed()
        self._connection.execute(update(GalleryRow).values(seq=source.seq, settings=settings))
        details = mark_details(self._connection) or {}
        self._connection.execute(
            update(WatermarkRow)
            .where(WatermarkRow.name == COPY)
            .values(seq=source.seq, details=details | {"verified": True, "digest": digest})
        )

    def _disturbed(self) -> StoreError:
        return StoreError(
            f"Another process with the same copy command writes to {self._backend.place}: run it "
            "again when that has ended."
        )


def begin(connection: Connection, source: Rows, *, name: str, uid: str) -> None:
    """Write the rows of a store that is to be filled: its encoders, itself, and the mark.

    Args:
        connection: In the transaction that has made the tables.
        source: What it is to hold.
        name: Where that is, without a password.
        uid: The new store's own.
    """
    for encoder in source.encoders():
        connection.execute(insert(EncoderRow).values(encoder))
    connection.execute(
        insert(GalleryRow).values(source.gallery() | {"seq": 0, "settings": {}, "uid": uid})
    )
    details = {"from": source.uid, "name": name, "verified": False}
    connection.execute(insert(WatermarkRow).values(name=COPY, seq=0, details=details))


def copy_rows(source: Rows, target: Store, told: Callable[[int], None]) -> int:
    """Bring a store that a copy fills in line with a snapshot of another one.

    Args:
        source: The snapshot.
        target: The store, which a copy of the same gallery has begun.
        told: Told how many rows more have been copied.

    Returns:
        How many vectors were sent; the others were there.
    """
    with target.filling() as tx:
        tx.know_encoders(source.encoders())
        last = tx.highest_vector()
    for after in range(0, last, _IDS):
        with target.filling() as tx:
            told(tx.follow_removals(source, after=after, up_to=min(after + _IDS, last)))
    with target.rows() as now:
        last = now.highest_vector()
    sent = 0
    for part in source.parts(VectorRow, after=last):
        with target.filling() as tx:
            last = tx.add_rows(part, after=last)
        sent += len(part)
        told(len(part))
    with target.filling() as tx:
        tx.replace_rest(source, told)
    return sent


def compare(source: Rows, target: Rows, told: Callable[[int], None]) -> str:
    """Prove that two stores hold the same, by reading both.

    Args:
        source: A snapshot of the one copied.
        target: A snapshot of the one filled.
        told: Told how many rows more have been read.

    Returns:
        A SHA-256 over all rows of either, in hex.

    Raises:
        StoreError: They differ.
    """
    found = hashlib.sha256()
    rows: tuple[type[Base], ...] = (VectorRow, *REST)
    for row in rows:
        one, other = source.digest(row, told), target.digest(row, told)
        if one != other:
            raise _differ(source, target, row.__tablename__)
        found.update(f"{row.__tablename__} {one.rows} {one.sha256}\n".encode())
    for what in (Rows.encoders, Rows.gallery):
        if what(source) != what(target):
            raise _differ(source, target, what.__name__)
    return found.hexdigest()


def _differ(source: Rows, target: Rows, what: str) -> StoreError:
    return StoreError(
        f"The {what} of {target.place} are not those of {source.place} after the copy: see to both "
        "databases, empty the new one and copy again."
    )
