"""Conditions on items, as SQL: fields and values are bound, never pasted into a statement.

A field is a column of a labels CSV: `label`, `path`, or a key of the items' metadata.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlalchemy import (
    ColumnElement,
    SQLColumnExpression,
    String,
    bindparam,
    cast,
    func,
    or_,
    select,
)

from db.expressions import GlobPattern, entries, meets_pattern
from db.schema import ItemRow

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "~="]
OPERATORS: tuple[Operator, ...] = get_args(Operator)
# Those that compare numbers.
ORDERINGS: tuple[Operator, ...] = ("<", "<=", ">", ">=")
LABEL, PATH = "label", "path"
# The name `number` has in SQL.
NUMBER = "lookalike_number"


@dataclass(frozen=True, slots=True)
class Condition:
    """What is asked of an item. One that lacks the field meets no condition on it.

    Attributes:
        field: `label`, `path`, or a key of the metadata, whatever characters it is made of.
        operator: `=` and `!=` compare texts letter for letter, `~=` takes SQLite's GLOB patterns,
            the others compare numbers, and what is no number meets none of them.
        values: `=` and `~=` ask for any one of them, `!=` for none of them, the others take one.
            An item without a label has the empty one.
    """

    field: str
    operator: Operator
    values: tuple[str, ...]


def number(value: object) -> float | None:
    """Return the finite number that a value is or a text says; `None` if it says none.

    >>> number("007"), number(3), number("3 kg"), number("nan")
    (7.0, 3.0, None, None)
    """
    if not isinstance(value, (str, int, float)) or (isinstance(value, str) and "_" in value):
        return None
    try:
        said = float(value)
    except (ValueError, OverflowError):
        return None
    return said if math.isfinite(said) else None


def clause(condition: Condition) -> ColumnElement[bool]:
    """Return what `condition` asks of a row of the items."""
    if condition.field == PATH:
        return _compare(ItemRow.path, condition)
    if condition.field == LABEL:
        # The column alone can be looked up, but says nothing of items without a label.
        by_index = condition.operator == "=" and "" not in condition.values
        return _compare(ItemRow.label if by_index else func.coalesce(ItemRow.label, ""), condition)
    # Not by a path: before SQLite 3.45 those can't name a key that JSON escapes.
    entry = entries(ItemRow.meta).table_valued("key", "atom")
    met = _compare(cast(entry.c.atom, String), condition)
    return (
        select(entry.c.key).where(entry.c.key == condition.field, met).correlate(ItemRow).exists()
    )


def _pattern(value: str) -> ColumnElement[str]:
    return bindparam(None, value, type_=GlobPattern())


def _compare(text: SQLColumnExpression[Any], condition: Condition) -> ColumnElement[bool]:
    values = condition.values
    match condition.operator:
        case "=":
            return text.in_(values)
        case "!=":
            return text.not_in(values)
        case "~=":
            return or_(*(meets_pattern(text, _pattern(pattern)) for pattern in values))
        case ordering:
            said: ColumnElement[float] = getattr(func, NUMBER)(text)
            return said.op(ordering, is_comparison=True)(number(values[0]))
