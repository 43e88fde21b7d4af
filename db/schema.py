"""The tables, as SQLAlchemy models.

Vectors are immutable rows in a table of their own. `added_seq` and `removed_seq` say at which write
a vector came and went; read in order, that pair is the change log an index follows. A removed item
leaves its vector row behind as a tombstone until a compaction purges it.

Change these models only together with a migration (`migrations/versions`) and `SCHEMA_VERSION`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from db.column_types import HASH, NUMBER, TEXT, VECTOR

SCHEMA_VERSION = "0005"

# Named constraints, so that a later migration can refer to them.
_NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
COUNTED = ("encoders", "items", "thresholds", "vectors")
"""The tables that number their rows, but those that are no part of a copy."""
OF_TOMBSTONES, GONE = "ix_vectors_removed_seq", "removed_seq IS NOT NULL"
"""The index of the vectors that went, and what it holds."""


class Base(DeclarativeBase):
    """Declarative base; its metadata is what the migrations are compared with."""

    metadata = MetaData(naming_convention=_NAMING)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        int: NUMBER,
        str: TEXT,
        dict[str, Any]: JSON,
    }


class EncoderRow(Base):
    """An encoder whose vectors are, or once were, in this gallery."""

    __tablename__ = "encoders"

    id: Mapped[int] = mapped_column(primary_key=True)
    fingerprint: Mapped[str] = mapped_column(HASH, unique=True)
    name: Mapped[str]
    dim: Mapped[int]
    added_at: Mapped[datetime] = mapped_column(DateTime)


class GalleryRow(Base):
    """The one row about the gallery as a whole: its sequence number, its settings, and counts.

    Counts are kept here because counting a large table takes longer than a write to it.
    """

    __tablename__ = "gallery"

    id: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int]
    encoder_id: Mapped[int] = mapped_column(ForeignKey("encoders.id"))
    settings: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(DateTime)
    item_count: Mapped[int] = mapped_column(server_default="0")
    # How many vectors have come or gone, ever.
    change_count: Mapped[int] = mapped_column(server_default="0")
    # The log of what went up to this sequence number is no longer whole.
    purged_seq: Mapped[int] = mapped_column(server_default="0")
    # What tells this gallery from every other one, for what is kept of it elsewhere.
    uid: Mapped[str] = mapped_column(server_default="")


class ItemRow(Base):
    """One reference image. A removed item's row is gone; its id is never given out again."""

    __tablename__ = "items"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    label: Mapped[str | None] = mapped_column(index=True)
    # What the label source (folder name, CSV) said last: a later run can tell its edits from ours.
    source_label: Mapped[str | None]
    path: Mapped[str] = mapped_column(unique=True)
    content_hash: Mapped[str] = mapped_column(HASH, index=True)
    width: Mapped[int]
    height: Mapped[int]
    file_size: Mapped[int] = mapped_column(BigInteger)
    mtime_ns: Mapped[int] = mapped_column(BigInteger)
    meta: Mapped[dict[str, Any]]
    added_at: Mapped[datetime] = mapped_column(DateTime)


class RemovedItemRow(Base):
    """An item as it was when it was removed, so that it can be restored under its own id."""

    __tablename__ = "removed_items"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    label: Mapped[str | None]
    source_label: Mapped[str | None]
    path: Mapped[str]
    content_hash: Mapped[str] = mapped_column(HASH)
    width: Mapped[int]
    height: Mapped[int]
    file_size: Mapped[int] = mapped_column(BigInteger)
    mtime_ns: Mapped[int] = mapped_column(BigInteger)
    meta: Mapped[dict[str, Any]]
    added_at: Mapped[datetime] = mapped_column(DateTime)
    removed_at: Mapped[datetime] = mapped_column(DateTime)


class VectorRow(Base):
    """One embedding: float16 little-endian bytes, never updated but for `removed_seq`.

    On PostgreSQL they are pgvector's `halfvec`: the same numbers, where its indexes find them.
    """

    __tablename__ = "vectors"
    __table_args__ = (
        Index("ix_vectors_item_id", "item_id"),
        Index("ix_vectors_added_seq", "added_seq"),
        # Of tombstones only: were every live vector in it, SQLite would look there for changes.
        # `db.postgres_schema` says so to PostgreSQL: said here, it would load that dialect always.
        Index(OF_TOMBSTONES, "removed_seq", sqlite_where=text(GONE)),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    # No foreign key: the tombstone outlives its item.
    item_id: Mapped[int]
    encoder_id: Mapped[int] = mapped_column(ForeignKey("encoders.id"))
    added_seq: Mapped[int]
    removed_seq: Mapped[int | None]
    data: Mapped[bytes] = mapped_column(VECTOR)


class ThresholdRow(Base):
    """A tuned threshold with where it came from; the newest one of an encoder is in force."""

    __tablename__ = "thresholds"

    id: Mapped[int] = mapped_column(primary_key=True)
    encoder_id: Mapped[int] = mapped_column(ForeignKey("encoders.id"), index=True)
    value: Mapped[float] = mapped_column(Float)
    objective: Mapped[str]
    source: Mapped[str]
    details: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(DateTime)
    rule: Mapped[str] = mapped_column(server_default="nearest")
    calibration: Mapped[dict[str, Any]] = mapped_column(server_default="{}")


class FailureRow(Base):
    """A file that could not become an item, and why."""

    __tablename__ = "failures"

    path: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str]
    failed_at: Mapped[datetime] = mapped_column(DateTime)


class GenerationRow(Base):
    """An index file built from the store as it was at sequence number `seq`."""

    __tablename__ = "generations"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    encoder_id: Mapped[int] = mapped_column(ForeignKey("encoders.id"))
    kind: Mapped[str]
    file_name: Mapped[str] = mapped_column(unique=True)
    sha256: Mapped[str] = mapped_column(HASH)
    seq: Mapped[int]
    vector_count: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(DateTime)
    # The gallery's `change_count` at that moment.
    change_count: Mapped[int] = mapped_column(server_default="0")


class FileRow(Base):
    """A part of a file that a gallery without a folder keeps, as its encoder's."""

    __tablename__ = "files"

    name: Mapped[str] = mapped_column(primary_key=True)
    part: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    # Of the whole file.
    sha256: Mapped[str] = mapped_column(HASH)
    data: Mapped[bytes] = mapped_column(LargeBinary)


class WatermarkRow(Base):
    """How far something outside has followed the change log."""

    __tablename__ = "watermarks"

    name: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int]
    details: Mapped[dict[str, Any]]


class ClaimRow(Base):
    """A photo that a builder is at work on, so that others leave it alone."""

    __tablename__ = "claims"

    path: Mapped[str] = mapped_column(primary_key=True)
    builder: Mapped[int] = mapped_column(Integer)
