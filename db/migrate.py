"""Schema versions: which ones this code reads, and how an older store gets there.

Alembic is imported only when a migration is due, so that opening a store stays quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from sqlalchemy import Connection, inspect, text

from db.backend import Backend, transaction
from db.errors import StoreError
from db.schema import SCHEMA_VERSION, Base, GalleryRow

# Oldest first; the last one is what the models describe.
REVISIONS = ("0001", "0002", "0003", "0004", "0005")
_SCRIPTS = Path(__file__).parent / "migrations"


def create_schema(backend: Backend, connection: Connection) -> None:
    """Create all tables in an empty database and stamp it with the current version.

    Raises:
        StoreError: It is not empty, or lacks what the tables need.
    """
    backend.prepare(connection)
    Base.metadata.create_all(connection)
    backend.finish(connection)
    connection.execute(
        text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    )
    connection.execute(
        text("INSERT INTO alembic_version VALUES (:version)"), {"version": SCHEMA_VERSION}
    )


def state(backend: Backend) -> Literal["current", "older", "newer"]:
    """Say how the database's schema stands to this code.

    Raises:
        StoreError: It is no store of ours.
    """
    with transaction(backend, "read") as connection:
        version, found = None, inspect(connection)
        if found.has_table("alembic_version") and found.has_table(GalleryRow.__tablename__):
            version = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if version is None:
        raise StoreError(
            f"{backend.place} is no lookalike store: name a gallery made by "
            "`lookalike build-index`."
        )
    if version == REVISIONS[-1]:
        return "current"
    return "older" if version in REVISIONS else "newer"


def upgrade(backend: Backend, scripts: Path = _SCRIPTS) -> None:
    """Bring an older database to the newest revision found in `scripts`, in one transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    with transaction(backend, "write") as connection:
        backend.await_turn(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
