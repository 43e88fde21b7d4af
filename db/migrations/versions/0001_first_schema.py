"""The first schema."""

import sqlalchemy as sa
from alembic import op

from db.column_types import HASH, NUMBER, TEXT, VECTOR

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "encoders",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("fingerprint", HASH, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("dim", NUMBER, nullable=False),
        sa.Column("added_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_encoders"),
        sa.UniqueConstraint("fingerprint", name="uq_encoders_fingerprint"),
    )
    op.create_table(
        "gallery",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("seq", NUMBER, nullable=False),
        sa.Column("encoder_id", NUMBER, nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_gallery"),
        sa.ForeignKeyConstraint(["encoder_id"], ["encoders.id"], name="fk_gallery_encoder_id"),
    )
    op.create_table(
        "items",
        sa.Column("id", NUMBER, nullable=False),
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
        sa.PrimaryKeyConstraint("id", name="pk_items"),
        sa.UniqueConstraint("path", name="uq_items_path"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_items_label", "items", ["label"])
    op.create_index("ix_items_content_hash", "items", ["content_hash"])
    op.create_table(
        "vectors",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("item_id", NUMBER, nullable=False),
        sa.Column("encoder_id", NUMBER, nullable=False),
        sa.Column("added_seq", NUMBER, nullable=False),
        sa.Column("removed_seq", NUMBER, nullable=True),
        sa.Column("data", VECTOR, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_vectors"),
        sa.ForeignKeyConstraint(["encoder_id"], ["encoders.id"], name="fk_vectors_encoder_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_vectors_item_id", "vectors", ["item_id"])
    op.create_index("ix_vectors_added_seq", "vectors", ["added_seq"])
    op.create_index("ix_vectors_removed_seq", "vectors", ["removed_seq"])
    op.create_table(
        "thresholds",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("encoder_id", NUMBER, nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("objective", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_thresholds"),
        sa.ForeignKeyConstraint(["encoder_id"], ["encoders.id"], name="fk_thresholds_encoder_id"),
    )
    op.create_index("ix_thresholds_encoder_id", "thresholds", ["encoder_id"])
    op.create_table(
        "failures",
        sa.Column("path", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("failed_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("path", name="pk_failures"),
    )
    op.create_table(
        "generations",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("encoder_id", NUMBER, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("file_name", TEXT, nullable=False),
        sa.Column("sha256", HASH, nullable=False),
        sa.Column("seq", NUMBER, nullable=False),
        sa.Column("vector_count", NUMBER, nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_generations"),
        sa.ForeignKeyConstraint(["encoder_id"], ["encoders.id"], name="fk_generations_encoder_id"),
        sa.UniqueConstraint("file_name", name="uq_generations_file_name"),
        sqlite_autoincrement=True,
    )
