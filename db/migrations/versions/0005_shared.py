"""What a gallery that machines share keeps besides: files, watermarks, claims, a name."""

import uuid

import sqlalchemy as sa
from alembic import op

from db.column_types import HASH, NUMBER, TEXT
from db.postgres_schema import finishing_statements

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("gallery", sa.Column("uid", TEXT, nullable=False, server_default=""))
    op.execute(sa.text("UPDATE gallery SET uid = :uid").bindparams(uid=uuid.uuid4().hex))
    op.create_table(
        "files",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("part", NUMBER, autoincrement=False, nullable=False),
        sa.Column("sha256", HASH, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", "part", name="pk_files"),
    )
    op.create_table(
        "watermarks",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("seq", NUMBER, nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_watermarks"),
    )
    op.create_table(
        "claims",
        sa.Column("path", TEXT, nullable=False),
        sa.Column("builder", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("path", name="pk_claims"),
    )
    if op.get_bind().dialect.name == "postgresql":
        for statement in finishing_statements():
            op.execute(sa.text(statement))
