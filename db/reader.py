"""What can be asked of a store, inside one read snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import chain
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, literal, or_, select, true

from db.backend import BINARY
from db.conditions import Condition, clause
from db.expressions import ascii_lower, entries, position
from db.glance import Glance
from db.kept import Kept
from db.records import (
    Failure,
    Generation,
    Item,
    StoredEncoder,
    StoredVectors,
    Threshold,
)
from db.schema import (
    EncoderRow,
    FailureRow,
    GalleryRow,
    GenerationRow,
    ItemRow,
    RemovedItemRow,
    ThresholdRow,
    VectorRow,
)
from db.texts import require_text

# Rows of a result fetched at a time: bounds memory, not the answer.
_FETCH = 1000
LARGEST_ID = 2**63 - 1
_T = TypeVar("_T")


class Reader(Kept):
    """Questions to one snapshot; every answer speaks of the same sequence number."""

    @cached_property
    def seq(self) -> int:
        """The sequence number of the last write in this snapshot."""
        return int(self._connection.scalar(select(GalleryRow.seq)) or 0)

    @cached_property
    def encoder(self) -> StoredEncoder:
        """The encoder this gallery belongs to."""
        row = self._connection.execute(
            select(EncoderRow).join(GalleryRow, GalleryRow.encoder_id == EncoderRow.id)
        ).one()
        return StoredEncoder(row.id, row.fingerprint, row.name, row.dim)

    def find_encoder(self, fingerprint: str) -> StoredEncoder | None:
        """Return the encoder with this fingerprint, if it has or had vectors here."""
        row = self._connection.execute(
            select(EncoderRow).where(EncoderRow.fingerprint == fingerprint)
        ).one_or_none()
        return None if row is None else StoredEncoder(row.id, row.fingerprint, row.name, row.dim)

    def other_encoders(self) -> list[StoredEncoder]:
        """Return the encoders that have or had vectors here, but the gallery's own."""
        rows = self._connection.execute(select(EncoderRow).where(EncoderRow.id != self.encoder.id))
        return [StoredEncoder(row.id, row.fingerprint, row.name, row.dim) for row in rows]

    def size(self) -> int:
        """How many bytes the store takes."""
        return self._backend.size(self._connection)

    def seen_through(self, encoder: StoredEncoder) -> Reader:
        """Return the same snapshot as if the gallery belonged to `encoder`."""
        other = Reader(self._connection, self._backend)
        other.encoder = encoder
        return other

    def settings(self) -> dict[str, Any]:
        """The gallery's settings."""
        return dict(self._connection.scalar(select(GalleryRow.settings)) or {})

    @property
    def change_count(self) -> int:
        """How many vectors have come or gone, ever; what a generation lacks is the difference."""
        return int(self._connection.scalar(select(GalleryRow.change_count)) or 0)

    @property
    def purged_seq(self) -> int:
        """What went up to this sequence number may be told by `removed_since` no longer."""
        return int(self._connection.scalar(select(GalleryRow.purged_seq)) or 0)

    @property
    def glance(self) -> Glance:
        """The same snapshot, for the questions of a query."""
        return self._backend.glance_of(self._connection)

    @property
    def driver_connection(self) -> Any:
        """The connection of `sqlite3` or `psycopg`, for an index that lives in the same database.

        It is in the snapshot's transaction, and must be left as it was.
        """
        return self._connection.connection.driver_connection

    # Items

    def count_items(self, label: str | None = None) -> int:
        """How many items there are, or how many show `label`."""
        require_text("The label", label)
        if label is None:
            return int(self._connection.scalar(select(GalleryRow.item_count)) or 0)
        query = select(func.count()).select_from(ItemRow).where(ItemRow.label == label)
        return int(self._connection.scalar(query) or 0)

    def label_counts(self, where: Sequence[Condition] = ()) -> dict[str, int]:
        """How many items that meet the conditions each label has, in alphabetical order."""
        query = (
            select(ItemRow.label, func.count())
            .where(ItemRow.label.is_not(None), *map(clause, where))
            .group_by(ItemRow.label)
            .order_by(ItemRow.label)
        )
        return {str(row[0]): row[1] for row in self._connection.execute(query)}

    def items(
        self,
        *,
        ids: Sequence[int] | None = None,
        paths: Sequence[str] | None = None,
        label: str | None = None,
        content_hash: str | None = None,
        where: Sequence[Condition] = (),
    ) -> Iterator[Item]:
        """Yield the items that meet every condition given, in order of id.

        Args:
            ids: Only these; in large numbers the order is by id within each thousand.
            paths: Only those read from here; not together with `ids`.
            label: Only those that show it.
            content_hash: Only those with exactly these bytes.
            where: Only those that meet all of these conditions.
        """
        for path in paths or ():
            require_text("The path", path)
        require_text("The label", label)
        query = select(ItemRow).where(*map(clause, where)).order_by(ItemRow.id)
        if label is not None:
            query = query.where(ItemRow.label == label)
        if content_hash is not None:
            query = query.where(ItemRow.content_hash == content_hash)
        chunks = [query]
        if ids is not None:
            chunks = [query.where(ItemRow.id.in_(part)) for part in _parts(possible(ids))]
        elif paths is not None:
            chunks = [query.where(ItemRow.path.in_(part)) for part in _parts(paths)]
        for chunk in chunks:
            with self._rows(chunk) as rows:
                yield from map(_item, rows)

    def metadata_fields(self) -> list[str]:
        """Return the keys that the metadata of any item have, in alphabetical order."""
        entry = entries(ItemRow.meta).table_valued("key")
        query = select(entry.c.key).select_from(ItemRow).join(entry, true()).distinct()
        return sorted(self._connection.scalars(query))

    def find_items(
        self,
        *,
        text: str = "",
        label: str | None = None,
        where: Sequence[Condition] = (),
        after: int = 0,
        limit: int = 100,
    ) -> tuple[list[Item], int]:
        """Return one page of the items that hold a text, and how many there are in all.

        Args:
            text: Occurs in the label, in the last part of the path or in the metadata, whatever
                the case of ASCII letters; empty for all items.
            label: Only those that show it.
            where: Only those that meet all of these conditions.
            after: Only those with a larger id.
            limit: At most so many.
        """
        require_text("The text", text)
        require_text("The label", label)
        conditions: list[Any] = [*map(clause, where)]
        if label is not None:
            conditions.append(ItemRow.label == label)
        if text:
            held = ascii_lower(literal(text))
            folder = func.rtrim(ItemRow.path, func.replace(ItemRow.path, "/", ""))
            name = func.replace(ItemRow.path, folder, "")
            values = entries(ItemRow.meta).table_valued("value")
            conditions.append(
                or_(
                    position(ascii_lower(ItemRow.label), held) > 0,
                    position(ascii_lower(name), held) > 0,
                    select(values).where(position(ascii_lower(values.c.value), held) > 0).exists(),
                )
            )
        count = select(func.count()).select_from(ItemRow).where(*conditions)
        page = (
            select(ItemRow)
            .where(*conditions, ItemRow.id > min(after, LARGEST_ID))
            .order_by(ItemRow.id)
        )
        rows = self._connection.execute(page.limit(limit))
        return [_item(row) for row in rows], int(self._connection.scalar(count) or 0)

    def item_labels(self) -> Iterator[tuple[int, str | None]]:
        """Yield the id and the label of every item, at a fraction of the cost of `items`."""
        query = select(ItemRow.id, ItemRow.label).order_by(ItemRow.id)
        with self._rows(query) as rows:
            for row in rows:
                yield row.id, row.label

    def items_without_vector(self, ids: Sequence[int] | None = None) -> Iterator[Item]:
        """Yield the items, or those among `ids`, that have no live vector of the encoder.

        In order of id, or, of many `ids`, by id within each thousand.
        """
        theirs = select(VectorRow.id).where(VectorRow.item_id == ItemRow.id, *self._live())
        query = select(ItemRow).where(~theirs.exists()).order_by(ItemRow.id)
        chunks = [query]
        if ids is not None:
            chunks = [query.where(ItemRow.id.in_(part)) for part in _parts(ids)]
        for chunk in chunks:
            with self._rows(chunk) as rows:
                yield from map(_item, rows)

    def stored_contents(self, content_hashes: Sequence[str]) -> set[str]:
        """Return those of some content hashes that an item has."""
        found: set[str] = set()
        for part in _parts(content_hashes):
            query = select(ItemRow.content_hash).where(ItemRow.content_hash.in_(part))
            found.update(self._connection.scalars(query))
        return found

    def content_prefixes(self) -> NDArray[np.uint64]:
        """Return the first 64 bits of every item's content hash, ascending: uint64, `(n,)`."""
        query = select(func.substr(ItemRow.content_hash, 1, 16))
        with self._rows(query) as rows:
            return np.sort(np.fromiter((int(row[0], 16) for row in rows), dtype=np.uint64))

    def paths_below(self, folder: str) -> set[str]:
        """Return the paths of items, removed ones too, that begin with a folder's."""
        found: set[str] = set()
        for row in (ItemRow, RemovedItemRow):
            begins = func.substr(row.path, 1, len(folder)) == folder
            found.update(self._connection.scalars(select(row.path).where(begins)))
        return found

    # Vectors

    def vectors(self, *, after_seq: int = -1, chunk: int = 4096) -> Iterator[StoredVectors]:
        """Yield the live vectors that came after `after_seq`, in chunks, in order of id."""
        query = select(VectorRow.id, VectorRow.item_id, VectorRow.data).where(*self._live())
        if after_seq >= 0:
            # Ids are given out in the order of writes; asked for by id, SQLite would read all rows.
            query = query.where(VectorRow.added_seq > after_seq).order_by(VectorRow.added_seq)
        with self._rows(query.order_by(VectorRow.id), chunk) as result:
            for rows in result.partitions():
                yield self._stored(rows)

    def vectors_of(self, item_ids: Sequence[int]) -> StoredVectors:
        """Return the live vectors of some items, in order of id."""
        rows: list[Any] = []
        for part in _parts(item_ids):
            query = select(VectorRow.id, VectorRow.item_id, VectorRow.data).where(
                *self._live(), VectorRow.item_id.in_(part)
            )
            rows += self._connection.execute(query, execution_options={BINARY: True})
        return self._stored(sorted(rows))

    def vectors_meeting(
        self, where: Sequence[Condition]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the vectors of the items that meet all conditions, whatever their encoder.

        Those of other encoders and those an item had before are among them: only an index, which
        lacks them, tells them apart, as the store would have to read every vector.

        Returns:
            Vector ids and, for each, the id of its item: int64, shape `(n,)` each.
        """
        query = (
            select(VectorRow.id, VectorRow.item_id)
            .join(ItemRow, ItemRow.id == VectorRow.item_id)
            .where(*map(clause, where))
        )
        with self._rows(query) as rows:
            pairs = np.fromiter(chain.from_iterable(rows), dtype=np.int64).reshape(-1, 2)
        return pairs[:, 0].copy(), pairs[:, 1].copy()

    def count_vectors(self) -> int:
        """How many live vectors there are."""
        query = select(func.count()).select_from(VectorRow).where(*self._live())
        return int(self._connection.scalar(query) or 0)

    def removed_since(self, seq: int, *, until: int | None = None) -> list[int]:
        """Return the ids of the vectors that went after `seq`, at least `purged_seq`.

        Args:
            seq: A sequence number.
            until: Only those that had gone by this one.
        """
        query = select(VectorRow.id).where(self._mine(), VectorRow.removed_seq > seq)
        if until is not None:
            query = query.where(VectorRow.removed_seq <= until)
        return list(self._connection.scalars(query))

    # The rest

    def threshold(self) -> Threshold | None:
        """The threshold in force: the newest one of the current encoder."""
        row = self._connection.execute(
            select(ThresholdRow)
            .where(ThresholdRow.encoder_id == self.encoder.id)
            .order_by(ThresholdRow.id.desc())
            .limit(1)
        ).first()
        if row is None:
            return None
        return Threshold(
            value=row.value,
            rule=row.rule,
            objective=row.objective,
            source=row.source,
            encoder_fingerprint=self.encoder.fingerprint,
            details=row.details,
            calibration=row.calibration,
            created_at=row.created_at,
        )

    def failures(self) -> list[Failure]:
        """The files that could not become items, by path."""
        rows = self._connection.execute(select(FailureRow).order_by(FailureRow.path))
        return [Failure(row.path, row.reason, row.failed_at) for row in rows]

    def generations(self) -> list[Generation]:
        """The recorded index files, newest first."""
        rows = self._connection.execute(
            select(GenerationRow, EncoderRow.fingerprint)
            .join(EncoderRow, EncoderRow.id == GenerationRow.encoder_id)
            .order_by(GenerationRow.id.desc())
        )
        return [
            Generation(
                id=row.id,
                kind=row.kind,
                file_name=row.file_name,
                sha256=row.sha256,
                seq=row.seq,
                count=row.vector_count,
                changes=row.change_count,
                encoder_fingerprint=row.fingerprint,
                created_at=row.created_at,
            )
            for row in rows
        ]

    @contextmanager
    def _rows(self, query: Any, chunk: int = _FETCH) -> Iterator[Any]:
        """Lend the rows of a large result, which come `chunk` at a time."""
        options = {"yield_per": chunk, BINARY: True}
        with self._connection.execute(query, execution_options=options) as rows:
            yield rows

    def _mine(self) -> Any:
        return VectorRow.encoder_id == self.encoder.id

    def _live(self) -> tuple[Any, ...]:
        return (self._mine(), VectorRow.removed_seq.is_(None))

    def _stored(self, rows: Sequence[Any]) -> StoredVectors:
        dim = self.encoder.dim
        # A vector of another length is damage, which `check` finds as it finds NaN.
        data = [row.data if len(row.data) == 2 * dim else _damaged(dim) for row in rows]
        return StoredVectors(
            ids=np.array([row.id for row in rows], dtype=np.int64),
            item_ids=np.array([row.item_id for row in rows], dtype=np.int64),
            data=np.frombuffer(b"".join(data), dtype="<f2").reshape(len(rows), dim),
        )


def possible(ids: Sequence[int]) -> list[int]:
    """Return those of some numbers that a row can have."""
    return [one for one in ids if 0 < one <= LARGEST_ID]


def _parts(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    return (values[start : start + _FETCH] for start in range(0, len(values), _FETCH))


def _damaged(dim: int) -> bytes:
    return np.full(dim, np.nan, dtype="<f2").tobytes()


def _item(row: Any) -> Item:
    return Item(
        id=row.id,
        label=row.label,
        source_label=row.source_label,
        path=row.path,
        content_hash=row.content_hash,
        width=row.width,
        height=row.height,
        file_size=row.file_size,
        mtime_ns=row.mtime_ns,
        metadata=row.meta,
        added_at=row.added_at,
    )
