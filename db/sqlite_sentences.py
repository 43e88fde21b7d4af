"""What SQLite refuses, in words a user can act on."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.exc import DBAPIError

from db.backend import BUSY_SECONDS
from db.sqlite_connection import log_of


def sentence(error: Exception, place: str) -> str:
    """Put a refusal in words.

    Args:
        error: What SQLAlchemy or the driver raised.
        place: The path of the file.
    """
    reason = str(error.orig if isinstance(error, DBAPIError) else error)
    if "locked" in reason:
        return (
            f"{place} was busy for {BUSY_SECONDS} s: another process holds its write lock; "
            "wait for it to end and try again."
        )
    if "full" in reason:
        return f"No space is left on the disk of {place}: free some and try again; nothing is lost."
    if "disk I/O" in reason:
        return (
            f"The disk of {place} refused to be read or written: see whether it is full, over its "
            "quota or failing, and try again; nothing is lost."
        )
    if "readonly" in reason:
        return f"{place} can't be written to: check the permissions of it and its folder."
    if "unable to open" in reason:
        if log_of(Path(place)).exists():
            return (
                f"{place} was left by a process that was killed, and must be opened once by "
                "one that may write to its folder."
            )
        return f"{place} can't be opened: check the permissions of it and its folder."
    if "not a database" in reason or "malformed" in reason:
        return f"{place} is damaged or no SQLite database ({reason}): restore it from a backup."
    return f"{place}: the database refused ({reason})."
