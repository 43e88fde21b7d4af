"""What tests of the store share: a place for one in each kind of database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from postgres_server import PostgresServer

from db.backend import Backend
from db.postgres import PostgresBackend
from db.sqlite import SqliteBackend


@pytest.fixture(params=["sqlite", "postgres"])
def store_place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where a store can be made: a path, then an empty database."""
    if request.param == "sqlite":
        return tmp_path / "gallery.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def module_place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path | str:
    """The same, for a store that a module's tests empty by turns."""
    if request.param == "sqlite":
        return tmp_path_factory.mktemp("store") / "gallery.db"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.new_database()


@pytest.fixture(params=["sqlite", "postgres"])
def new_backend(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Backend]:
    """What makes an empty database each time it is called."""
    if request.param == "sqlite":
        numbers = iter(range(9))
        return lambda: SqliteBackend.create(tmp_path / f"{next(numbers)}.db")
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return lambda: PostgresBackend(server.new_database())
