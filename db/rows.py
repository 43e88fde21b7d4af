"""Whole tables, row by row: what a copy reads, and what it compares afterwards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, inspect, or_, select

from db.reader import Reader
from db.schema import (
    Base,
    EncoderRow,
    FailureRow,
    GalleryRow,
    ItemRow,
    RemovedItemRow,
    ThresholdRow,
    VectorRow,
)

REST: tuple[type[Base], ...] = (ItemRow, RemovedItemRow, ThresholdRow, FailureRow)
"""The tables that go along beside the vectors and their encoders."""
GALLERY_COLUMNS = ("encoder_id", "item_count", "change_count", "purged_seq", "created_at")
"""What goes along of the row about the gallery; its sequence number and settings come last."""
# Vectors that are read, or written in one transaction, at a time.
_CHUNK = 4096


@dataclass(frozen=True)
class Digest:
    """What tells two tables apart.

    Attributes:
        rows: How many rows there are.
        sha256: Over all of them in order of their keys, in hex.
    """

    rows: int
    sha256: str


class Rows(Reader):
    """A snapshot of whole tables."""

    @property
    def place(self) -> str:
        """What to call the database in sentences."""
        return self._backend.place

    def count_rows(self) -> int:
        """How many rows go along, but those of encoders."""
        rows: tuple[type[Base], ...] = (VectorRow, *REST)
        return sum(map(self._count_in, rows))

    def count_all_vectors(self) -> int:
        """How many vectors there are, live or not, of whatever encoder."""
        return self._count_in(VectorRow)

    def parts(self, row: type[Base], *, after: int | None = None) -> Iterator[Sequence[Any]]:
        """Yield the rows of a table with all columns, in chunks, in order of the key.

        Args:
            row: The table.
            after: Only those with a larger key.
        """
        table = row.__table__
        (key,) = inspect(row).primary_key
        query = select(table).order_by(key)
        if after is not None:
            query = query.where(key > after)
        with self._rows(query, _CHUNK) as result:
            yield from result.partitions()

    def encoders(self) -> list[dict[str, Any]]:
        """Return the encoders in force, with vectors or with thresholds, by column."""
        used = [
            select(row.id).where(row.encoder_id == EncoderRow.id).exists()
            for row in (VectorRow, ThresholdRow, GalleryRow)
        ]
        query = select(EncoderRow.__table__).where(or_(*used)).order_by(EncoderRow.id)
        return [dict(row) for row in self._connection.execute(query).mappings()]

    def gallery(self) -> dict[str, Any]:
        """Return what goes along of the row about the gallery, by column."""
        columns = [GalleryRow.__table__.c[name] for name in GALLERY_COLUMNS]
        return dict(self._connection.execute(select(*columns)).mappings().one())

    def highest_ids(self) -> dict[str, int]:
        """Return the highest id that each table has ever given out, by its name."""
        return self._backend.highest_ids(self._connection)

    def highest_vector(self) -> int:
        """Return the highest id of a vector that is here, 0 without any."""
        return int(self._connection.scalar(select(func.max(VectorRow.id))) or 0)

    def removals(self, after: int, up_to: int) -> dict[int, int | None]:
        """Return the vectors with ids in `(after, up_to]`, and when each went."""
        query = select(VectorRow.id, VectorRow.removed_seq).where(
            VectorRow.id > after, VectorRow.id <= up_to
        )
        with self._rows(query) as rows:
            return {row.id: row.removed_seq for row in rows}

    def _count_in(self, row: type[Base]) -> int:
        return int(self._connection.scalar(select(func.count()).select_from(row)) or 0)

    def digest(self, row: type[Base], told: Callable[[int], None] | None = None) -> Digest:
        """Read a table, and return what tells it from every other one.

        Each row is the JSON of its columns and the length of its vector, a line, then the vector's
        bytes: the same from every database.

        Args:
            row: The table.
            told: Told how many rows more have been read.
        """
        found, rows = hashlib.sha256(), 0
        for part in self.parts(row):
            found.update(b"".join(map(_canonical, part)))
            rows += len(part)
            if told is not None:
                told(len(part))
        return Digest(rows, found.hexdigest())


def _canonical(row: Sequence[Any]) -> bytes:
    data = b"".join(value for value in row if isinstance(value, bytes))
    values = [len(value) if isinstance(value, bytes) else value for value in row]
    return json.dumps(values, default=_text, separators=(",", ":")).encode() + b"\n" + data


def _text(value: Any) -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"no column holds a {type(value).__name__}")
    return value.isoformat()
