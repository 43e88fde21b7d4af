"""A threshold names the rule whose scores it cuts, and keeps what it was tuned on in brief."""

import sqlalchemy as sa
from alembic import op

from db.column_types import TEXT

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    # Thresholds of before were all compared with the nearest item's distance.
    op.add_column("thresholds", sa.Column("rule", TEXT, nullable=False, server_default="nearest"))
    op.add_column(
        "thresholds", sa.Column("calibration", sa.JSON(), nullable=False, server_default="{}")
    )
