"""What a store keeps beside its items: its own name, files, and how far others have followed."""

from __future__ import annotations

import hashlib

from sqlalchemy import Connection, func, select

from db.backend import BINARY, Backend
from db.errors import StoreError
from db.records import Watermark
from db.schema import FileRow, GalleryRow, WatermarkRow


class Kept:
    """Questions to one snapshot about what is no item."""

    def __init__(self, connection: Connection, backend: Backend) -> None:
        self._connection = connection
        self._backend = backend

    @property
    def uid(self) -> str:
        """What tells this gallery from every other one, for what is kept of it elsewhere."""
        return str(self._connection.scalar(select(GalleryRow.uid)))

    def files(self, prefix: str = "") -> dict[str, str]:
        """Return the names of the files kept here that begin with a text, and their SHA-256."""
        query = (
            select(FileRow.name, FileRow.sha256)
            .where(FileRow.part == 0, func.substr(FileRow.name, 1, len(prefix)) == prefix)
            .order_by(FileRow.name)
        )
        return {row.name: row.sha256 for row in self._connection.execute(query)}

    def file(self, name: str) -> bytes:
        """Return a file that is kept here.

        Raises:
            StoreError: There is none of this name, or it is damaged.
        """
        query = select(FileRow.data, FileRow.sha256).where(FileRow.name == name)
        rows = self._connection.execute(
            query.order_by(FileRow.part), execution_options={BINARY: True}
        ).all()
        if not rows:
            raise StoreError(f"{self._backend.place} keeps no file {name}.")
        data = b"".join(row.data for row in rows)
        if hashlib.sha256(data).hexdigest() != rows[0].sha256:
            raise StoreError(
                f"The file {name} that {self._backend.place} keeps is damaged: restore the "
                "database from a backup."
            )
        return data

    def watermark(self, name: str) -> Watermark | None:
        """Return how far something outside has followed the change log, if it was noted."""
        query = select(WatermarkRow.seq, WatermarkRow.details).where(WatermarkRow.name == name)
        row = self._connection.execute(query).one_or_none()
        return None if row is None else Watermark(name, row.seq, row.details)
