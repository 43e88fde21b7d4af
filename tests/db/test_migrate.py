"""A store's schema: the migrations and the models say the same, and versions are kept apart."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from db import Store, StoreError, migrate
from db.engine import connect, transaction
from db.schema import SCHEMA_VERSION, Base

LATER_REVISION = """
import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade():
    op.add_column("items", sa.Column("shelf", sa.Integer(), nullable=True))
    {extra}
"""


def make_store(path: Path) -> None:
    Store.create(path, fingerprint="f", encoder_name="e", dim=2, settings={}).close()


def test_migrations_build_what_the_models_say(tmp_path: Path) -> None:
    engine = connect(tmp_path / "migrated.db", create=True)
    migrate.upgrade(engine)
    with transaction(engine, "read") as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        version = connection.scalar(text("SELECT version_num FROM alembic_version"))
    assert version == SCHEMA_VERSION == migrate.REVISIONS[-1]
    assert migrate.state(engine) == "current"
    made = connect(tmp_path / "created.db", create=True)
    migrate.create_schema(made)
    tables = [sorted(inspect(e).get_table_names()) for e in (engine, made)]
    assert tables[0] == tables[1]
    engine.dispose()
    made.dispose()


@pytest.fixture
def later_scripts(tmp_path: Path) -> Path:
    scripts = tmp_path / "100% migrations"
    shutil.copytree(Path(migrate.__file__).parent / "migrations", scripts)
    return scripts


def test_an_older_store_is_migrated(tmp_path: Path, later_scripts: Path) -> None:
    (later_scripts / "versions" / "0005_shelf.py").write_text(LATER_REVISION.format(extra=""))
    make_store(tmp_path / "gallery.db")
    engine = connect(tmp_path / "gallery.db")
    migrate.upgrade(engine, later_scripts)
    assert "shelf" in {column["name"] for column in inspect(engine).get_columns("items")}
    # To this code, which ends at 0004, that store is now a newer one.
    assert migrate.state(engine) == "newer"
    engine.dispose()


def test_a_threshold_of_before_keeps_its_rule(tmp_path: Path) -> None:
    engine = connect(tmp_path / "gallery.db", create=True)
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    with transaction(engine, "write") as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for statement in (
            "INSERT INTO encoders VALUES (1, 'f', 'e', 2, '2026-01-01')",
            "INSERT INTO gallery VALUES (1, 1, 1, '{}', '2026-01-01')",
            "INSERT INTO thresholds VALUES (1, 1, 0.25, 'fpir=0.05', 'gallery', '{}', "
            "'2026-01-01 00:00:00')",
        ):
            connection.execute(text(statement))
    assert migrate.state(engine) == "older"
    engine.dispose()
    store = Store.open(tmp_path / "gallery.db")
    with store.read() as tx:
        threshold = tx.threshold()
    store.close()
    assert threshold is not None
    assert (threshold.value, threshold.rule, threshold.calibration) == (0.25, "nearest", {})


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, later_scripts: Path) -> None:
    broken = LATER_REVISION.format(extra="raise RuntimeError('halfway')")
    (later_scripts / "versions" / "0005_shelf.py").write_text(broken)
    make_store(tmp_path / "gallery.db")
    engine = connect(tmp_path / "gallery.db")
    with pytest.raises(RuntimeError, match="halfway"):
        migrate.upgrade(engine, later_scripts)
    assert "shelf" not in {column["name"] for column in inspect(engine).get_columns("items")}
    assert migrate.state(engine) == "current"
    engine.dispose()


def test_a_newer_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "gallery.db"
    make_store(path)
    engine = connect(path)
    with transaction(engine, "write") as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
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
