"""Where a store is: a path, or the URL of a database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from db.errors import StoreError

if TYPE_CHECKING:
    from sqlalchemy import URL

_SCHEMES = ("postgresql://", "postgres://")


def is_url(place: Path | str) -> TypeGuard[str]:
    """Whether a place is a database of a server.

    >>> is_url("postgresql://shop@db/shoes"), is_url("shoes"), is_url(Path("shoes"))
    (True, False, False)
    """
    return isinstance(place, str) and place.startswith(_SCHEMES)


def parsed(place: str) -> URL:
    """Read the URL of a database.

    Raises:
        StoreError: It is none; the text does not show it, as a password may be in it.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    _, _, rest = place.partition("://")
    try:
        url = make_url(f"postgresql+psycopg://{rest}")
    except (ArgumentError, ValueError):
        raise StoreError(
            "The database's URL can't be read: write postgresql://USER@HOST:PORT/DATABASE, with "
            "%XX for what is no letter or digit in a password."
        ) from None
    return url


def without_password(url: URL) -> str:
    """Return a database's URL as it may be shown."""
    # All of it is named, as `URL.set` takes nothing away.
    return url.create(
        "postgresql",
        username=url.username,
        host=url.host,
        port=url.port,
        database=url.database,
        query={name: value for name, value in url.query.items() if "password" not in name.lower()},
    ).render_as_string()
