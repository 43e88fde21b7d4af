"""The mark of a store that a copy fills: until all of it is there and compared, it is of no use."""

from __future__ import annotations

from sqlalchemy import Connection, select

from db.backend import Backend, transaction
from db.errors import StoreError
from db.schema import WatermarkRow

COPY = "copy"
"""What the store calls the mark, a watermark; its details name the gallery copied.

    from       its uid
    name       where it is, without a password
    verified   whether both were found equal: from then on the store may be used
    digest     the SHA-256 over both, then
"""


def require_finished(backend: Backend) -> None:
    """Make sure that a store is not one that a copy still fills.

    Raises:
        StoreError: It is.
    """
    with transaction(backend, "read") as connection:
        details = mark_details(connection)
    if details is not None and not details["verified"]:
        raise StoreError(
            f"{backend.place} holds part of a gallery, as a copy was broken off: finish it with "
            f"the same command, which began `lookalike copy -g {details['name']}`."
        )


def mark_details(connection: Connection) -> dict[str, object] | None:
    """Return what the mark says; `None` where there is none."""
    return connection.scalar(select(WatermarkRow.details).where(WatermarkRow.name == COPY))
