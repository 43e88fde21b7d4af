"""Where a gallery is: a folder of one machine, or a database that many machines share."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from retrieval.errors import GalleryError

HOME = "LOOKALIKE_HOME"
"""The environment variable for the folder that holds what this machine keeps of shared galleries;
without it, `.lookalike` in the user's home."""

_SCHEMES = ("postgresql", "postgres")
_NAMES_A_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


@dataclass(frozen=True)
class Place:
    """Where a gallery is; as text, what to call it, without a password.

    Attributes:
        folder: Its folder; `None` for one in a database.
        url: The database's URL; `None` for one in a folder.
    """

    folder: Path | None
    url: str | None = None

    @classmethod
    def of(cls, name: str | os.PathLike[str] | Self) -> Self:
        """Read what a user calls a gallery: a folder's path, or `postgresql://…/NAME`.

        Raises:
            GalleryError: It is a URL that no gallery has.
        """
        if isinstance(name, cls):
            return name
        text = os.fspath(name)  # type: ignore[arg-type] # a Place of another class is none
        scheme = _NAMES_A_SCHEME.match(text)
        if scheme is None:
            return cls(Path(text))
        if scheme[1].lower() not in _SCHEMES:
            raise GalleryError(
                f"A gallery can't be in {scheme[1]}://: name a folder, or a PostgreSQL database as "
                "postgresql://USER@HOST/NAME."
            )
        url = f"postgresql{text[len(scheme[1]) :]}"
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise GalleryError(
                f"The database's URL can't be read ({error}): say postgresql://USER@HOST/NAME."
            ) from None  # its text may hold a password
        if parts.netloc.count("@") > 1:
            raise GalleryError("The database's URL can't be read: an @ in a password is %40 there.")
        if not parts.path.strip("/"):
            raise GalleryError("The URL names no database: say postgresql://USER@HOST/NAME.")
        return cls(None, url)

    @property
    def is_shared(self) -> bool:
        """Whether other machines may write there."""
        return self.url is not None

    @property
    def title(self) -> str:
        """What a page about the gallery is called: the last part of its name."""
        if self.folder is not None:
            return self.folder.resolve().name
        return str(self).partition("?")[0].rpartition("/")[2]

    def __str__(self) -> str:
        if self.url is None:
            return str(self.folder)
        from db.place import parsed, without_password

        return without_password(parsed(self.url))


def home_of_shared(uid: str) -> Path:
    """Return the folder in which this machine keeps files of the shared gallery with this uid."""
    return homes() / uid


def homes() -> Path:
    """Return the folder of all these folders, made if need be.

    Raises:
        GalleryError: It can't be made.
    """
    root = Path(os.environ.get(HOME) or Path.home() / ".lookalike") / "galleries"
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GalleryError(
            f"{root} can't be made ({error.strerror}), where files of galleries in databases are "
            f"kept: name another folder in the environment variable {HOME}."
        ) from error
    return root
