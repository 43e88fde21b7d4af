"""What the store asks of a database, and the one way to run a transaction in one.

A read transaction is a snapshot: it sees the store as it was at its first statement. A write
transaction waits for its turn when it begins, not at its first write, so that what it reads can't
change under it and two writers wait in turn instead of failing halfway.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, StatementError

from db.errors import StoreError
from db.glance import Glance
from db.sharing import Share

Mode = Literal["read", "write"]
BINARY = "lookalike_binary"
"""The execution option of a statement whose results are large: they come in binary form."""
# How long a writer waits for its turn.
BUSY_SECONDS = 60


class Backend(Protocol):
    """A database that holds a store.

    Attributes:
        engine: What connects to it.
        place: What to call it in sentences: a path, or a URL without its password.
        is_shared: Whether other machines may write to it.
    """

    engine: Engine
    place: str
    is_shared: bool

    def options(self, mode: Mode) -> dict[str, Any]:
        """Return the execution options of a connection that is to run one transaction."""

    def unchanged(self, connection: Connection, /) -> AbstractContextManager[None]:
        """Make sure that what the body reads is all of one moment."""

    def prepare(self, connection: Connection) -> None:
        """Make an empty database ready for the tables, in the transaction that makes them.

        Raises:
            StoreError: It is not empty, or lacks what they need.
        """

    def finish(self, connection: Connection) -> None:
        """Complete the tables just made by what the models don't say."""

    def await_turn(self, connection: Connection) -> None:
        """Let only one at a time change the schema, until the transaction ends."""

    def require_changeable(self) -> None:
        """Make sure that the schema can be changed.

        Raises:
            StoreError: It can't from here.
        """

    def sentence(self, error: Exception, *, committing: bool = False) -> str:
        """Put a refusal of the database in words a user can act on.

        Args:
            error: What SQLAlchemy or the driver raised.
            committing: Whether it came when a write was to be made durable.
        """

    def glance(self) -> AbstractContextManager[Glance]:
        """Open a snapshot for the questions of a query, as quickly as can be."""

    def glance_of(self, connection: Connection) -> Glance:
        """Return the snapshot of a read transaction, for the questions of a query."""

    def upsert(self, table: Any) -> Any:
        """Begin an `INSERT` that takes `on_conflict_do_update`."""

    def insert_items(self, connection: Connection, rows: Sequence[dict[str, Any]]) -> list[int]:
        """Insert rows into `items`; return their ids, in the same order."""

    def insert_vectors(
        self,
        connection: Connection,
        item_ids: Sequence[int],
        vectors: NDArray[np.float16],
        *,
        encoder_id: int,
        seq: int,
    ) -> None:
        """Insert vectors that come at a sequence number.

        Args:
            connection: That of the transaction.
            item_ids: The items' numbers.
            vectors: float16, shape `(len(item_ids), dim)`.
            encoder_id: The number of the encoder that made them.
            seq: The sequence number.
        """

    def load_rows(self, connection: Connection, table: Any, rows: Sequence[Any], /) -> None:
        """Insert whole rows, ids and all, with the columns in the table's order."""

    def highest_ids(self, connection: Connection, /) -> dict[str, int]:
        """Return the highest id that each table has ever given out, by the table's name."""

    def set_highest_ids(self, connection: Connection, ids: dict[str, int], /) -> None:
        """Let tables give out higher ids only."""

    def lent(self) -> AbstractContextManager[Any]:
        """Lend a driver's connection where each statement is a transaction of its own."""

    def size(self, connection: Connection, /) -> int:
        """Return how many bytes the tables and their indexes take."""

    def damage(self) -> list[str]:
        """Let the database prove what it holds; return what it finds."""

    def shrink(self, free_share: float, /) -> int:
        """Give back space that nothing uses; return how many bytes."""

    def sharing(self) -> AbstractContextManager[Share]:
        """Share the work of building with others for a while."""

    def exclusive(self, name: str) -> AbstractContextManager[None]:
        """Do something that one at a time may do; others wait in turn."""

    def close(self) -> None:
        """Close all connections."""


@contextmanager
def transaction(backend: Backend, mode: Mode) -> Iterator[Connection]:
    """Run the body in one transaction: committed at its end, rolled back by an exception.

    Raises:
        StoreError: The database refused; its reasons are put in words a user can act on.
    """
    committing = False
    try:
        with (
            backend.engine.connect().execution_options(**backend.options(mode)) as connection,
            connection.begin(),
        ):
            with backend.unchanged(connection):
                yield connection
            committing = mode == "write"
    except DBAPIError as error:
        raise StoreError(backend.sentence(error, committing=committing)) from error
    except StatementError as error:
        # What a value's type refused, SQLAlchemy wraps in the statement.
        if isinstance(error.orig, StoreError):
            raise error.orig from error
        raise
