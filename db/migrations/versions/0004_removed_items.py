"""What an item was stays when it is removed, so that it can be restored."""

import sqlalchemy as sa
from alembic import op

from db.column_types import HASH, NUMBER, TEXT

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "removed_items",
        sa.Column("id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("label", TEXT, nullable=True),
        sa.Column("source_label", TEXT, nullable=True),
        sa.Column("path", TEXT, nullable=False),
        sa.Column("content_hash", HASH, nullable=False),
        sa.Column("width", NUMBER, nullable=False),
        sa.Column("height", NUMBER, nullable=False),
        sa.Column("file_size", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("meta", sa.JSON(), nullable=False),
        sa.Column("added_at", sa.DateTime(), nullable=False),
        sa.Column("removed_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_removed_items"),
    )
