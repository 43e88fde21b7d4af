"""The language of conditions: `label=Apple|Pear`, `brand!=Acme`, `price<3`, `path~=*/2024/*`.

A condition is a field, an operator and a value, or several values parted by `|`. Spaces around them
are dropped. What holds such characters itself is written in double quotes, a double quote in there
twice: `"price<"="a|b"`; so is a value that begins like an operator. docs/filters.md explains it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeGuard

from db import Condition, Reader
from db.conditions import LABEL, OPERATORS, ORDERINGS, PATH, number
from retrieval.errors import GalleryError

# One condition, several that must all be met, or none.
Where = str | Condition | Iterable[str | Condition] | None
Conditions = tuple[Condition, ...]

_OPERATORS = "|".join(sorted(OPERATORS, key=len, reverse=True))
_QUOTED = r'"(?P<quoted>(?:[^"]|"")*)"'
# Spaces after what is bare are stripped later: matched here, long runs of them would take for ever.
_CONDITION = re.compile(
    rf'\s*+(?:{_QUOTED}\s*|(?!{_OPERATORS})(?P<bare>[^"\s].*?))(?P<operator>{_OPERATORS})',
    re.DOTALL,
)
_VALUE = re.compile(rf'\s*+(?:{_QUOTED}\s*|(?P<bare>(?!["=<>~])[^|]*))(?P<end>\||\Z)')
# SQLite takes an expression no deeper than this.
_MOST_VALUES = 900


def conditions(where: Where) -> Conditions:
    """Return what a user asks of items as conditions.

    Raises:
        GalleryError: It is written wrongly, or asks for more than can be asked at once.

    Example:
        >>> conditions(["label=Apple|Pear", "price < 3"])[1]
        Condition(field='price', operator='<', values=('3',))
    """
    some = [where] if isinstance(where, (str, Condition)) else where or ()
    read = tuple(parse(one) if isinstance(one, str) else _sound(one) for one in some)
    if sum(len(one.values) for one in read) > _MOST_VALUES:
        raise GalleryError(f"No more than {_MOST_VALUES} values can be asked for at once.")
    return read


def parse(text: str) -> Condition:
    """Read one condition.

    Raises:
        GalleryError: It is written wrongly; the text says how to write it.
    """
    read = _CONDITION.match(text)
    if read is None:
        raise GalleryError(
            f"{text!r} is no condition: write a field, one of {' '.join(OPERATORS)} and a value, "
            "as in label=Apple."
        )
    values = []
    place = read.end()
    while True:
        value = _VALUE.match(text, place)
        if value is None:
            raise GalleryError(
                f"The condition {text!r} has a value that begins with a quote or like an operator: "
                'write all of it in double quotes, and a quote in there twice, "like ""this""".'
            )
        values.append(_unquoted(value))
        place = value.end()
        if not value["end"]:
            break
    return _sound(Condition(_unquoted(read), read["operator"], tuple(values)))  # type: ignore[arg-type]


def written(condition: Condition) -> str:
    """Return a condition as `parse` reads it.

    >>> written(Condition("label", "!=", ("Apple", "a|b")))
    'label!=Apple|"a|b"'
    """
    field, operator = condition.field, condition.operator
    read = _CONDITION.match(f"{field}{operator}")
    if not _is_bare(read, field) or read["operator"] != operator:
        field = _quoted(field)
    values = [
        value if _is_bare(_VALUE.fullmatch(value), value) else _quoted(value)
        for value in condition.values
    ]
    return f"{field}{operator}{'|'.join(values)}"


def require_fields(tx: Reader, where: Conditions) -> None:
    """Make sure that of every field asked for there is an item that has it, if there are items.

    Raises:
        GalleryError: No item has it; the text names the fields there are.
    """
    asked = {one.field for one in where} - {LABEL, PATH}
    if not asked or not tx.count_items():
        return
    known = tx.metadata_fields()
    for field in sorted(asked.difference(known)):
        raise GalleryError(
            f"No item has a field {field!r}: there are {', '.join([LABEL, PATH, *known])}."
        )


def _sound(condition: Condition) -> Condition:
    """Return a condition that can be asked, or refuse it."""
    told, operator, values = written(condition), condition.operator, condition.values
    if operator not in OPERATORS:
        raise GalleryError(f"There is no operator {operator!r}: say {' '.join(OPERATORS)}.")
    if not values:
        raise GalleryError(f"The condition {told!r} has no value: give it one.")
    if operator in ORDERINGS and (len(values) > 1 or number(values[0]) is None):
        raise GalleryError(f"The condition {told!r} compares numbers: give it one.")
    for text in (condition.field, *values):
        if "\0" in text or re.search("[\ud800-\udfff]", text):
            raise GalleryError(f"The condition {told!r} holds bytes that are no text: mend it.")
    return condition


def _is_bare(match: re.Match[str] | None, text: str) -> TypeGuard[re.Match[str]]:
    return match is not None and match["bare"] is not None and _unquoted(match) == text


def _unquoted(match: re.Match[str]) -> str:
    bare: str | None = match["bare"]
    return match["quoted"].replace('""', '"') if bare is None else bare.rstrip()


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
