"""Column types that the models and the migrations share, and each database makes its own of."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
from sqlalchemy import BigInteger, Dialect, Integer, LargeBinary, String, func
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import UserDefinedType

# What precedes the numbers in pgvector's binary form: how many there are, and two bytes unused.
_HEADER = 4


class HalfVector(UserDefinedType[bytes]):
    """pgvector's `halfvec` of any length, given and taken as little-endian float16 bytes."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Return the type's name in SQL."""
        return "halfvec"

    def column_expression(self, colexpr: ColumnElement[Any]) -> ColumnElement[Any]:
        """Ask for the binary form: numbers as text would take a hundred times as long."""
        return func.halfvec_send(colexpr, type_=self)

    def bind_processor(self, _dialect: Dialect) -> Callable[[bytes | None], str | None]:
        """Return what makes the text of one vector; many go by COPY, see `to_binary`."""

        def process(value: bytes | None) -> str | None:
            if value is None:
                return None
            return str(np.frombuffer(value, "<f2").astype(float).tolist())

        return process

    def result_processor(
        self, _dialect: Dialect, _coltype: object
    ) -> Callable[[bytes | None], bytes | None]:
        """Return what reads the binary form."""
        return lambda value: None if value is None else from_binary(value)


def from_binary(value: bytes) -> bytes:
    """Return the little-endian float16 bytes of what `halfvec_send` gives."""
    numbers = array("H", value[_HEADER:])
    numbers.byteswap()
    return numbers.tobytes()


def to_binary(vectors: np.ndarray[Any, np.dtype[np.float16]]) -> list[bytes]:
    """Return vectors in the binary form of a `halfvec`.

    Args:
        vectors: float16, shape `(n, dim)`.
    """
    header = vectors.shape[1].to_bytes(2, "big") + b"\0\0"
    return [header + vector.tobytes() for vector in vectors.astype(">f2")]


def text(length: int | None = None) -> String:
    """Return a text that is ordered and compared by code points, whatever the database's locale."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


# Numbers of rows and of writes.
NUMBER = BigInteger().with_variant(Integer(), "sqlite")
TEXT = text()
# A SHA-256 in hex.
HASH = text(64)
VECTOR = LargeBinary().with_variant(HalfVector(), "postgresql")
