"""A store's schema: the migrations and the models say the same, and versions are kept apart."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from db import Store, StoreError, migrate
from db.backend import Backend, transaction
from db.schema import SCHEMA_VERSION, Base
from db.sqlite import SqliteBackend

LATER_REVISION = """
import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade():
    op.add_column("items", sa.Column("shelf", sa.Integer(), nullable=True))
    {extra}
"""


# Of PostgreSQL: columns, indexes and constraints, functions, storage parameters.
CATALOGUE = [
    """
    SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull,
        attcollation::regcollation::text, pg_get_expr(adbin, adrelid)
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0
        AND relname <> 'alembic_version'
    ORDER BY 1, 2
    """,
    """
    SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'
    ORDER BY 1
    """,
    "SELECT proname, prosrc FROM pg_proc WHERE proname LIKE 'lookalike%' ORDER BY 1",
    "SELECT reloptions FROM pg_class WHERE relname = 'vectors'",
]


def make_store(path: Path) -> None:
    Store.create(path, fingerprint="f", encoder_name="e", dim=2, settings={}).close()


def test_migrations_build_what_the_models_say(new_backend: Callable[[], Backend]) -> None:
    migrated, made = new_backend(), new_backend()
    with transaction(migrated, "write") as connection:
        migrated.prepare(connection)
    migrate.upgrade(migrated)
    with transaction(migrated, "read") as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Base.metadata) == []
        version = connection.scalar(text("SELECT version_num FROM alembic_version"))
    assert version == SCHEMA_VERSION == migrate.REVISIONS[-1]
    assert migrate.state(migrated) == "current"
    with transaction(made, "write") as connection:
        migrate.create_schema(made, connection)
    assert described(migrated) == described(made)
    migrated.close()
    made.close()


def described(backend: Backend) -> list[str]:
    """Say of all columns, indexes and functions what the database says of them."""
    with transaction(backend, "read") as connection:
        if not backend.is_shared:
            found = inspect(connection)
            return [
                f"{name} {column['name']} {column['type']} {column['nullable']}"
                for name in sorted(found.get_table_names())
                for column in sorted(found.get_columns(name), key=lambda one: one["name"])
            ]
        return [str(row) for query in CATALOGUE for row in connection.execute(text(query))]


@pytest.fixture
def later_scripts(tmp_path: Path) -> Path:
    scripts = tmp_path / "100% migrations"
    shutil.copytree(Path(migrate.__file__).parent / "migrations", scripts)
    return scripts


def test_an_older_store_is_migrated(tmp_path: Path, later_scripts: Path) -> None:
    (later_scripts / "versions" / "0006_shelf.py").write_text(LATER_REVISION.format(extra=""))
    make_store(tmp_path / "gallery.db")
    backend = SqliteBackend.open(tmp_path / "gallery.db")
    migrate.upgrade(backend, later_scripts)
    assert "shelf" in {column["name"] for column in inspect(backend.engine).get_columns("items")}
    # To this code, which ends at 0005, that store is now a newer one.
    assert migrate.state(backend) == "newer"
    backend.close()


def test_a_threshold_of_before_keeps_its_rule(tmp_path: Path) -> None:
    backend = SqliteBackend.create(tmp_path / "gallery.db")
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    with transaction(backend, "write") as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for statement in (
            "INSERT INTO encoders VALUES (1, 'f', 'e', 2, '2026-01-01')",
            "INSERT INTO gallery VALUES (1, 1, 1, '{}', '2026-01-01')",
            "INSERT INTO thresholds VALUES (1, 1, 0.25, 'fpir=0.05', 'gallery', '{}', "
            "'2026-01-01 00:00:00')",
        ):
            connection.execute(text(statement))
    assert migrate.state(backend) == "older"
    backend.close()
    store = Store.open(tmp_path / "gallery.db")
    with store.read() as tx:
        threshold = tx.threshold()
        # What it lacked: a name of its own.
        assert len(tx.uid) == 32
    store.close()
    assert threshold is not None
    assert (threshold.value, threshold.rule, threshold.calibration) == (0.25, "nearest", {})


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, later_scripts: Path) -> None:
    broken = LATER_REVISION.format(extra="raise RuntimeError('halfway')")
    (later_scripts / "versions" / "0006_shelf.py").write_text(broken)
    make_store(tmp_path / "gallery.db")
    backend = SqliteBackend.open(tmp_path / "gallery.db")
    with pytest.raises(RuntimeError, match="halfway"):
        migrate.upgrade(backend, later_scripts)
    assert "shelf" not in {
        column["name"] for column in inspect(backend.engine).get_columns("items")
    }
    assert migrate.state(backend) == "current"
    backend.close()


def test_a_newer_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "gallery.db"
    make_store(path)
    backend = SqliteBackend.open(path)
    with transaction(backend, "write") as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    backend.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="newer lookalike"):
        Store.open(path)
    assert path.read_bytes() == before


def test_opening_a_current_store_does_not_load_alembic(tmp_path: Path) -> None:
    make_store(tmp_path / "gallery.db")
    code = (
        "import sys, pathlib; from db import Store; "
        f"Store.open(pathlib.Path({str(tmp_path / 'gallery.db')!r})).close(); "
        "sys.exit('alembic' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
