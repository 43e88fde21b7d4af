"""What can be changed in a store, inside one write transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, delete, func, insert, literal, select, update

from db.backend import Backend
from db.errors import NotRestorable, StoreError
from db.reader import Reader, possible
from db.records import Item, NewItem, StoredEncoder
from db.schema import (
    EncoderRow,
    FailureRow,
    FileRow,
    GalleryRow,
    GenerationRow,
    ItemRow,
    RemovedItemRow,
    ThresholdRow,
    VectorRow,
)
from db.texts import require_items, require_key

# Ids named in one statement; SQLite takes 32,766 parameters.
_IDS = 10_000
# Bytes of a file that a row holds.
_PART = 8 * 2**20
# What stays of an item that is removed.
_KEPT = [column.name for column in ItemRow.__table__.columns]


def now() -> datetime:
    """The present in UTC, without zone, as the store keeps it."""
    return datetime.now(UTC).replace(tzinfo=None)


class Writer(Reader):
    """Changes of one transaction: all of them happen, at one new sequence number, or none."""

    def __init__(self, connection: Connection, backend: Backend) -> None:
        super().__init__(connection, backend)
        # First of all: on PostgreSQL this row's lock is what makes writers wait in turn, so that
        # sequence numbers are given out in the order of commits.
        self.seq = connection.execute(
            update(GalleryRow).values(seq=GalleryRow.seq + 1).returning(GalleryRow.seq)
        ).scalar_one()

    def add_items(self, items: Sequence[NewItem], vectors: NDArray[np.float32]) -> list[int]:
        """Store new items with their vectors and return their ids, in the same order.

        Earlier failures of the same paths are forgotten.

        Args:
            items: The items; no path must belong to another one.
            vectors: float32, shape `(len(items), dim)`, L2-normalised; kept as float16.

        Raises:
            StoreError: The vectors' length is not the encoder's, or a text can't be kept.
        """
        if not items:
            return []
        require_items(items)
        added_at = now()
        rows = [_columns(item) | {"added_at": added_at} for item in items]
        ids = self._backend.insert_items(self._connection, rows)
        self._count(items=len(ids))
        self.add_vectors(ids, vectors, self.encoder)
        self.forget_failures([item.path for item in items])
        return ids

    def replace_image(self, item_id: int, item: NewItem, vector: NDArray[np.float32]) -> None:
        """Give an item a new image: its old vector goes, a new one comes, its id stays."""
        self._remove_vectors([item_id])
        self.update_item(item_id, **_columns(item))
        self.add_vectors([item_id], vector[np.newaxis], self.encoder)
        self.forget_failures([item.path])

    def update_item(self, item_id: int, **columns: Any) -> None:
        """Set columns of an item that don't concern its image (`label`, `path`, `meta`, …).

        Raises:
            StoreError: A text can't be kept.
        """
        for name in {"path", "label", "source_label"} & columns.keys():
            require_key(f"The {name.removeprefix('source_')}", columns[name])
        self._connection.execute(update(ItemRow).where(ItemRow.id == item_id).values(columns))

    def remove_items(self, ids: Sequence[int]) -> int:
        """Remove items and return how many of `ids` there were; `restore_item` undoes it."""
        ids = possible(ids)
        removed, removed_at = 0, now()
        for start in range(0, len(ids), _IDS):
            chunk = ids[start : start + _IDS]
            self._remove_vectors(chunk)
            kept = select(*(ItemRow.__table__.c[name] for name in _KEPT), literal(removed_at))
            self._connection.execute(
                insert(RemovedItemRow).from_select(
                    [*_KEPT, "removed_at"], kept.where(ItemRow.id.in_(chunk))
                )
            )
            removed += self._connection.execute(
                delete(ItemRow).where(ItemRow.id.in_(chunk))
            ).rowcount
        self._count(items=-removed)
        return removed

    def restore_item(self, item_id: int) -> Item:
        """Undo the removal of an item: it comes back as it was, under its own id.

        Its vector is a new row with the bytes of the one that went, so that indexes, which take no
        id twice, follow.

        Raises:
            NotRestorable: It was not removed, its photo is another item by now, or its vector is
                of an encoder of before.
        """
        removed = RemovedItemRow.__table__
        row = self._connection.execute(
            select(removed).where(RemovedItemRow.id.in_(possible([item_id])))
        ).one_or_none()
        if row is None:
            raise NotRestorable(
                f"There is no removed item {item_id} to restore: it was not removed, or a "
                "compaction has forgotten it."
            )
        for other in self.items(paths=[row.path]):
            raise NotRestorable(
                f"Item {item_id} can't be restored, as its photo was added again as item "
                f"{other.id}."
            )
        latest = self._connection.scalar(
            select(func.max(VectorRow.id)).where(VectorRow.item_id == item_id, self._mine())
        )
        if latest is None:
            raise NotRestorable(
                f"Item {item_id} was removed before the gallery got its encoder, so it has no "
                "vector to restore: add its photo again."
            )
        values = {name: getattr(row, name) for name in _KEPT}
        self._connection.execute(insert(ItemRow).values(values))
        self._connection.execute(delete(RemovedItemRow).where(RemovedItemRow.id == item_id))
        again = (VectorRow.item_id, VectorRow.encoder_id, literal(self.seq), VectorRow.data)
        self._connection.execute(
            insert(VectorRow).from_select(
                ["item_id", "encoder_id", "added_seq", "data"],
                select(*again).where(VectorRow.id == latest),
            )
        )
        self._count(items=1, changes=1)
        return next(self.items(ids=[item_id]))

    def move_paths(self, before: str, after: str) -> None:
        """Let all paths that begin with one text begin with another; removed items' too."""
        for row in (ItemRow, RemovedItemRow):
            self._connection.execute(
                update(row)
                .where(func.substr(row.path, 1, len(before)) == before)
                .values(path=literal(after) + func.substr(row.path, len(before) + 1))
            )

    def relabel_items(self, ids: Sequence[int], label: str | None) -> int:
        """Give items another label (`None`: an identity of their own); return how many.

        Raises:
            StoreError: Such a label can't be kept.
        """
        require_key("The label", label)
        ids = possible(ids)
        changed = 0
        for start in range(0, len(ids), _IDS):
            query = update(ItemRow).where(ItemRow.id.in_(ids[start : start + _IDS]))
            changed += self._connection.execute(query.values(label=label)).rowcount
        return changed

    # Another encoder

    def know_encoder(self, *, fingerprint: str, name: str, dim: int) -> StoredEncoder:
        """Note an encoder whose vectors are to come, and return it with the store's number."""
        values = {"name": name, "dim": dim}
        row_id = self._connection.execute(
            self._backend.upsert(EncoderRow)
            .values(fingerprint=fingerprint, added_at=now(), **values)
            .on_conflict_do_update(index_elements=[EncoderRow.fingerprint], set_=values)
            .returning(EncoderRow.id)
        ).scalar_one()
        return StoredEncoder(row_id, fingerprint, name, dim)

    def add_vectors(
        self, item_ids: Sequence[int], vectors: NDArray[np.float32], encoder: StoredEncoder
    ) -> None:
        """Store vectors for items that have none of this encoder.

        Of an encoder the gallery does not belong to, they are seen by nobody until it is switched.

        Args:
            item_ids: The items' numbers.
            vectors: float32, shape `(len(item_ids), dim)`, L2-normalised; kept as float16.
            encoder: What made them.

        Raises:
            StoreError: The vectors' length is not the encoder's.
        """
        if vectors.shape != (len(item_ids), encoder.dim):
            raise StoreError(
                f"Vectors of shape {vectors.shape} can't be stored for {len(item_ids)} items: the "
                f"encoder {encoder.name} makes ({encoder.dim},) for each."
            )
        if item_ids:
            self._backend.insert_vectors(
                self._connection,
                item_ids,
                vectors.astype(np.float16),
                encoder_id=encoder.id,
                seq=self.seq,
            )
            self._count(changes=len(item_ids))

    def drop_unfinished_vectors(self, *, but: StoredEncoder | None = None) -> None:
        """Delete the vectors of encoders the gallery does not belong to, except one encoder's."""
        kept = {self.encoder.id, but.id if but else self.encoder.id}
        self._connection.execute(
            delete(VectorRow).where(
                VectorRow.removed_seq.is_(None), VectorRow.encoder_id.not_in(kept)
            )
        )

    def switch_encoder(self, encoder: StoredEncoder) -> None:
        """Let the gallery belong to another encoder: its vectors go, the other's are in force.

        Thresholds from an earlier time with that encoder are forgotten.

        Raises:
            StoreError: An item has no vector of it.
        """
        if next(self.seen_through(encoder).items_without_vector(), None) is not None:
            raise StoreError(
                f"Not every item has a vector of {encoder.name}: run reembed to make them."
            )
        gone = self._connection.execute(
            update(VectorRow).where(*self._live()).values(removed_seq=self.seq)
        )
        self._count(changes=gone.rowcount)
        self._connection.execute(delete(ThresholdRow).where(ThresholdRow.encoder_id == encoder.id))
        self._connection.execute(update(GalleryRow).values(encoder_id=encoder.id))
        self.encoder = encoder

    # The rest

    def set_settings(self, settings: dict[str, Any]) -> None:
        """Replace the gallery's settings."""
        self._connection.execute(update(GalleryRow).values(settings=settings))

    def record_failure(self, path: str, reason: str) -> None:
        """Note that a file could not become an item; a later note replaces an earlier one."""
        require_key("The path", path)
        # Words of others' may hold anything.
        told = reason.encode(errors="backslashreplace").decode().replace("\0", "\\0")
        values = {"reason": told, "failed_at": now()}
        self._connection.execute(
            self._backend.upsert(FailureRow)
            .values(path=path, **values)
            .on_conflict_do_update(index_elements=[FailureRow.path], set_=values)
        )

    def forget_failures(self, paths: Sequence[str]) -> None:
        """Drop the notes about files, where there are any."""
        for start in range(0, len(paths), _IDS):
            chunk = paths[start : start + _IDS]
            self._connection.execute(delete(FailureRow).where(FailureRow.path.in_(chunk)))

    def add_threshold(
        self,
        value: float,
        *,
        rule: str,
        objective: str,
        source: str,
        details: dict[str, Any],
        calibration: dict[str, Any],
    ) -> None:
        """Store a threshold for the current encoder; it is in force from now on."""
        self._connection.execute(
            insert(ThresholdRow).values(
                encoder_id=self.encoder.id,
                value=value,
                rule=rule,
                objective=objective,
                source=source,
                details=details,
                calibration=calibration,
                created_at=now(),
            )
        )

    def add_generation(
        self, *, kind: str, file_name: str, sha256: str, seq: int, count: int, changes: int
    ) -> None:
        """Record an index file that is already whole and flushed on disk; see `Generation`."""
        self._connection.execute(
            insert(GenerationRow).values(
                encoder_id=self.encoder.id,
                kind=kind,
                file_name=file_name,
                sha256=sha256,
                seq=seq,
                vector_count=count,
                change_count=changes,
                created_at=now(),
            )
        )

    def drop_generation(self, generation_id: int) -> None:
        """Forget an index file."""
        self._connection.execute(delete(GenerationRow).where(GenerationRow.id == generation_id))

    def purge_vectors(self, *, up_to: int) -> int:
        """Delete the vectors that went up to a sequence number; return how many.

        Removed items that have none left are forgotten: they can't be restored any more.

        Who follows the change log from before has to begin anew: see `Reader.purged_seq`.
        """
        purged = self._connection.execute(
            delete(VectorRow).where(VectorRow.removed_seq <= up_to)
        ).rowcount
        if purged:
            self._connection.execute(update(GalleryRow).values(purged_seq=up_to))
            left = select(VectorRow.id).where(VectorRow.item_id == RemovedItemRow.id)
            self._connection.execute(delete(RemovedItemRow).where(~left.exists()))
        return purged

    # Files

    def put_file(self, name: str, data: bytes) -> None:
        """Keep a file; it takes the place of one of the same name."""
        self._connection.execute(delete(FileRow).where(FileRow.name == name))
        sha256 = hashlib.sha256(data).hexdigest()
        for part, start in enumerate(range(0, max(len(data), 1), _PART)):
            piece = data[start : start + _PART]
            self._connection.execute(
                insert(FileRow).values(name=name, part=part, sha256=sha256, data=piece)
            )

    def drop_files(self, prefix: str) -> None:
        """Forget the files whose names begin with a text."""
        begins = func.substr(FileRow.name, 1, len(prefix)) == prefix
        self._connection.execute(delete(FileRow).where(begins))

    def _remove_vectors(self, item_ids: Sequence[int]) -> None:
        gone = self._connection.execute(
            update(VectorRow)
            .where(VectorRow.item_id.in_(item_ids), VectorRow.removed_seq.is_(None))
            .values(removed_seq=self.seq)
        )
        self._count(changes=gone.rowcount)

    def _count(self, *, items: int = 0, changes: int = 0) -> None:
        if items or changes:
            self._connection.execute(
                update(GalleryRow).values(
                    item_count=GalleryRow.item_count + items,
                    change_count=GalleryRow.change_count + changes,
                )
            )


def _columns(item: NewItem) -> dict[str, Any]:
    return {
        "label": item.label,
        "source_label": item.source_label,
        "path": item.path,
        "content_hash": item.content_hash,
        "width": item.width,
        "height": item.height,
        "file_size": item.file_size,
        "mtime_ns": item.mtime_ns,
        "meta": item.metadata,
    }
