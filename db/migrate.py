"""Schema versions: which ones this code reads, and how an older store gets there.

Alembic is imported only when a migration is due, so that opening a store stays quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from sqlalchemy import Engine, inspect, text

from db.engine import transaction
from db.errors import StoreError
from db.schema import SCHEMA_VERSION, Base

# Oldest first; the last one is what the models describe.
REVISIONS = ("0001", "0002", "0003", "0004")
_SCRIPTS = Path(__file__).parent / "migrations"


def create_schema(engine: Engine) -> None:
    """Create all tables in an empty database and stamp it with the current version."""
    with transaction(engine, "write") as connection:
        Base.metadata.create_all(connection)
        connection.execute(
            text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
        )
        connection.execute(
            text("INSERT INTO alembic_version VALUES (:version)"), {"version": SCHEMA_VERSION}
        )


def state(engine: Engine) -> Literal["current", "older", "newer"]:
    """Say how the database's schema stands to this code.

    Raises:
        StoreError: It is no store of ours.
    """
    with transaction(engine, "read") as connection:
        version = None
        if inspect(connection).has_table("alembic_version"):
            version = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if version is None:
        raise StoreError(
            f"{engine.url.database} is no lookalike store: name a gallery folder made by "
            "`lookalike build-index`."
        )
    if version == REVISIONS[-1]:
        return "current"
    return "older" if version in REVISIONS else "newer"


def upgrade(engine: Engine, scripts: Path = _SCRIPTS) -> None:
    """Bring an older database to the newest revision found in `scripts`, in one transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    with transaction(engine, "write") as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
