"""Who is at work on which photo, and locks by name: both end with the session that took them.

A builder is alive as long as a session of its own holds an advisory lock on its number. One that is
killed, or whose machine is cut off, loses that lock, and its claims count no longer.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from db.sharing import Share

if TYPE_CHECKING:
    from db.postgres import PostgresBackend

# The first half of the locks on builders' numbers.
_BUILDERS = 0x6C6F6F6B
# The server, too, notices within half a minute that a machine is gone.
_KEEPALIVES = """
    SELECT set_config('tcp_keepalives_idle', '10', false),
        set_config('tcp_keepalives_interval', '5', false),
        set_config('tcp_keepalives_count', '3', false)
"""
# A shared lock on a number is granted where no living builder has it; one's own is no obstacle.
_IS_FREE = f"pg_try_advisory_xact_lock_shared({_BUILDERS}, claims.builder)"
# Rows are locked in one order everywhere, so that no two builders wait for each other.
_CLAIM = f"""
    INSERT INTO claims (path, builder) SELECT path, %s FROM unnest(%s::text[]) AS path
    ON CONFLICT (path) DO UPDATE SET builder = excluded.builder WHERE {_IS_FREE}
    RETURNING path
"""  # noqa: S608 - a constant
_RELEASE = """
    DELETE FROM claims WHERE path = ANY(ARRAY(
        SELECT path FROM claims WHERE builder = %s AND path = ANY(%s::text[])
        ORDER BY path FOR UPDATE
    ))
"""
_RELEASE_ALL = """
    DELETE FROM claims WHERE path = ANY(ARRAY(
        SELECT path FROM claims WHERE builder = %s ORDER BY path FOR UPDATE
    ))
"""
_FORGET_THE_DEAD = f"""
    DELETE FROM claims WHERE path = ANY(ARRAY(
        SELECT path FROM claims ORDER BY path FOR UPDATE SKIP LOCKED
    )) AND {_IS_FREE}
"""  # noqa: S608


class _Claims:
    """The claims of one builder; see `Share`."""

    def __init__(self, backend: PostgresBackend, connection: Any) -> None:
        self._backend = backend
        self._connection = connection
        self._builder = self._new_builder()
        # Of a builder that died and had the same number, too.
        self._ask(_FORGET_THE_DEAD)

    def claim(self, paths: Iterable[str]) -> set[str]:
        """Return those of some photos that no other living builder is at work on."""
        wanted = sorted(set(paths))
        if not wanted:
            return set()
        return {path for (path,) in self._ask(_CLAIM, self._builder, wanted).fetchall()}

    def release(self, paths: Iterable[str]) -> None:
        """Leave photos to others."""
        self._ask(_RELEASE, self._builder, list(paths))

    def release_all(self) -> None:
        """Leave everything to others."""
        self._ask(_RELEASE_ALL, self._builder)

    def _new_builder(self) -> int:
        while True:
            number = secrets.randbelow(2**31)
            lock = "SELECT pg_try_advisory_lock(%s, %s)"
            if self._ask(lock, _BUILDERS, number).fetchone()[0]:
                return number

    def _ask(self, query: str, *values: Any) -> Any:
        return _ask(self._backend, self._connection, query, *values)


@contextmanager
def sharing(backend: PostgresBackend) -> Iterator[Share]:
    """Be a builder among others for a while; see `Store.sharing`."""
    with backend.lent() as connection:
        _ask(backend, connection, _KEEPALIVES)
        claims = _Claims(backend, connection)
        yield claims
        # Not after an error: the claims of a session that has ended count no longer.
        claims.release_all()


@contextmanager
def exclusive(backend: PostgresBackend, name: str) -> Iterator[None]:
    """Hold the lock of a name; see `Store.exclusive`."""
    key = int.from_bytes(hashlib.sha256(f"lookalike {name}".encode()).digest()[:8], signed=True)
    with backend.lent() as connection:
        _ask(backend, connection, _KEEPALIVES)
        _ask(backend, connection, "SET lock_timeout = 0")
        _ask(backend, connection, "SELECT pg_advisory_lock(%s::int8)", key)
        yield


def _ask(backend: PostgresBackend, connection: Any, query: str, *values: Any) -> Any:
    with backend.told():
        return connection.execute(query, values or None)
