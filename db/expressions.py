"""What SQLite and PostgreSQL say in words of their own, as expressions that know both."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Dialect, Integer, String
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

# Nothing meets it: no character follows the end.
_NOTHING = "$_^"


class entries(FunctionElement[Any]):  # noqa: N801 - a function in SQL
    """The rows `key`, `atom` and `value` of a JSON object; `atom` lacks what lists and objects say.

    Use it as `entries(column).table_valued("key", "atom")`.
    """

    inherit_cache = True
    name = "entries"


class ascii_lower(FunctionElement[str]):  # noqa: N801
    """A text with its ASCII letters in lower case, others as they are."""

    inherit_cache = True
    name = "ascii_lower"
    type = String()


class position(FunctionElement[int]):  # noqa: N801
    """Where the first text holds the second one, from 1; 0 where it does not."""

    inherit_cache = True
    name = "position"
    type = Integer()


class meets_pattern(FunctionElement[bool]):  # noqa: N801
    """Whether a text meets a pattern of type `GlobPattern`, as SQLite's GLOB says."""

    inherit_cache = True
    name = "meets_pattern"
    type = Boolean()


class GlobPattern(TypeDecorator[str]):
    """A pattern for GLOB, bound as what the database can look for."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return the pattern as it is, or as a regular expression."""
        if value is None or dialect.name == "sqlite":
            return value
        return regular_expression(value)


def regular_expression(pattern: str) -> str:
    r"""Return the regular expression of PostgreSQL that means what a GLOB pattern means.

    In such a pattern `*` is any text, `?` any character, `[…]` one of some characters and `[^…]`
    one of all others; a `]` that comes first is one of them. A `[` without end meets nothing.

    >>> regular_expression("*.jpg")
    '^.*\\U0000002ejpg$'
    """
    parts = ["^"]
    at = 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*":
            # Many in a row say what one says, and take longer.
            if parts[-1] != ".*":
                parts.append(".*")
        elif character == "?":
            parts.append(".")
        elif character == "[":
            end = _end_of_set(pattern, at)
            if end is None:
                return _NOTHING
            parts.append(_set(pattern[at:end]))
            at = end + 1
        else:
            parts.append(_letter(character))
    return "".join([*parts, "$"])


def _end_of_set(pattern: str, start: int) -> int | None:
    """Return where the set that begins at `start`, after its `[`, ends."""
    first = start + (pattern[start : start + 1] == "^")
    # Where it comes first, it is no end.
    end = pattern.find("]", first + (pattern[first : first + 1] == "]"))
    return None if end < 0 else end


def _set(inside: str) -> str:
    """Return the regular expression of what stands between brackets."""
    inverted = inside.startswith("^")
    characters = inside[inverted:]
    chosen = ""
    at = 0
    while at < len(characters):
        # A `]` that comes first begins no range.
        is_range = characters[at + 1 : at + 2] == "-" and at + 2 < len(characters)
        if is_range and not (at == 0 and characters[0] == "]"):
            first, last = characters[at], characters[at + 2]
            chosen += _letter(first)
            if first <= last:
                chosen += f"-{_letter(last)}"
            at += 3
        else:
            chosen += _letter(characters[at])
            at += 1
    return f"[{'^' * inverted}{chosen}]"


def _letter(character: str) -> str:
    """Return a character as one that means nothing else."""
    if character.isascii() and character.isalnum():
        return character
    return f"\\U{ord(character):08x}"


def _called(name: str) -> Any:
    """Return what writes a call of a function."""

    def write(element: FunctionElement[Any], compiler: Any, **kw: Any) -> str:
        return f"{name}({compiler.process(element.clauses, **kw)})"

    return write


compiles(entries, "sqlite")(_called("json_each"))
compiles(entries, "postgresql")(_called("lookalike_entries"))
compiles(ascii_lower, "sqlite")(_called("lower"))
compiles(position, "sqlite")(_called("instr"))
compiles(position, "postgresql")(_called("strpos"))


@compiles(ascii_lower, "postgresql")
def _ascii_lower(element: ascii_lower, compiler: Any, **kw: Any) -> str:
    return f'lower(({compiler.process(element.clauses, **kw)}) COLLATE "C")'


@compiles(meets_pattern, "sqlite")
def _glob(element: meets_pattern, compiler: Any, **kw: Any) -> str:
    text, pattern = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"{text} GLOB {pattern}"


@compiles(meets_pattern, "postgresql")
def _match(element: meets_pattern, compiler: Any, **kw: Any) -> str:
    text, pattern = (compiler.process(clause, **kw) for clause in element.clauses)
    return f'({text}) COLLATE "C" ~ {pattern}'
