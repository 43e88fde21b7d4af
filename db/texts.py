"""Which texts a store keeps: the same ones wherever it is, so that a gallery can move."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from db.errors import StoreError
from db.records import NewItem

LONGEST = 2600
"""Bytes, in UTF-8, of a label or a path: PostgreSQL can look up hardly more."""

_SHOWN = 60
# The escape of the character NUL, not a backslash that is followed by "u0000".
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def require_text(what: str, text: str | None) -> None:
    """Make sure that a text can be kept, and looked for.

    Args:
        what: What it is, as a sentence begins.
        text: The text; `None` is none.

    Raises:
        StoreError: It holds the character NUL, or halves of letters.
    """
    if text is None or (text.isascii() and "\0" not in text):
        return
    if "\0" in text:
        raise StoreError(f"{what} {_shown(text)} holds the character NUL: take it out.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise StoreError(f"{what} {_shown(text)} holds halves of letters: write UTF-8.") from None


def require_key(what: str, text: str | None) -> None:
    """Make sure that a text can be kept where it is to be looked up by.

    Raises:
        StoreError: It can't be kept, or is too long.
    """
    require_text(what, text)
    if text is not None and is_too_long(text):
        raise StoreError(
            f"{what} {_shown(text)} is longer than {LONGEST:,} bytes: choose a shorter one."
        )


def is_too_long(text: str) -> bool:
    """Whether a text that can be kept is too long for a label or a path."""
    return len(text) > LONGEST or (4 * len(text) > LONGEST and len(text.encode()) > LONGEST)


def require_items(items: Iterable[NewItem]) -> None:
    """Make sure that items can be kept; metadata are looked at as they are written.

    Raises:
        StoreError: One of them can't.
    """
    for item in items:
        require_key("The path", item.path)
        require_key("The label", item.label)
        require_key("The label", item.source_label)


def dumped(value: Any) -> str:
    """Return a value as JSON that every database can look into.

    Raises:
        StoreError: It holds what no database can keep as JSON.
    """
    try:
        said = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        said.encode()
    except ValueError as error:
        raise StoreError(
            f"Metadata hold no infinite numbers and no halves of letters ({error}): take them out."
        ) from error
    if _NUL.search(said):
        raise StoreError("The metadata hold the character NUL: take it out.")
    return said


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
