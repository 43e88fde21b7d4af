"""A table of vectors in PostgreSQL as the store writes it: rows come, are marked removed, stay."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import numpy as np
import psycopg
from pgvector import HalfVector
from psycopg import sql

from indexes import VectorTable

DIM = 32


def new_table(connection: psycopg.Connection[Any]) -> VectorTable:
    """Make an empty table, with names that need quoting, in a database that others may use."""
    name = f'the "vectors" of {uuid4().hex}'
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    connection.execute(
        sql.SQL(
            'CREATE TABLE {} ("an id" bigint PRIMARY KEY, encoder_id int NOT NULL DEFAULT 3, '
            'removed_seq bigint, "the data" halfvec NOT NULL)'
        ).format(sql.Identifier(name))
    )
    return VectorTable(name, "an id", "the data", "encoder_id = 3 AND removed_seq IS NULL")


def write(
    connection: psycopg.Connection[Any],
    table: VectorTable,
    ids: np.ndarray,
    vectors: np.ndarray,
    *,
    encoder: int = 3,
) -> None:
    """Write rows; those that are there already stay as they are."""
    texts = [HalfVector(vector).to_text() for vector in vectors]
    connection.execute(
        sql.SQL(
            'INSERT INTO {} ("an id", encoder_id, "the data") '
            "SELECT id, {}, text::halfvec FROM unnest(%s::bigint[], %s::text[]) AS new (id, text) "
            "ON CONFLICT DO NOTHING"
        ).format(sql.Identifier(table.name), sql.Literal(encoder)),
        (np.asarray(ids).tolist(), texts),
    )


def remove(connection: psycopg.Connection[Any], table: VectorTable, ids: np.ndarray) -> None:
    """Mark rows as removed."""
    connection.execute(
        sql.SQL('UPDATE {} SET removed_seq = 1 WHERE "an id" = ANY(%s)').format(
            sql.Identifier(table.name)
        ),
        (np.asarray(ids).tolist(),),
    )


def clustered(seed: int, count: int) -> np.ndarray:
    """Vectors about 400 centres, the same for every seed, which it lies among as embeddings do."""
    centres = np.random.default_rng(0).standard_normal((400, DIM))
    rng = np.random.default_rng(seed)
    vectors = centres[rng.integers(400, size=count)] + 0.4 * rng.standard_normal((count, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def small(connection: psycopg.Connection[Any]) -> VectorTable:
    """Make a table of 100 vectors."""
    table = new_table(connection)
    write(connection, table, np.arange(100), clustered(1, 100))
    return table
