"""Writing many rows to PostgreSQL: by COPY in binary form, not row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    JSON,
    Connection,
    DateTime,
    Float,
    Integer,
    LargeBinary,
    String,
    Table,
    insert,
    text,
)
from sqlalchemy.types import TypeEngine

from db.column_types import to_binary
from db.errors import StoreError
from db.schema import ItemRow
from db.texts import dumped, require_text

if TYPE_CHECKING:
    import psycopg

# So few items are inserted in one go, without asking for their ids first.
_FEW = 10
_IDS = text("SELECT nextval(pg_get_serial_sequence('items', 'id')) FROM generate_series(1, :count)")
# The columns of COPY with the types of what is sent: JSON goes as a text, a vector as bytes.
_ITEMS = {
    "id": "int8",
    "label": "text",
    "source_label": "text",
    "path": "text",
    "content_hash": "text",
    "width": "int8",
    "height": "int8",
    "file_size": "int8",
    "mtime_ns": "int8",
    "meta": "text",
    "added_at": "timestamp",
}
_VECTORS = {"item_id": "int8", "encoder_id": "int8", "added_seq": "int8", "data": "bytea"}


def insert_items(connection: Connection, rows: Sequence[dict[str, Any]]) -> list[int]:
    """Insert rows into `items` and return their ids, in the same order."""
    if len(rows) < _FEW:
        query = insert(ItemRow).returning(ItemRow.id, sort_by_parameter_order=True)
        return list(connection.scalars(query, rows))
    ids = list(connection.scalars(_IDS, {"count": len(rows)}))
    with _copy(connection, "items", _ITEMS) as copy:
        for item_id, row in zip(ids, rows, strict=True):
            values = row | {"id": item_id, "meta": dumped(row["meta"])}
            copy.write_row([values[name] for name in _ITEMS])
    return ids


def insert_vectors(
    connection: Connection,
    item_ids: Sequence[int],
    vectors: NDArray[np.float16],
    *,
    encoder_id: int,
    seq: int,
) -> None:
    """Insert vectors; see `Backend.insert_vectors`. Their ids ascend with their place."""
    with _copy(connection, "vectors", _VECTORS) as copy:
        for item_id, data in zip(item_ids, to_binary(vectors), strict=True):
            copy.write_row((item_id, encoder_id, seq, data))


def load_rows(connection: Connection, table: Table, rows: Sequence[Any]) -> None:
    """Insert whole rows, with the columns in the table's order.

    Raises:
        StoreError: A text or metadata can't be kept; the sentence says of which row.
    """
    types = {column.name: _sent_type(column.type) for column in table.columns}
    senders = [_sender(column.type) for column in table.columns]
    with _copy(connection, table.name, types) as copy:
        for row in rows:
            try:
                copy.write_row(
                    [
                        None if value is None else send(value)
                        for send, value in zip(senders, row, strict=True)
                    ]
                )
            except StoreError as error:
                raise StoreError(f"Row {row[0]} of {table.name} can't go along: {error}") from error


def _sent_type(column: TypeEngine[Any]) -> str:
    by_class: dict[type[Any], str] = {
        LargeBinary: "bytea",
        JSON: "text",
        String: "text",
        DateTime: "timestamp",
        Float: "float8",
        Integer: "int8",
    }
    return next(name for kind, name in by_class.items() if isinstance(column, kind))


def _sender(column: TypeEngine[Any]) -> Callable[[Any], Any]:
    if isinstance(column, LargeBinary):
        return _sent_vector
    if isinstance(column, JSON):
        return dumped
    return _sent_text if isinstance(column, String) else lambda value: value


def _sent_vector(data: bytes) -> bytes:
    if len(data) % 2 or not np.isfinite(np.frombuffer(data, dtype="<f2")).all():
        raise StoreError("it is damaged: `lookalike check` on the gallery copied says more.")
    (sent,) = to_binary(np.frombuffer(data, dtype="<f2")[np.newaxis])
    return sent


def _sent_text(value: str) -> str:
    require_text("The text", value)
    return value


@contextmanager
def _copy(connection: Connection, table: str, types: dict[str, str]) -> Iterator[psycopg.Copy]:
    driver: Any = connection.connection.driver_connection
    statement = f"COPY {table} ({', '.join(types)}) FROM STDIN (FORMAT BINARY)"
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(list(types.values()))
        yield copy
