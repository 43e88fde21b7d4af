"""Results as JSON: the same text on the command line and over HTTP."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import Any

_PLAIN = frozenset({str, int, float, bool, type(None)})


def to_json(result: Any) -> str:
    """Return a result as one line of JSON: the fields of its dataclass, by name."""
    text = json.dumps(to_plain(result), ensure_ascii=False, allow_nan=False)
    # A file's name need not be text; JSON must be.
    return text.encode("utf-8", "backslashreplace").decode()


def to_plain(value: Any) -> Any:
    """Return what JSON knows of a result: dicts, lists, text, numbers."""
    kind: Any = type(value)
    if kind in _PLAIN:  # most values are, and the service asks for many
        return value
    names = _names(kind)
    if names is not None:
        return {name: to_plain(getattr(value, name)) for name in names}
    if isinstance(value, dict):
        return {str(key): to_plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(one) for one in value]
    if isinstance(value, datetime):
        return f"{value.isoformat(timespec='seconds')}Z"
    return value


@cache
def _names(kind: type) -> tuple[str, ...] | None:
    """Return the fields of a dataclass, `None` of anything else."""
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) else None
