"""Counts are kept instead of counted, and a purge of tombstones is remembered."""

import sqlalchemy as sa
from alembic import op

from db.column_types import NUMBER

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for name in ("item_count", "change_count", "purged_seq"):
        op.add_column("gallery", sa.Column(name, NUMBER, nullable=False, server_default="0"))
    op.add_column(
        "generations", sa.Column("change_count", NUMBER, nullable=False, server_default="0")
    )
    op.execute("UPDATE gallery SET item_count = (SELECT count(*) FROM items)")
    op.execute(
        "UPDATE gallery SET change_count = "
        "(SELECT count(*) FROM vectors) + (SELECT count(removed_seq) FROM vectors)"
    )
    # What a generation knew then: vectors that had come by its moment, and those that had gone.
    op.execute(
        "UPDATE generations SET change_count = "
        "(SELECT count(*) FROM vectors AS v WHERE v.added_seq <= generations.seq) + "
        "(SELECT count(*) FROM vectors AS v WHERE v.removed_seq <= generations.seq)"
    )
    op.drop_index("ix_vectors_removed_seq", "vectors")
    op.create_index(
        "ix_vectors_removed_seq",
        "vectors",
        ["removed_seq"],
        sqlite_where=sa.text("removed_seq IS NOT NULL"),
        postgresql_where=sa.text("removed_seq IS NOT NULL"),
    )
